"""The command line of `echoup diagnose`."""

from typing import Any

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.cli import cli
from echoup.client.commandline import diagnose as module
from echoup.client.diagnose.reports.jsonobject import DiagnosisJSON
from echoup.client.diagnose.reports.text import DiagnosisText
from echoup.client.diagnose.scope import CHECKS, Scope
from echoup.client.diagnose.session import diagnose


class DiagnoseTests(SynchronousTestCase):
    """What the options become, and which are refused."""

    def setUp(self) -> None:
        """Record what would be run."""
        self.ran: list[Any] = []
        self.patch(module, "run", self.run_)

    def run_(self, reactor: object, command: object, *arguments: object) -> int:
        """Replace `run`."""
        assert command is diagnose
        self.ran.append(arguments)
        return 0

    def command(self, *arguments: str) -> str:
        """Run the command, and return the last line of what it prints."""
        return CliRunner().invoke(cli, ["diagnose", *arguments]).output.strip().rpartition("\n")[2]

    def test_everythingByDefault(self) -> None:
        """Without options every check is made that doesn't need one, for the default target."""
        assert self.command() == ""
        ((target, scope, report, isStrict),) = self.ran
        assert str(target) == "127.0.0.1:8081"
        assert (scope, isStrict) == (Scope(), False)
        assert isinstance(report, DiagnosisText)

    def test_optionsSetTheScope(self) -> None:
        """Each option sets its part of the scope."""
        extents = ("--flows", "32", "--idle", "15m", "--load", "10s", "--many", "100")
        self.command("-W2", "--only", "mtu", "--only=exact", "--json", "--strict", "there")
        self.command(*extents, "--skip=tls", "there")
        (target, scope, report, isStrict), (_, other, _, _) = self.ran
        assert str(target) == "there:8081"
        assert scope == Scope(only=frozenset({"mtu", "exact"}), timeout=2)
        assert isinstance(report, DiagnosisJSON)
        assert isStrict
        assert other == Scope(skip=frozenset({"tls"}), flows=32, idle=900, load=10, many=100)

    def test_mistakeIsOneLine(self) -> None:
        """A name that is no check, and options that contradict each other, are refused in one line."""
        known = ", ".join(map(repr, CHECKS))
        for arguments, words in (
            (["--only", "mut"], f"Error: Invalid value for '--only': 'mut' is not one of {known}"),
            (["--skip", ""], f"Error: Invalid value for '--skip': '' is not one of {known}"),
            (["--only", "idle"], "Error: --only idle needs --idle as well, which says how far to go"),
            (["--only=mtu", "--many=3"], "Error: --many asks for a check that --only or --skip leaves out"),
            (["--skip=load", "--load=3"], "Error: --load asks for a check that --only or --skip leaves out"),
            (["--only=mtu", "--skip=mtu"], "Error: --only and --skip leave no check"),
            (["--flows=1"], "Error: Invalid value for '--flows': 1 is not in the range 2<=x<=256."),
            (["--idle=0"], "Error: Invalid value for '--idle': '0' is not a duration of more than 0"),
            (["a", "b"], "Error: unexpected b after TARGET a"),
        ):
            assert self.command(*arguments).startswith(words), self.command(*arguments)
        assert self.ran == []
