"""docs/client.md agrees with the client."""

import re
from pathlib import Path
from signal import SIGTERM

import click
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.cli import cli
from echoup.client.conversation.history import LIMIT
from echoup.client.exitcodes import ExitCode
from echoup.client.target.stream import PORT

PAGE = Path(__file__).parents[2] / "docs/client.md"


class ClientPageTests(SynchronousTestCase):
    """Each table and figure of the page is that of the code."""

    def setUp(self) -> None:
        """Read the page, and the options of the commands."""
        self.page = PAGE.read_text()
        self.commands = {
            name: {option: parameter for parameter in command.params for option in parameter.opts}
            for name, command in cli.commands.items()
        }

    def section(self, title: str) -> str:
        """Return a section of the page."""
        found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", self.page, re.DOTALL | re.MULTILINE)
        assert found, title
        return found[1]

    def test_everyExitCodeIsListed(self) -> None:
        """The table of exit codes has every code, in their order."""
        listed = [int(code) for code in re.findall(r"^\| (\d+) \|", self.section("Exit codes"), re.MULTILINE)]
        assert listed == [*ExitCode, 128 + SIGTERM] == sorted(listed)

    def test_everyOptionIsListed(self) -> None:
        """Each option that the page names exists, and each that all commands share is on the page."""
        connect, ping = self.commands["connect"], self.commands["ping"]
        named = set(re.findall(r"`(-[a-zA-Z0-9]|--[a-z-]+)\b", self.page))
        assert named <= {*connect, *ping}
        assert {option for option in connect if option.startswith("-")} - {"--help", "-h"} <= named

    def test_figuresAreThoseOfTheCode(self) -> None:
        """The default port, the timeouts and the size of the history are those of the code."""
        assert f"the default port is {PORT}" in self.page
        defaults = []
        for command in ("connect", "ping"):
            option = self.commands[command]["--timeout"]
            assert isinstance(option, click.Option)
            defaults.append(float(str(option.default).removesuffix("s")))
        assert [float(number) for number in re.findall(r"default\s+(\d+) s\b", self.page)] == defaults
        assert f"at most {LIMIT // 1024} KiB" in self.page

    def test_pageIsShort(self) -> None:
        """The page has at most 150 lines."""
        assert len(self.page.splitlines()) <= 150
