"""The service of `--workers`: several processes, and the supervisor that starts, replaces and stops them.

The workers accept by themselves: if the supervisor accepted the connections and passed them on, each would cost the
work of two processes, and a health probe is little more than a connection. The supervisor opens a separate socket for
each worker and TCP address (SO_REUSEPORT), and the kernel spreads the connections among them. It keeps all of them
open, so clients in the queue of a worker that ends are served by its replacement. All workers share each Unix socket,
and each socket from systemd. The supervisor itself serves UDP, because a process recognises only its own replies.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf
from pathlib import Path
from time import time

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.process import reapAllProcesses
from twisted.logger import Logger
from zope.interface import implementer

from echoup.clock import RunningTime
from echoup.server.admission.peers import PeerLimit
from echoup.server.counts import Counts
from echoup.server.drain import waitUntil
from echoup.server.listening.inherited import InheritedListener
from echoup.server.listening.listeners import Listener, ListenError, StartError, listeningOn
from echoup.server.listening.renewal import certificateProblem, reloadCertificates
from echoup.server.listening.sockets import ListeningAddress
from echoup.server.occupancy import Occupancy
from echoup.server.overview import Check, IMainService, ListenerView, Overview, Slice
from echoup.server.service import EchoUpService, logAddresses, logTotals
from echoup.server.settings import Plan
from echoup.server.workers.commands import LISTENING, Configuration
from echoup.server.workers.memory import Page, Shared
from echoup.server.workers.process import CLEANLY, State, WorkerProcess
from echoup.server.workers.questions import connectionsAfter, measure, serving

CANNOT_START = "cannot start the workers"

START = 30.0
"""Seconds within which the workers must be ready; they need less than one."""

GRACE = 5.0
"""Seconds after the deadline of a shutdown until a worker that still runs is killed.

