"""`EchoUp`, the protocol that sends every byte back in upper case, and the factory that another program listens with.

Theory of operation. Nothing that was received is lost, because a connection is closed only when everything was sent
and the peer has ended its side: a close with unread input makes the kernel send a reset, which destroys what the peer
has not read yet (RFC 1122, 4.2.2.13). Nothing hangs, because in each state `checkProgress` ends a connection without
traffic. Memory is bounded, because the transport is its own producer: it reads nothing while more than its buffer waits
for the peer. A transport never closes while its producer is paused (twisted#6461), so each path to the end unregisters
the producer first.
"""

from enum import Enum, auto

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from echoup.server.admission.gate import Gate
from echoup.server.connection import Connection, IConnectionProtocol, Stage
from echoup.server.connections import Connections
from echoup.server.counts import Counts
from echoup.server.platform.socketoptions import prepare
from echoup.server.platform.twistedports import acceptingPort, isPaused, unsentBy
from echoup.server.reasons import EndReason
from echoup.server.settings import Limits
from echoup.server.stream.progress import IStreamTransport, SocketProgress, TLSProgress
from echoup.upper import upper


class EchoUpState(Enum):
    """What a stream does."""

    ECHOING = auto()  # what comes in is sent back, until the peer ends its side or `finish` ends ours
    CLOSING = auto()  # the peer has ended its side: what waits for it is sent, then the connection is closed
    FINISHING = auto()  # we end our side first: what waits is sent, then our end; what comes in is discarded
    FLUSHED = auto()  # our end was sent, after everything else; the peer's end closes the connection
    ABORTED = auto()  # it is dropped in the next turn


# In Python 3.11 a look-up in the class costs 0.1 us.
ECHOING, CLOSING, FINISHING, FLUSHED, ABORTED = EchoUpState
_DONE, _LOST = EndReason.DONE, EndReason.LOST


@implementer(IConnectionProtocol, IHalfCloseableProtocol)
class EchoUp(Protocol):
    """The stream of one connection."""

    factory: "EchoUpFactory"
    transport: IStreamTransport

    _state = ECHOING
    _movedAt = 0.0
    _progress: SocketProgress | None = None  # most connections are gone before it is needed

    def __init__(self, connection: Connection, progress: type[SocketProgress] = SocketProgress) -> None:
        """`progress` tells whether there is traffic on the transport."""
        self.connection = connection
        self._makeProgress = progress

    def connectionMade(self) -> None:
        """Join the open connections, unless this takes over one that has joined already."""
        if not self.factory.isPrepared:
            self.factory.prepare(self.transport)
        self.transport.registerProducer(self.transport, True)  # it pauses itself
        self.factory.connections.serve(self.connection, self)

    def begin(self) -> None:
        """Start the clock, now that the connection is admitted."""
        connections = self.factory.connections
        self.connection.isServed = True
        self.connection.startedAt, self._movedAt = connections.reactor.seconds(), connections.clock.seconds()

    @property
    def stage(self) -> Stage:
        """Whether it echoes, is paused, or is ending."""
        if self._state is not ECHOING:
            return Stage.ENDING
        return Stage.PAUSED if isPaused(self.transport) else Stage.ECHOING

    def dataReceived(self, data: bytes) -> None:
        """Send `data` back in upper case."""
        if self._state is ECHOING:
            self.connection.received += len(data)
            self.transport.write(upper(data))

    def readConnectionLost(self) -> None:
        """Send what waits for the peer, which has sent its last byte, and close.

        `loseConnection` may call `connectionLost` before it returns (twisted#5210), so it comes last.
        """
        if self._state is ECHOING:
            self._state = CLOSING
            self.connection.reason = _DONE
        self._movedAt = self.factory.connections.clock.seconds()  # the stall timeout begins now, as in `finish`
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Record that our end was sent, after everything else."""
        self._state = FLUSHED

    def finish(self, reason: EndReason) -> None:
        """End the connection without losing a received byte; the peer has the stall timeout to end its side as well."""
        if self._state is not ECHOING:
            return
        self._state = FINISHING
        self.connection.reason = reason
        self._movedAt = self.factory.connections.clock.seconds()
        self._progress = SocketProgress(self.transport)  # what arrives from now on doesn't count
        self._progress.hasMoved(self.connection.received)
        self.transport.unregisterProducer()
        self.transport.loseWriteConnection()
        self.transport.resumeProducing()

    def abort(self, reason: EndReason) -> None:
        """Drop the connection and the data that waits for the peer, unless the kernel has all of it already."""
        if self._state is FLUSHED:
            self.transport.loseConnection()
        elif self._state is not ABORTED:
            self._state = ABORTED
            self.connection.reason = reason
            self.transport.abortConnection()

    def checkProgress(self, now: float, limits: Limits, idleReason: EndReason) -> None:
        """End the connection if it has had no traffic for too long; `now` is in the clock's seconds.

        It is stalled if bytes wait and the peer takes none, or if we are ending it and the peer doesn't end its side.
        Otherwise it is idle, unless there is input that the reactor hasn't read yet.
        """
        progress = self._progress = self._progress or self._makeProgress(self.transport)
        if progress.hasMoved(self.connection.received):
            self._movedAt = now
            return
        quiet = now - self._movedAt
        if self._state is not ECHOING or progress.isBlocked:
            if quiet >= limits.stallTimeout:
                self.abort(EndReason.STALLED)
        elif limits.idleTimeout and quiet >= limits.idleTimeout and not progress.hasInput:
            self.finish(idleReason)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Leave the open connections; what was still to be sent after the end of the peer is lost.

        A reset may look like the end of the peer, if `write` was told of it first. With TLS it may only answer our
        close_notify.
        """
        if self._state is CLOSING and reason.type is not ConnectionDone:
            isAnswer = self._makeProgress is TLSProgress and not unsentBy(self.transport)
            self.connection.reason = _DONE if isAnswer else _LOST
        self.factory.connections.remove(self.connection)


class EchoUpFactory(Factory[EchoUp]):
    """Builds the streams of connections that begin with their first byte."""

    noisy = False

    def __init__(
        self,
        reactor: IReactorTime,
        limits: Limits = Limits(),  # noqa: B008  # it is frozen
        connections: Connections | None = None,
        listener: str = "",
        isPrepared: bool = False,
    ) -> None:
        """Serve within `limits`, or among `connections`, which have theirs.

        `listener` names the listener of the connections; it `isPrepared` if it has set already what `prepare` sets.
        """
        if connections is None:
            limits = limits.within(reactor)
            connections = Connections(reactor, limits, Gate(reactor, limits, counts=Counts([listener])))
        self.connections = connections
        self.listener = listener
        self.isPrepared = isPrepared

    def buildProtocol(self, addr: IAddress | None) -> EchoUp:
        """Return the protocol of a new connection from `addr`, which is None in the tests of some programs."""
        return self.makeStream(self.connections.make(self.listener, addr))  # type: ignore[arg-type]

    def makeStream(self, connection: Connection, progress: type[SocketProgress] = SocketProgress) -> EchoUp:
        """Return the protocol that serves `connection` from its first byte on."""
        stream = EchoUp(connection, progress)
        stream.factory = self
        return stream

    def prepare(self, transport: IStreamTransport) -> None:
        """Set the options of a connection's socket, and let the gate pause the port that accepted it."""
        prepare(transport.getHandle())
        if port := acceptingPort(transport):
            self.connections.gate.guard(port, self.connections.counts.listeners[self.listener])
