"""How a check of Nagios fails."""

import re
import sys
from errno import EMFILE, ENOENT
from io import StringIO
from pathlib import Path

import click
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.commandline.plugin import UNKNOWN, isPlugin, reportUnknown
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.ping.reports.nagios import NagiosStatus
from echoup.client.standardio import useWaitingStreams
from tests.support.properties import given, st


class PluginTests(SynchronousTestCase):
    """`isPlugin` sees whether Nagios asks, and `reportUnknown` answers."""

    def setUp(self) -> None:
        """Record what is printed."""
        self.patch(sys, "stdout", StringIO())
        self.patch(sys, "stderr", StringIO())

    def printed(self, error: Exception) -> tuple[str, str]:
        """Report `error`, and return what is on stdout and on stderr."""
        for stream in (sys.stdout, sys.stderr):
            assert isinstance(stream, StringIO)
            stream.seek(0)
            stream.truncate()
        assert reportUnknown(error) == UNKNOWN
        assert isinstance(sys.stdout, StringIO)
        assert isinstance(sys.stderr, StringIO)
        return sys.stdout.getvalue(), sys.stderr.getvalue()

    def test_codeIsThatOfReport(self) -> None:
        """The exit code is the one that the report has for UNKNOWN."""
        assert UNKNOWN == NagiosStatus.UNKNOWN

    def test_formatIsFound(self) -> None:
        """The format is found in command lines that are right and in wrong ones; the last one counts."""
        for line in (
            "ping --format nagios -c1",
            "ping --format=nagios",
            "ping --wrong --format nagios",
            "--format nagios ping",
            "ping --format text --format nagios",
            "ping --format NAGIOS",
            "connect --format=nagios a b",
        ):
            assert isPlugin(line.split()), line
        for line in (
            "",
            "ping -c1",
            "ping --format",
            "ping --format json nagios",
            "ping --format nagios --format=text",
            "ping -- --format nagios",
            "ping --format -- nagios",
        ):
            assert not isPlugin(line.split()), line

    def test_expectedErrorIsOneLine(self) -> None:
        """A mistake, a failure and trouble of this machine are one line on stdout, and nothing on stderr."""
        for error, why in (
            (click.UsageError("no\nway"), "no\\nway"),
            (
                PathError(ExitCode.USAGE, "cannot speak TLS with a:1: /a|b: \x1b[2J"),
                "cannot speak TLS with a:1: /a/b: \\x1b[2J",
            ),
            (
                OSError(EMFILE, "Too many"),
                "Too many open files (this process has no file descriptors left, see ulimit -n)",
            ),
        ):
            assert self.printed(error) == (f"ECHOUP UNKNOWN - {why}\n", "")

    def test_unexpectedErrorHasTraceback(self) -> None:
        """An unexpected error is one line on stdout as well, and its traceback is on stderr."""
        for error, why in (
            (ZeroDivisionError("division|by zero"), "ZeroDivisionError: division/by zero"),
            (FileNotFoundError(ENOENT, "No such file"), "FileNotFoundError: [Errno 2] No such file"),
        ):
            stdout, stderr = self.printed(error)
            assert stdout == f"ECHOUP UNKNOWN - {why}\n"
            assert type(error).__name__ in stderr

    @given(st.text())
    def test_anyTextIsOneLine(self, text: str) -> None:
        """Any text is one line, without performance data."""
        stdout, _ = self.printed(click.UsageError(text))
        assert re.fullmatch(r"ECHOUP UNKNOWN - [^|\n]*\n", stdout)
        assert len(stdout.splitlines()) == 1

    def test_unwritableOutputIsTold(self) -> None:
        """Where standard output can't be written, or there is none, stderr says so or why, and the code is the same."""
        self.patch(sys, "stdout", None)
        assert reportUnknown(click.UsageError("no")) == UNKNOWN
        assert isinstance(sys.stderr, StringIO)
        assert sys.stderr.getvalue() == "echoup: no\n"
        self.patch(sys, "stdout", self.enterContext(Path("/dev/full").open("w")))
        self.patch(sys, "stderr", StringIO())
        useWaitingStreams()
        assert reportUnknown(click.UsageError("no")) == UNKNOWN
