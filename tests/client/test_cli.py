"""The command line: what it takes, what it says, and how it exits."""

import os
import signal
import sys
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from io import StringIO
from tempfile import TemporaryFile
from typing import Any

import click
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.cli import cli, connect, main, run
from echoup.client.outcome import ExitCode, PathError
from echoup.client.target import parseTarget
from tests.doubles import HandReactor, ReactorTestCase, raised


class MainTests(SynchronousTestCase):
    """`main` exits with a code, and says what the user got wrong in one line."""

    def run_(self, *arguments: str) -> tuple[object, str, str]:
        """Return the exit code of a command, and what it wrote to stdout and stderr."""
        self.patch(sys, "argv", ["echoup", *arguments])
        self.patch(sys, "stdout", stdout := StringIO())
        self.patch(sys, "stderr", stderr := StringIO())
        error = raised(SystemExit, main)
        assert error is not None
        return error.code, stdout.getvalue(), stderr.getvalue()

    def test_usage(self) -> None:
        """A mistake is one line on stderr, and exit code 2."""
        for arguments, words in (
            (["--colour"], "No such option"),
            (["conect"], "No such command 'conect'."),
            (["connect", "8081"], "Invalid value for '[TARGET]': '8081' is a port without a host"),
            (["connect", "a", "b"], "Got unexpected extra argument (b)"),
            (["connect", "--timeout"], "Option '--timeout' requires an argument."),
            (["connect", "--timeout=soon"], "Invalid value for '--timeout': 'soon' is not a valid float"),
            (["connect", "--timeout=0"], "Invalid value for '--timeout'"),
            (["connect", "--timeout=-1"], "Invalid value for '--timeout'"),
            (["connect", "--timeout=nan"], "Invalid value for '--timeout': nan is not a number of seconds"),
        ):
            code, stdout, stderr = self.run_(*arguments)
            assert (code, stdout) == (ExitCode.USAGE, "")
            assert stderr.startswith(f"echoup: {words}")
            assert len(stderr.splitlines()) == 1

    def test_noCommand(self) -> None:
        """Without a command it shows the help, as the mistake that it is."""
        code, stdout, stderr = self.run_()
        assert (code, stdout) == (ExitCode.USAGE, "")
        assert "connect" in stderr

    def test_help(self) -> None:
        """`-h` and `--help` tell how to use it, and that is no mistake."""
        for arguments in (["-h"], ["--help"], ["connect", "-h"], ["connect", "--help"]):
            code, stdout, stderr = self.run_(*arguments)
            assert (code, stderr) == (ExitCode.OK, "")
            assert stdout.startswith("Usage: ")

    def test_exitCodesInHelp(self) -> None:
        """The help of `connect` tells every exit code."""
        text = self.run_("connect", "--help")[1]
        for code in ExitCode:
            assert f"{code.value} " in text

    def test_version(self) -> None:
        """`--version` prints the version."""
        assert self.run_("--version") == (ExitCode.OK, f"echoup {version('echoup')}\n", "")

    def test_codeOfTheCommand(self) -> None:
        """What the command returns is the exit code."""

        def endEarly(target: object, timeout: float) -> int:
            return ExitCode.SHORT

        self.patch(connect, "callback", endEarly)
        assert self.run_("connect") == (ExitCode.SHORT, "", "")

    def test_interrupted(self) -> None:
        """Ctrl-C before the reactor runs exits like Ctrl-C later."""

        def interrupt(target: object, timeout: float) -> int:
            raise KeyboardInterrupt

        self.patch(connect, "callback", interrupt)
        assert self.run_("connect")[0] == ExitCode.INTERRUPTED


class ConnectTests(SynchronousTestCase):
    """`connect` takes a target and a timeout."""

    def parameters(self, *arguments: str) -> dict[str, Any]:
        """Return what the command is called with."""
        return connect.make_context(
            "connect", list(arguments), parent=click.Context(cli, **cli.context_settings)
        ).params

    def test_defaults(self) -> None:
        """Without arguments it is the local daemon and ten seconds."""
        assert self.parameters() == {"target": parseTarget("127.0.0.1:8081"), "timeout": 10.0}

    def test_given(self) -> None:
        """It takes what `parseTarget` takes."""
        for text in ("example.org", "[::1]:1", "unix:/run/echoup"):
            assert self.parameters(text, "--timeout", "0.5") == {"target": parseTarget(text), "timeout": 0.5}

    def test_notANumber(self) -> None:
        """A timeout that is no number of seconds is refused, also where Python has a float for it."""
        for text in ("nan", "inf", "-inf", ""):
            assert raised(click.UsageError, self.parameters, f"--timeout={text}"), text

    @settings(deadline=None)
    @given(st.text(st.characters(), min_size=1))
    def test_anyTarget(self, text: str) -> None:
        """Any target either is taken or refused in one line."""
        if error := raised(click.UsageError, self.parameters, "--", text):
            assert len(error.format_message().splitlines()) == 1


