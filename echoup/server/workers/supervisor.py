"""Several processes that serve together: the parent's part.

The workers accept by themselves. A parent that accepted, and passed the connections on, would be a second process to go
through for each of them, and a health probe is little more than a connection. Instead it opens, for each worker and TCP
address, a socket of its own (SO_REUSEPORT), among which the kernel spreads the connections, and keeps a copy of all of
them open: so who is in the queue of a worker that dies is served by the next one. A Unix socket, and one of systemd's,
is one for all workers. UDP is served here, for its memory of replies is one.
"""

from dataclasses import replace

from twisted.application.internet import backoffPolicy
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.process import reapAllProcesses
from twisted.logger import Logger

from echoup.server.admission.peers import PeerLimit
from echoup.server.listening.inherited import InheritedListener
from echoup.server.listening.listeners import Listener, ListenError, StartError, listeningOn
from echoup.server.listening.sockets import ListeningAddress
from echoup.server.service import EchoUpService, logTotals, reloadCertificates
from echoup.server.settings import Plan
from echoup.server.socketoptions import stopHandshakes
from echoup.server.workers.commands import LISTENING, AbortDrain, Configuration, Drain, Reload
from echoup.server.workers.memory import BYTES, SERVED, Page, Shared
from echoup.server.workers.process import CLEANLY, WorkerProcess

START = 30.0
"""Seconds in which the workers have to be ready; it takes them less than one."""

GRACE = 0.5
"""Seconds after the deadline of a stop until a worker that is still there is killed."""

STEADY = 10.0
"""Seconds after which a worker that dies isn't one of those that die again and again."""

DELAYS = backoffPolicy(initialDelay=0.5, maxDelay=30.0)
"""Seconds until a worker that does is replaced, for the second time and so on; the first time it is at once."""


