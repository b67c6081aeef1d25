"""The gate: which connections are served, which wait for a place, and which are refused.

Theory of operation. A connection that is accepted asks `admit` for a place. With one it is inside, and holds a `Pass`
until `release`. The address of its peer is counted next, by `identify`: at once, or, behind a proxy, when the PROXY
header has named it. Both answer with an `Admission`:

    ADMITTED    it is served
    WAITING     for a place, in the order of arrival, or for the answer of another process about its peer
    REFUSED     its peer is over its limit, or the ports are closing

When the last place is taken the ports are paused: the kernel's queue holds further clients, which to them is the same
as waiting here. A connection waits here only if it was accepted nevertheless: its port had accepted it already, or at
that moment another process took the last place, or held the lock of the places. Twisted's ports accept several
connections in a row, with `limitAccepts` no more than there are free places; the uvloop reactor's ports accept one per
turn of the loop, and the pause stops them. So no more than the limit are served at a time, on every reactor, and
nothing is lost: a connection that waits is not read.

A free place goes to the connections that wait, and then to the ports.
"""

from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.tcp import Port
from twisted.logger import Logger

from echoup.plurals import plural
from echoup.server.admission.peers import IPeers, PeerLimit
from echoup.server.admission.slots import ISlots, LocalSlots
from echoup.server.connection import ADMITTED, REFUSED, WAITING, Admission, Connection, Pass
from echoup.server.counts import Counts, ListenerCounts
from echoup.server.log.ratelimitedlog import RateLimitedLog
from echoup.server.platform.twistedports import limitAccepts, reportExhaustion
from echoup.server.reasons import Refusal
from echoup.server.settings import Limits

PLACE = Pass()


class Gate:
    """Admits connections up to the limits: to all together, and to each peer address."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        limits: Limits,
        slots: ISlots | None = None,
        peers: IPeers | None = None,
        counts: Counts | None = None,
    ) -> None:
        """`slots` and `peers` may be shared with other processes; without them they are made of `limits`.

        Without `counts` there is one listener, without a description.
        """
        self.counts = counts or Counts([""])
        """What this process counts."""
        self._slots: ISlots = slots or LocalSlots(limits.maxConnections)
        self._peers: IPeers = peers or PeerLimit(clock, limits.maxConnectionsPerPeer)
        self._limits = limits
        self._ports: list[Port] = []
        self._queue: dict[Connection, None] = {}
        self._isClosed = False
        self._exhaustions = RateLimitedLog(clock, self._logExhaustion)

    @property
    def free(self) -> int:
        """How many places are left."""
        return self._slots.free

    @property
    def isQueueEmpty(self) -> bool:
        """Whether no connection waits for a place."""
        return not self._queue

    def guard(self, port: Port, counts: ListenerCounts) -> None:
        """Pause `port` while there is no place, from now until `close`; `counts` are those of its listener."""
        if self._isClosed or port in self._ports:
            return
        self._ports = [each for each in self._ports if each.connected]  # another program may have closed some
        self._ports.append(port)
        reportExhaustion(port, partial(self._countExhaustion, counts))
        if self._limits.maxConnections:
            limitAccepts(port, lambda: self._slots.free, self._pausePorts)

    def close(self) -> None:
        """Leave the ports alone, because they are about to close, and refuse the connections that wait."""
        self._isClosed = True
        self._ports.clear()
        self._slots.watch(None)
        for connection in list(self._queue):
            connection.counts.add(Refusal.STOPPING)
            connection.settle(REFUSED)
        self._peers.stop()
        self._exhaustions.stop()

    def admit(self, connection: Connection) -> Admission:
        """Give a new connection a place, count its peer, and return the answer; one that waits is settled later."""
        if self._queue or not self._slots.take():
            if self._isClosed:
                connection.counts.add(Refusal.STOPPING)
                return REFUSED
            self._queue[connection] = None
            self._pausePorts()
            return WAITING
        if not self._slots.free:
            self.counts.addFull()
            self._pausePorts()
        connection.held = PLACE
        return self.identify(connection)

    def identify(self, connection: Connection) -> Admission:
        """Count the peer, if known, of a connection with a place, and return the answer, as `admit` does."""
        if connection.source is None or not self._limits.maxConnectionsPerPeer:
            return ADMITTED
        answer = self._peers.enter(connection.source)
        if not isinstance(answer, Deferred):
            return self._decide(connection, connection.source, answer)
        answer.addCallback(self._answered, connection, connection.source)
        return WAITING

    def _answered(self, isWithinLimit: bool, connection: Connection, peer: str) -> None:
        if connection.held:
            connection.settle(self._decide(connection, peer, isWithinLimit))
        elif isWithinLimit:
            self._peers.leave(peer)

    def _decide(self, connection: Connection, peer: str, isWithinLimit: bool) -> Admission:
        if not isWithinLimit:
            connection.counts.add(Refusal.PEER)
            return REFUSED
        connection.held = Pass(peer)
        return ADMITTED

    def release(self, connection: Connection) -> None:
        """Take back the place and the count of a connection that is gone."""
        self._queue.pop(connection, None)
        held, connection.held = connection.held, None
        if held:
            if held.peer is not None:
                self._peers.leave(held.peer)
            self._slots.give()

    def _pausePorts(self) -> None:
        if not self._isClosed:
            for port in self._ports:  # one may have come since the last pause
                port.stopReading()
            self._slots.watch(self._fill)

    def _fill(self) -> None:
        """Give the free places to the connections that wait, and resume the ports if any are left."""
        while self._queue and self._slots.take():
            connection = next(iter(self._queue))
            del self._queue[connection]
            connection.held = PLACE
            if not self._slots.free:
                self.counts.addFull()
            connection.settle(self.identify(connection))
        if self._slots.free and not self._queue:
            self._slots.watch(None)
            for port in self._ports:
                if port.connected and not port.disconnecting:
                    port.startReading()

    def _countExhaustion(self, counts: ListenerCounts) -> None:
        counts.add(Refusal.DESCRIPTORS)
        self._exhaustions.count()

    def _logExhaustion(self, count: int) -> None:
        noun = plural(count, "connection")
        self._log.warn(f"refused {{connections}} {noun}: no file descriptors left", connections=count)
