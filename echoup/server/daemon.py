"""The daemon's process as a whole: its clock, signals and descriptors, and how it fails to start."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pwd import getpwuid
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from types import FrameType
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import Logger, globalLogPublisher

from echoup.clock import useMonotonicClock
from echoup.server.listening.listeners import StartError
from echoup.server.log.logqueue import LogQueue, queueLog
from echoup.server.overview import IMainService
from echoup.upper import IMPLEMENTATION


class CannotStart(SystemExit, Exception):
    """Ends the process with exit code 1.

    As an Exception it is what twistd's clean-up and its report to the daemon's parent expect; as a
    SystemExit it ends the interpreter without a traceback.
    """

    code = 1


class Daemon(MultiService):
    """Runs the one service of a process, and sets its clock, descriptor limit and signals."""

    _log = Logger()

    def __init__(self, reactor: PosixReactorBase, service: IMainService, user: int | None = None) -> None:
        """`user` is the number of the user that twistd changes to once it listens."""
        super().__init__()
        self._user = user
        self._reactor = reactor
        self._service = service
        self._stopping = False
        self.logQueues: list[LogQueue[Any]] = []
        """The queues of the log once the reactor runs; each counts the lines that it dropped."""
        service.setServiceParent(self)

    def privilegedStartService(self) -> None:
        """Listen, while the process may still use ports below 1024; raise CannotStart if that is impossible."""
        with self._failingInOneLine():
            self._checkRoot()
            super().privilegedStartService()

    def _checkRoot(self) -> None:
        """Raise StartError where the root folder, which `twistd --chroot` has changed, lacks what Twisted needs."""
        if not Path(os.devnull).exists():
            raise StartError(f"no {os.devnull}", "cannot start; with --chroot, create it in that directory")
        if self._user is not None:
            try:
                getpwuid(self._user)
            except KeyError:
                raise StartError(f"/etc/passwd has no user {self._user}", "cannot change to that user") from None

    def startService(self) -> None:
        """Set up the process, and serve; raise CannotStart if that is impossible."""
        useMonotonicClock(self._reactor)
        _, hard = getrlimit(RLIMIT_NOFILE)
        setrlimit(RLIMIT_NOFILE, (hard, hard))
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, signal.SIG_IGN)  # the default action would end the process
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._service.reload))
        self._reactor.callWhenRunning(self._expectSecondSignal)
        self._reactor.callWhenRunning(self._queueLog)
        with self._failingInOneLine():
            super().startService()
        self._log.info("upper-casing in {implementation}", implementation=IMPLEMENTATION)

    def _queueLog(self) -> None:
        """Write the log in a thread from now on; every runner has begun to log by now."""
        self.logQueues = queueLog(globalLogPublisher)
        for queue in self.logQueues:
            self._reactor.addSystemEventTrigger("after", "shutdown", queue.finish)

    def _expectSecondSignal(self) -> None:
        """Abort the drain on a second SIGTERM or SIGINT; Twisted would stop again, and fail (twisted#2265)."""
        for number in (signal.SIGTERM, signal.SIGINT):
            first = signal.getsignal(number)
            if callable(first):
                signal.signal(number, self._stopOrAbort(first))

    def _stopOrAbort(self, first: Callable[[int, FrameType | None], object]) -> Callable[[int, FrameType | None], None]:
        def received(number: int, frame: FrameType | None) -> None:
            if self._stopping:
                self._reactor.callFromThread(self._service.abortDrain)
            else:
                self._stopping = True
                first(number, frame)

        return received

    @contextmanager
    def _failingInOneLine(self) -> Iterator[None]:
        try:
            yield
        except StartError as error:
            self._log.error("{error}", error=str(error))
            # What is printed to sys.stderr is already part of the log.
            print(f"twistd echoup: {error}", file=sys.__stderr__)
            raise CannotStart(str(error)) from None