class WorkersService(Service):
    """Does what an `EchoUpService` does, in several processes."""

    _log = Logger()
    _shared: Shared
    _page: Page

    def __init__(self, reactor: PosixReactorBase, plan: Plan, workers: int) -> None:
        """The limits of `plan` are those of all `workers` processes together."""
        self._reactor = reactor
        self._plan = plan
        self._workers = workers
        self._peers = PeerLimit(reactor, plan.limits.maxConnectionsPerPeer)
        self._datagrams = EchoUpService(reactor, replace(plan, listeners=()))
        self._openings: list[tuple[Listener, ListeningAddress]] = []
        self._addresses: list[str] = []
        self._processes: dict[int, WorkerProcess] = {}
        self._replacements: dict[int, IDelayedCall] = {}
        self._deaths = [0] * workers
        self._isStarted = False
        self._allEnded: Deferred[None] | None = None
        self._killing: IDelayedCall | None = None

    def privilegedStartService(self) -> None:
        """Listen on every address, or on none; nobody accepts yet."""
        super().privilegedStartService()
        self._shared = Shared.make(self._workers, self._plan.limits.maxConnections)
        self._page = Page(self._shared)
        try:
            for listener in self._plan.listeners:
                with listeningOn(listener.description):
                    for opening in listener.open(self._reactor, self._workers):
                        self._openings.append((listener, opening))
                        self._addresses.append(("tls:" if listener.certificate else "") + opening.address)
            self._addresses += self._datagrams.listen()
        except ListenError:
            self._close()
            self._page.close()
            raise

    def startService(self) -> None:
        """Start the workers, and wait until all of them serve; raise StartError if one of them can't.

        The reactor doesn't run yet: whoever started the daemon would not be told any more when it does.
        """
        super().startService()
        if not self._addresses:
            self.privilegedStartService()
        self._datagrams.startService()
        try:
            for number in range(self._workers):
                self._spawn(number)
            self._awaitWorkers()
        except (OSError, StartError) as error:
            self._kill()
            self._close()
            self._page.close()
            raise StartError(f"cannot start the workers: {error}") from None
        self._isStarted = True
        for address in self._addresses:
            self._log.info("listening on {address}", address=address)

    def _awaitWorkers(self) -> None:
        deadline = self._reactor.seconds() + START
        while not all(process.isReady for process in self._processes.values()):
            self._reactor.iterate(0.01)
            reapAllProcesses()  # it is the running reactor who catches SIGCHLD
            for process in self._processes.values():
                if process.error:
                    raise StartError(process.error)
                if process.isGone:
                    raise StartError(f"one ended {process.end}")
            if self._reactor.seconds() > deadline:
                raise StartError(f"they are not ready after {START:g} seconds")

    def _spawn(self, number: int) -> None:
        process = WorkerProcess(number, self._reactor.seconds(), self._peers, self._ended)
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
        configuration = Configuration(
            type(self._reactor).__module__,
            number,
            self._shared,
            replace(self._plan, listeners=listeners, datagramListeners=()),
        )
        process.spawn(self._reactor, configuration, sockets)
        self._processes[number] = process

    def _ended(self, process: WorkerProcess) -> None:
        """Take back what a worker held that is gone, and have another one take its place, unless this is a stop."""
        if not self._isStarted:
            return
        del self._processes[process.number]
        self._page.vacate(process.number)
        if self.running:
            self._replaceLater(process.number, process.startedAt, f"worker {process.pid} ended {process.end}")
        elif process.end != CLEANLY:
            self._log.error("worker {pid} ended {end}", pid=process.pid, end=process.end)
        if self._allEnded and not self._processes:
            self._allEnded.callback(None)

    def _replaceLater(self, number: int, startedAt: float, reason: str) -> None:
        if self._reactor.seconds() - startedAt >= STEADY:
            self._deaths[number] = 0
        delay = DELAYS(self._deaths[number] - 1) if self._deaths[number] else 0.0
        self._deaths[number] += 1
        self._log.error("{reason}; another one starts in {delay:.1f} seconds", reason=reason, delay=delay)
        self._replacements[number] = self._reactor.callLater(delay, self._replace, number)

    def _replace(self, number: int) -> None:
        del self._replacements[number]
        try:
            self._spawn(number)
        except OSError as error:
            self._replaceLater(number, self._reactor.seconds(), f"a worker cannot start: {error}")

    def stopService(self) -> "Deferred[None]":
        """Stop gracefully; the Deferred fires when the last worker is gone."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        deadline = self._reactor.seconds() + self._plan.drainTimeout
        for call in self._replacements.values():
            call.cancel()
        for _, opening in self._openings:
            if not opening.isInherited:
                for listening in opening.sockets:
                    stopHandshakes(listening)
        for process in self._processes.values():
            process.tell(Drain, deadline=deadline)
        self._close()
        drained = Deferred.fromCoroutine(self._datagrams.drain(self._plan.drainTimeout))
        self._killing = self._reactor.callLater(self._plan.drainTimeout + GRACE, self._kill)
        if self._processes:
            self._allEnded = Deferred()
            await self._allEnded
        if self._killing.active():
            self._killing.cancel()
        await drained
        logTotals(self._page.total(SERVED), self._page.total(BYTES))
        self._peers.stop()
        self._page.close()

    def abortDrain(self) -> None:
        """Cut short a stop that is under way: no more waiting for anybody."""
        self._datagrams.abortDrain()
        if self._killing and self._killing.active() and self._killing.getTime() > self._reactor.seconds() + GRACE:
            self._killing.reset(GRACE)
        for process in self._processes.values():
            process.tell(AbortDrain)

    def _kill(self) -> None:
        for process in self._processes.values():
            process.kill()

    def reload(self) -> None:
        """Read the certificates again, for the connections from now on; keep those that can't be read."""
        if listeners := reloadCertificates(self._plan.listeners):
            for process in self._processes.values():
                process.tell(Reload, listeners=listeners)

    def _close(self) -> None:
        """Close our copies of the sockets; those of the workers stay as they are."""
        for _, opening in self._openings:
            opening.close()
        self._openings.clear()
