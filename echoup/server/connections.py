"""The open connections: which are served, which are ended, and what is counted and logged at their end.

The registry holds records, not protocols: a record outlives the protocol that serves it. A connection begins like this:
a factory makes the record and its first protocol, an arrival or the stream itself. Once it has a transport, that
protocol asks to `serve`. The gate answers, and `settle` has the protocol `begin`, now or after a wait. A stream that
takes over from an arrival has been admitted, and begins at once.

Work on all connections is done in slices, each in its own turn of the reactor, so that no connection waits for all of
it.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, islice
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from echoup.addresses import describeAddress, unmapAddress
from echoup.clock import RunningTime
from echoup.escaping import word
from echoup.server.admission.gate import Gate
from echoup.server.connection import WAITING, Connection, IConnectionProtocol, Stage
from echoup.server.counts import Total
from echoup.server.platform.socketoptions import allowPackets
from echoup.server.platform.twistedports import unsentBy
from echoup.server.reasons import EndReason
from echoup.server.settings import Limits

SLICE = 50
"""Connections that are acted on in one turn of the reactor; ending them takes longest."""

PAGE = 100
"""Connections that are shown or left out in one turn of the reactor."""

QUIET = 0.3
"""Seconds without traffic after which a shutdown ends a connection."""

_LINE = "connection id={id} listener={listener} peer={peer} bytes={bytes} seconds={seconds:.3f} reason={reason}"
"""The format of the log line about a connection that is gone; its details follow."""

_SENTENCES = ("error", "client_subject")
"""The details that may have blanks; the line has them in quotation marks."""

# In Python 3.11 a look-up in the class costs 0.1 us.
_DONE, _LOST, _REFUSED = EndReason.DONE, EndReason.LOST, EndReason.REFUSED
_OPENED = Total.OPENED


class Connections:
    """Keeps the records of the open connections, counts those that ended, and ends those without traffic."""

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        limits: Limits,
        gate: Gate,
        logConnections: bool = False,
        idPrefix: str = "",
    ) -> None:
        """`idPrefix` goes before the numbers of the connections where people see them."""
        self.reactor = reactor
        self.clock = RunningTime(reactor)
        """The clock of the timeouts."""
        self.gate = gate
        self.counts = gate.counts
        self._limits = limits
        self._logConnections = logConnections
        self._idPrefix = idPrefix
        self._ids = count(1)
        self._open: dict[Connection, None] = {}
        self._sweeping = LoopingCall(self._sweep)
        self._sweeping.clock = self.clock
        self._isStopping = False
        self._paging = DeferredLock()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._open)

    def make(self, listener: str, peer: IAddress, isProxied: bool = False) -> Connection:
        """Return the record of a connection from `peer`; if it `isProxied`, its source is not known yet."""
        peer = unmapAddress(peer)
        source = None if isProxied else getattr(peer, "host", None)
        counts = self.counts.listeners[listener]
        return Connection(next(self._ids), listener, counts, peer, source, self.reactor.seconds())

    def serve(self, connection: Connection, protocol: IConnectionProtocol) -> None:
        """Let `protocol` serve `connection`: at once if it was admitted before; a new one asks the gate."""
        isNew = connection.protocol is None
        connection.protocol = protocol
        if not isNew:
            protocol.begin()
            return
        self._open[connection] = None
        connection.counts.add(_OPENED)
        if self._isStopping:
            allowPackets(protocol.transport.getHandle())
        if not self._sweeping.running:
            self._sweeping.start(self._limits.tick, now=False)
        connection.settle(self.gate.admit(connection))

    def remove(self, connection: Connection) -> None:
        """Remove and count a connection that is gone, and log it if that is on."""
        del self._open[connection]
        protocol, connection.protocol = connection.protocol, None
        self.gate.release(connection)
        reason = connection.reason = connection.reason or _LOST
        received, seconds = connection.received, self.reactor.seconds() - connection.startedAt
        # Of a connection that is done, nothing is unsent.
        unsent = unsentBy(protocol.transport) if received and protocol and reason is not _DONE else 0
        sent = max(received - unsent - connection.countedSent, 0)
        connection.counts.addEnd(reason, connection.isServed, received - connection.countedReceived, sent)
        if reason is not _REFUSED:
            self.counts.observe(seconds, received)
        if self._logConnections:
            self._logEnd(connection, seconds, reason)

    def _logEnd(self, connection: Connection, seconds: float, reason: EndReason) -> None:
        details = dict(connection.details)
        formats = (f'{name}="{{{name}}}"' if name in _SENTENCES else f"{name}={{{name}}}" for name in details)
        self._log.info(
            " ".join((_LINE, *formats)),
            id=f"{self._idPrefix}{connection.id}",
            listener=word(connection.listener.encode(errors="surrogateescape")),
            peer=describeAddress(connection.peer),
            bytes=connection.received,
            seconds=round(seconds, 6),
            reason=reason.value,
            **details,
        )

    async def forEach(self, act: Callable[[Connection, IConnectionProtocol], None]) -> None:
        """Act on the open connections, each with the protocol that serves it, in slices."""
        for number, connection in enumerate(list(self._open), 1):
            if connection.protocol:
                act(connection, connection.protocol)
            if not number % SLICE:
                await deferLater(self.reactor, 0)

    async def updateCounts(self, check: Callable[[IConnectionProtocol], None] | None = None) -> None:
        """Bring the counts of the open connections up to date, and `check` those that don't wait for the gate."""
        waiting = paused = 0

        def update(connection: Connection, protocol: IConnectionProtocol) -> None:
            nonlocal waiting, paused
            if connection.admission is WAITING:
                waiting += 1
                return
            if connection.countedSent < connection.received:
                connection.countTraffic(unsentBy(protocol.transport))
                paused += connection.countedSent < connection.received and protocol.stage is Stage.PAUSED
            if check:
                check(protocol)

        await self.forEach(update)
        self.counts.setOpen(waiting, paused)

    async def after(self, cursor: str, peer: str) -> tuple[list[dict[str, Any]], str]:
        """Return some of the open connections, as JSON, and the next cursor; see `IMainService.connectionsAfter`."""
        await self._paging.acquire()
        await deferLater(self.reactor, 0)  # so that no turn has more than one page, however many clients ask for some
        self._paging.release()
        last, now = int(cursor.removeprefix(self._idPrefix) or 0), self.reactor.seconds()
        page = [*islice((connection for connection in self._open if connection.id > last), PAGE)]
        shown = [connection.describe(self._idPrefix, now) for connection in page if connection.isFrom(peer)]
        return shown, f"{self._idPrefix}{page[-1].id}" if len(page) == PAGE else ""

    def _sweep(self) -> "Deferred[None]":
        if not self._open:
            self._sweeping.stop()  # until the next connection
        swept = Deferred.fromCoroutine(self.checkProgress())
        return swept.addErrback(lambda failure: self._log.failure("a check of the connections failed", failure))

    async def checkProgress(self) -> None:
        """Bring the counts up to date, and end the connections that have had no traffic for too long."""
        now = self.clock.seconds()  # for all slices: a pause between two of them must not count for the later ones

        def check(protocol: IConnectionProtocol) -> None:
            idleReason = EndReason.STOPPING if self._isStopping else EndReason.IDLE
            protocol.checkProgress(now, self._limits, idleReason)

        await self.updateCounts(check)

    async def beginStop(self) -> None:
        """End quiet connections from now on, and undo `stopHandshakes` for those that inherited it."""
        self._isStopping = True
        self._limits = replace(self._limits, idleTimeout=QUIET)
        if self._sweeping.running:
            self._sweeping.interval = self._limits.tick
            self._sweeping.reset()
        await self.forEach(lambda _, protocol: allowPackets(protocol.transport.getHandle()))

    def stopSweeping(self) -> None:
        """Stop the regular checks of the connections."""
        if self._sweeping.running:
            self._sweeping.stop()
