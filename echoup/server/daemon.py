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
from typing import TYPE_CHECKING, Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import Logger, globalLogPublisher

from echoup.clock import RunningTime, useMonotonicClock
from echoup.server.drain import TICK, waitUntil
from echoup.server.listening.listeners import StartError
from echoup.server.listening.renewal import ExpiryWatch
from echoup.server.log.logqueue import LogQueue, queueLog
from echoup.server.overview import IMainService
from echoup.server.status.health import Health
from echoup.upper import IMPLEMENTATION

if TYPE_CHECKING:
    from echoup.server.status.site import StatusSite


class CannotStart(SystemExit, Exception):
    """Ends the process with exit code 1.

    As an Exception it is what twistd's clean-up and its report to the daemon's parent expect; as a
    SystemExit it ends the interpreter without a traceback.
    """

    code = 1


class Daemon(MultiService):
    """Runs the main service of a process and its status site, and sets its clock, descriptor limit and signals."""

    _log = Logger()

    def __init__(self, reactor: PosixReactorBase, service: IMainService, user: int | None = None) -> None:
        """`user` is the number of the user that twistd changes to once it listens."""
        super().__init__()
        self._user = user
        self._reactor = reactor
        self._service = service
        self._plan = service.plan
        self._health = Health(service)
        self._isStopping = self._isAborted = False
        self._status = self._makeStatusSite()
        self.logQueues: list[LogQueue[Any]] = []
        """The queues of the log once the reactor runs; each counts the lines that it dropped."""
        if self._status:
            self._status.setServiceParent(self)
        service.setServiceParent(self)
        if any(listener.certificate for listener in self._plan.listeners):
            ExpiryWatch(reactor, self._plan.listeners).setServiceParent(self)

    def _makeStatusSite(self) -> "StatusSite | None":
        if not self._plan.status:
            return None
        from echoup.server.status.site import StatusSite  # 0.1 s and 6 MiB of each start

        return StatusSite(self._reactor, self._plan.status, self._service, self._health)

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
        self._health.isStarted = True
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
            if self._isStopping:
                self._reactor.callFromThread(self._abortStop)
            else:
                self._isStopping = True
                first(number, frame)

        return received

    def stopService(self) -> "Deferred[None]":
        """Say that the daemon isn't ready, stop the main service after the delay, and then the status site."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._health.isDraining = True
        if delay := self._plan.readyDelay:
            self._log.info("not ready; the shutdown begins in {seconds:g} s", seconds=delay)
            clock = RunningTime(self._reactor)
            await waitUntil(clock, lambda: self._isAborted, clock.seconds() + delay, TICK)
        stopped = maybeDeferred(self._service.stopService)
        if self._isAborted:
            self._service.abortDrain()
        await stopped
        for service in self.services:
            if service is not self._service:
                await maybeDeferred(service.stopService)

    def _abortStop(self) -> None:
        """End the delay, and the shutdown, at once."""
        self._isAborted = True
        if not self._service.running:
            self._service.abortDrain()

    @contextmanager
    def _failingInOneLine(self) -> Iterator[None]:
        try:
            yield
        except StartError as error:
            if self._status:
                self._status.close()
            self._log.error("{error}", error=str(error))
            # What is printed to sys.stderr is already part of the log.
            print(f"twistd echoup: {error}", file=sys.__stderr__)
            raise CannotStart(str(error)) from None
