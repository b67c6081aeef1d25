"""The reactor's side of a command: how it ends, and what is printed then."""

import os
import signal
import sys
from collections.abc import Callable, Coroutine
from io import StringIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from twisted.internet.defer import Deferred

from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.run import conclude, run
from echoup.client.standardio import useWaitingStreams
from tests.support.doubles import HandReactor, ReactorTestCase, raised


class RunTests(ReactorTestCase):
    """`run` runs a command in the reactor, and `conclude` turns its failure into an exit code."""

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
        try:
            ended = run(self.reactor, command)
        except PathError as error:
            ended = conclude(error)
        assert ended == code
        assert isinstance(sys.stderr, StringIO)
        assert sys.stderr.getvalue() == message
        assert self.flushLoggedErrors() == []

    def test_returnIsSuccess(self) -> None:
        """A command that returns succeeds; the reactor runs meanwhile."""

        async def command(reactor: HandReactor) -> None:
            assert reactor is self.reactor
            assert reactor.running

        self.assertEnds(command, ExitCode.OK)

    def test_timersAreMonotonic(self) -> None:
        """A command may wait for timers, which don't follow the time of day."""

        async def command(reactor: HandReactor) -> None:
            done: Deferred[None] = Deferred()
            assert reactor.seconds is not reactor.clock.seconds
            reactor.callLater(0.01, done.callback, None)
            await done

        self.assertEnds(command, ExitCode.OK)

    def test_pathErrorIsOneLine(self) -> None:
        """A PathError is one line on stderr, and its code."""

        async def command(reactor: HandReactor) -> None:
            raise PathError(ExitCode.WRONG, "there:1: unchanged")

        self.assertEnds(command, ExitCode.WRONG, "echoup: there:1: unchanged\n")

    def test_foreignTextIsEscaped(self) -> None:
        """Any text in the message is printed as one line without control characters."""

        async def command(reactor: HandReactor) -> None:
            raise PathError(ExitCode.USAGE, "/no\nsuch\x1b[2J: é \udcff")

        self.assertEnds(command, ExitCode.USAGE, "echoup: /no\\nsuch\\x1b[2J: é \\udcff\n")

    def test_unwritableErrorKeepsExitCode(self) -> None:
        """Where stderr can't be written the code is the same, and Python writes nothing more at the exit."""

        async def command(reactor: HandReactor) -> None:
            raise PathError(ExitCode.UNREACHABLE, "cannot connect to there:1: Connection refused")

        self.patch(sys, "stderr", self.enterContext(Path("/dev/full").open("w")))
        useWaitingStreams()
        error = raised(PathError, run, self.reactor, command)
        assert error is not None
        assert conclude(error) == ExitCode.UNREACHABLE
        sys.stderr.flush()

    def test_interruptIsSilent(self) -> None:
        """Ctrl-C is not reported to the user."""

        async def command(reactor: HandReactor) -> None:
            raise PathError(ExitCode.INTERRUPTED, "interrupted")

        self.assertEnds(command, ExitCode.INTERRUPTED)

    async def failToWrite(self, reactor: HandReactor) -> None:
        """Fail as an output that can't be written does."""
        raise PathError(ExitCode.BROKEN_PIPE, "the output can't be written")

    def redirect(self, descriptor: int) -> None:
        """Make `descriptor` the process's standard output until the end of the test."""
        saved = os.dup(1)
        self.addCleanup(os.close, saved)
        self.addCleanup(os.dup2, saved, 1)
        os.dup2(descriptor, 1)

    def test_brokenPipeIsSilent(self) -> None:
        """A pipe whose reader has exited is not reported either."""
        drain, sink = os.pipe()
        self.redirect(sink)
        os.close(sink)
        os.close(drain)
        self.assertEnds(self.failToWrite, ExitCode.BROKEN_PIPE)

    def test_fullDiskIsReported(self) -> None:
        """A file that can't be written is reported."""
        with TemporaryFile() as file:
            self.redirect(file.fileno())
        self.assertEnds(self.failToWrite, ExitCode.BROKEN_PIPE, "echoup: the output can't be written\n")

    def test_unexpectedErrorIsRaised(self) -> None:
        """An unexpected error isn't swallowed."""

        async def command(reactor: HandReactor) -> None:
            raise ZeroDivisionError

        assert raised(ZeroDivisionError, run, self.reactor, command)

    def assertSignalEnds(self, number: signal.Signals) -> None:
        """Check that the signal cancels a command that waits, and nothing is printed."""
        waiting: Deferred[None] = Deferred()
        cancelled: list[object] = []
        waiting.addErrback(cancelled.append)

        async def command(reactor: HandReactor) -> None:
            reactor.callLater(0, signal.raise_signal, number)
            await waiting
            raise PathError(ExitCode.SHORT, "not this")

        self.assertEnds(command, 128 + number)
        assert len(cancelled) == 1

    def test_sigintCancelsCommand(self) -> None:
        """SIGINT ends a command that waits."""
        self.assertSignalEnds(signal.SIGINT)

    def test_sigtermCancelsCommand(self) -> None:
        """SIGTERM ends a command that waits."""
        self.assertSignalEnds(signal.SIGTERM)

    def test_signalBeforeFirstWait(self) -> None:
        """A signal that comes before the command waits for anything ends it too."""

        async def command(reactor: HandReactor) -> None:
            signal.raise_signal(signal.SIGINT)
            await Deferred()

        self.assertEnds(command, ExitCode.INTERRUPTED)

    def test_secondSignalIsNotCaught(self) -> None:
        """The second signal has its default action, which ends a command that is slow to end."""

        async def command(reactor: HandReactor) -> None:
            signal.raise_signal(signal.SIGTERM)
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            assert signal.getsignal(signal.SIGINT) is not signal.SIG_DFL

        self.assertEnds(command, 128 + signal.SIGTERM)

    def test_cancelledCommandIsNotLogged(self) -> None:
        """A command that lets its cancellation through leaves nothing in the log."""

        async def command(reactor: HandReactor) -> None:
            reactor.callLater(0, signal.raise_signal, signal.SIGINT)
            await Deferred()

        self.assertEnds(command, ExitCode.INTERRUPTED)
