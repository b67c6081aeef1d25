"""The manual pages: that they are those of the commands, and complete."""

import json
import re
import subprocess
import sys
from pathlib import Path

import click
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.cli import cli
from echoup.client.exitcodes import ExitCode

FOLDER = Path(__file__).parents[1] / "docs" / "man"


class ManualPageTests(SynchronousTestCase):
    """The pages in docs/man are what docs/man/generate.py writes."""

    def test_pagesAreCurrent(self) -> None:
        """Each command has its page, written since its help has changed last; there are no others."""
        # In a process of its own: click keeps the option --help of a command with the names of its first use.
        program = "import json, runpy, sys; print(json.dumps(runpy.run_path(sys.argv[1])['pages']()))"
        command = [sys.executable, "-c", program, str(FOLDER / "generate.py")]
        pages = json.loads(subprocess.check_output(command))
        assert sorted(pages) == sorted(path.name for path in FOLDER.glob("*.1"))
        for name, page in pages.items():
            assert (FOLDER / name).read_text() == page, "run docs/man/generate.py"

    def test_optionsAreListed(self) -> None:
        """A page lists every option of its command, with every name."""
        for name, command in [("echoup", cli), *((f"echoup-{name}", each) for name, each in cli.commands.items())]:
            page = (FOLDER / f"{name}.1").read_text()
            for option in [each for each in command.params if isinstance(each, click.Option)]:
                names = ", ".join(f"\\fB{each}\\fR" for each in option.opts).replace("-", "\\-")
                assert re.search(rf"^\.TP\n{re.escape(names)}", page, re.MULTILINE), names

    def test_wordsAreNotHyphenated(self) -> None:
        """No word is divided at the end of a line: what is copied from a page can be typed."""
        for path in FOLDER.glob("*.1"):
            assert ".nh" in path.read_text().splitlines()[:3], path

    def test_exitCodesAreListed(self) -> None:
        """Every page lists every exit code."""
        for path in FOLDER.glob("*.1"):
            table = path.read_text().partition(".SH EXIT STATUS\n")[2].partition(".SH ")[0]
            assert [int(code) for code in re.findall(r"^\.B (\d+)$", table, re.MULTILINE)] == [*ExitCode, 143], path

    def test_otherPagesExist(self) -> None:
        """The pages of echoup that a page names exist."""
        for path in FOLDER.glob("*.1"):
            for name in re.findall(r"^\.BR (echoup\S*) \(1\)", path.read_text(), re.MULTILINE):
                assert (FOLDER / f"{name.replace(chr(92), '')}.1").is_file(), name