class RunTests(ReactorTestCase):
    """`run` runs a command in the reactor, and turns its end into an exit code."""

    def setUp(self) -> None:
        """Restore the signals in the end."""
        super().setUp()
        self.patch(sys, "stderr", StringIO())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        wakeup = signal.set_wakeup_fd(-1)
        self.addCleanup(signal.set_wakeup_fd, wakeup)

    def assertEnds(
        self, command: Callable[[HandReactor], Coroutine[Any, Any, None]], code: int, message: str = ""
    ) -> None:
        """Check that `command` ends with `code`, and `message` on stderr."""
        assert run(self.reactor, command) == code
        assert isinstance(sys.stderr, StringIO)
        assert sys.stderr.getvalue() == message
        assert self.flushLoggedErrors() == []

    def test_right(self) -> None:
        """A command that returns is right; the reactor runs meanwhile."""

        async def command(reactor: HandReactor) -> None:
            assert reactor is self.reactor
            assert reactor.running

        self.assertEnds(command, ExitCode.OK)

    def test_later(self) -> None:
        """A command may take its time, and its timers don't follow the time of day."""

        async def command(reactor: HandReactor) -> None:
            done: Deferred[None] = Deferred()
            assert reactor.seconds is not reactor.clock.seconds
            reactor.callLater(0.01, done.callback, None)
            await done

        self.assertEnds(command, ExitCode.OK)

    def test_failed(self) -> None:
        """What failed is one line on stderr, and its code."""

        async def command(reactor: HandReactor) -> None:
            raise PathError(ExitCode.WRONG, "there:1: unchanged")

        self.assertEnds(command, ExitCode.WRONG, "echoup: there:1: unchanged\n")

    def test_interruptedPrompt(self) -> None:
        """Ctrl-C is no news to the user."""

        async def command(reactor: HandReactor) -> None:
            raise PathError(ExitCode.INTERRUPTED, "interrupted")

        self.assertEnds(command, ExitCode.INTERRUPTED)

    async def failToWrite(self, reactor: HandReactor) -> None:
        """Fail as the output does."""
        raise PathError(ExitCode.BROKEN_PIPE, "the output can't be written")

    def redirect(self, descriptor: int) -> None:
        """Let `descriptor` be the process's standard output until the end of the test."""
        saved = os.dup(1)
        self.addCleanup(os.close, saved)
        self.addCleanup(os.dup2, saved, 1)
        os.dup2(descriptor, 1)

    def test_brokenPipe(self) -> None:
        """Nor is it that the reader of a pipe went away."""
        drain, sink = os.pipe()
        self.redirect(sink)
        os.close(sink)
        os.close(drain)
        self.assertEnds(self.failToWrite, ExitCode.BROKEN_PIPE)

    def test_fullDisk(self) -> None:
        """That a file can't be written is."""
        with TemporaryFile() as file:
            self.redirect(file.fileno())
        self.assertEnds(self.failToWrite, ExitCode.BROKEN_PIPE, "echoup: the output can't be written\n")

    def test_bug(self) -> None:
        """An error that nobody expected isn't swallowed."""

        async def command(reactor: HandReactor) -> None:
            raise ZeroDivisionError

        assert raised(ZeroDivisionError, run, self.reactor, command)

    def assertSignalEnds(self, number: signal.Signals) -> None:
        """Check that the signal cancels a command that waits, without a word."""
        waiting: Deferred[None] = Deferred()
        cancelled: list[object] = []
        waiting.addErrback(cancelled.append)

        async def command(reactor: HandReactor) -> None:
            reactor.callLater(0, signal.raise_signal, number)
            await waiting
            raise PathError(ExitCode.SHORT, "not this")

        self.assertEnds(command, 128 + number)
        assert len(cancelled) == 1

    def test_interrupted(self) -> None:
        """SIGINT ends a command that waits."""
        self.assertSignalEnds(signal.SIGINT)

    def test_terminated(self) -> None:
        """SIGTERM ends a command that waits."""
        self.assertSignalEnds(signal.SIGTERM)

    def test_cancelled(self) -> None:
        """A command that doesn't mind being cancelled leaves nothing in the log."""

        async def command(reactor: HandReactor) -> None:
            reactor.callLater(0, signal.raise_signal, signal.SIGINT)
            await Deferred()

        self.assertEnds(command, ExitCode.INTERRUPTED)