On a busy machine a worker took 2.3 s to abort 5000 connections; one that is killed has not counted them.
"""

STEADY = 10.0
"""Seconds after which the end of a worker counts as its first again, in DELAYS."""

DELAYS = (0.0, *(0.5 * 1.5**i for i in range(11)))
"""Seconds until a worker is replaced: after its first end, its second, and so on."""

TICK = 0.01
"""Seconds between two checks of what the supervisor waits for."""


@implementer(IMainService)
class WorkersService(Service):
    """Serves a plan in several processes, as `EchoUpService` does in one; this process serves UDP only."""

    _log = Logger()
    _page: Page
    _counts: list[Counts]

    def __init__(self, reactor: PosixReactorBase, plan: Plan, workers: int) -> None:
        """The limits of `plan` apply to all `workers` processes together."""
        self._reactor = reactor
        self._clock = RunningTime(reactor)
        self.plan = plan
        self._workers = workers
        self._peers = PeerLimit(reactor, plan.limits.maxConnectionsPerPeer)
        limits = replace(plan.limits, maxConnections=0)  # it serves no connections
        self._datagrams = EchoUpService(reactor, replace(plan, limits=limits, listeners=()))
        self._occupancy = Occupancy(
            reactor,
            plan.limits.maxConnections,
            lambda: self._page.free,
            lambda: sum(counts.timesFull for counts in self._counts),
        )
        self._openings: list[tuple[Listener, ListeningAddress]] = []
        self._addresses: list[str] = []
        self._listeners: list[Callable[[], ListenerView]] = []
        self._processes: dict[int, WorkerProcess] = {}
        """The last process of each worker, also after its end."""
        self._spawned = 0
        self._killAt = 0.0

    def privilegedStartService(self) -> None:
        """Listen on every address, or raise ListenError and listen on none; no process accepts yet."""
        super().privilegedStartService()
        try:
            for listener in self.plan.listeners:
                with listeningOn(listener.description):
                    opened = listener.open(self._workers)
                self._openings += [(listener, opening) for opening in opened]
                view = ListenerView.watch(listener, opened)
                self._listeners.append(view)
                self._addresses += view().addresses
            self._addresses += self._datagrams.listen()
        except ListenError:
            self._close()
            raise
        names = tuple(listener.description for listener in self.plan.listeners)
        self._page = Page(Shared.make(self._workers, self.plan.limits.maxConnections, names))
        self._counts = [self._page.counts(number) for number in range(self._workers)]

    def startService(self) -> None:
        """Start the workers, and wait until all of them serve; raise StartError if one can't."""
        super().startService()
        if not self._addresses:
            self.privilegedStartService()
        self._datagrams.startService()
        try:
            Path(__file__).with_name("worker.py").open().close()  # a user (twistd --uid) or a chroot may lack it
            for number in range(self._workers):
                self._spawn(number)
            self._awaitWorkers()
        except (OSError, StartError) as error:
            self._kill()
            self._close()
            self._page.close()
            if isinstance(error, StartError):
                raise
            place = f": {error.filename}" if error.filename else ""
            raise StartError(error.strerror or error, CANNOT_START + place) from None
        for number in range(self._workers):
            Deferred.fromCoroutine(self._keep(number))
        self._occupancy.start()
        logAddresses(self._addresses, [opening for _, opening in self._openings])

    def _awaitWorkers(self) -> None:
        """Wait until all workers serve; raise StartError if one can't.

        The reactor doesn't run yet, so this iterates it. Once it runs, no error reaches the process that started the
        daemon.
        """
        deadline = self._reactor.seconds() + START
        while any(process.state is not State.SERVING for process in self._processes.values()):
            self._reactor.iterate(TICK)
            reapAllProcesses()  # only the running reactor catches SIGCHLD
            for process in self._processes.values():
                if process.state is State.ENDED:
                    raise StartError(process.error or f"a worker ended {process.end}", CANNOT_START)
            if self._reactor.seconds() > deadline:
                raise StartError(f"not ready after {START:g} seconds", CANNOT_START)

    def _spawn(self, number: int) -> None:
        sockets = [opening.sockets[number % len(opening.sockets)] for _, opening in self._openings]
        listeners = tuple(
            InheritedListener(
                listener.description,
                sockets[i].family.name.removeprefix("AF_"),
                LISTENING + i,
                listener.certificate,
                opening.backlog,
            )
            for i, (listener, opening) in enumerate(self._openings)
        )
        plan = replace(self.plan, listeners=listeners, datagramListeners=(), status=None)
        shared = self._page.shared
        process = WorkerProcess(self._clock, self._peers)
        process.spawn(
            self._reactor,
            Configuration(type(self._reactor).__module__, number, self._spawned + 1, shared, plan),
            [shared.page, shared.room, *(listening.fileno() for listening in sockets)],
        )
        self._spawned += 1
        self._processes[number] = process

    async def _keep(self, number: int) -> None:
        """Whenever the worker `number` ends, vacate its row and start its replacement, until the shutdown."""
        failures = 0
        while self.running:
            startedAt = self._reactor.seconds()
            try:
                if self._processes[number].state is State.ENDED:
                    self._spawn(number)
            except Exception as error:  # of any kind: it may pass, and nothing else would start this worker again
                reason = f"cannot start a worker: {error}"
            else:
                process = self._processes[number]
                await process.ended
                self._page.vacate(number)
                reason = f"worker {process.pid} ended {process.end}"
            if self.running:
                now = self._reactor.seconds()
                if now - startedAt >= STEADY:
                    failures = 0
                delay = DELAYS[min(failures, len(DELAYS) - 1)]
                failures += 1
                when = f" in {delay:.1f} s" if delay else ""
                self._log.error("{reason}; starting a replacement{when}", reason=reason, when=when)
                await self._until(lambda: not self.running, self._clock.seconds() + delay)
            elif process.end != CLEANLY:
                self._log.error("{reason}", reason=reason)

    def stopService(self) -> "Deferred[None]":
        """Stop gracefully; the Deferred fires when the last worker is gone."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        timeout = self.plan.drainTimeout
        deadline = self._reactor.seconds() + timeout
        self._killAt = self._clock.seconds() + timeout + GRACE
        self._occupancy.stop()
        for _, opening in self._openings:
            opening.stopHandshakes()
        for process in self._processes.values():
            process.tell("drain", deadline)
        self._close()
        drained = Deferred.fromCoroutine(self._datagrams.drain(timeout))
        await self._until(lambda: not self._isAnyAlive or self._clock.seconds() >= self._killAt)
        self._kill()
        await self._until(lambda: not self._isAnyAlive)
        await drained
        logTotals(Counts.total(self._counts))
        self._peers.stop()
        self._page.close()

    def abortDrain(self) -> None:
        """End the shutdown that is under way at once."""
        self._datagrams.abortDrain()
        self._killAt = min(self._killAt, self._clock.seconds() + GRACE)
        for process in self._processes.values():
            process.tell("abortDrain")

    def reload(self) -> None:
        """Read the certificates again, for new connections; keep the old ones of those that can't be read."""
        if listeners := reloadCertificates(self.plan.listeners):
            for process in self._processes.values():
                process.tell("reload", listeners)

    def overview(self) -> "Deferred[Overview]":
        """Bring the counts of all processes up to date, and return what the daemon does."""
        return Deferred.fromCoroutine(self._overview())

    async def _overview(self) -> Overview:
        silent = await measure(self._processes.values())
        own = await self._datagrams.overview()
        return Overview(
            counts=Counts.total(self._counts),
            listeners=tuple(view() for view in self._listeners),
            datagramListeners=own.datagramListeners,
            workers=tuple(process.view for process in sorted(self._processes.values(), key=lambda each: each.serial)),
            workerRestarts=max(self._spawned - self._workers, 0),
            silentWorkers=silent,
        )

    def connectionsAfter(self, cursor: str, peer: str) -> "Deferred[Slice]":
        """Return some of the open connections, those of one worker after the other: see `IMainService`."""
        return Deferred.fromCoroutine(connectionsAfter(self._processes.values(), cursor, peer))

    def checks(self) -> Iterable[Check]:
        """Return the conditions for being ready."""
        missing = self._workers - len(serving(self._processes.values()))
        return [
            self._occupancy.check(),
            Check("workers", f"{missing} of {self._workers} missing" if missing else ""),
            Check("certificates", certificateProblem(self.plan.listeners, time())),
        ]

    @property
    def _isAnyAlive(self) -> bool:
        return any(process.state is not State.ENDED for process in self._processes.values())

    async def _until(self, condition: Callable[[], bool], deadline: float = inf) -> None:
        await waitUntil(self._clock, condition, deadline, TICK)

    def _kill(self) -> None:
        for process in self._processes.values():
            process.kill()

    def _close(self) -> None:
        """Close the supervisor's copies of the sockets; those of the workers stay open."""
        for _, opening in self._openings:
            opening.close()
        self._openings.clear()
