"""The heart: a connection that sends every byte back in upper case, and the factory that keeps them all."""

from collections.abc import Mapping
from fcntl import ioctl
from select import POLLIN, POLLOUT, poll
from socket import SO_OOBINLINE, SOL_SOCKET, socket
from struct import unpack
from termios import TIOCOUTQ
from types import MappingProxyType
from typing import Protocol as Shape
from typing import cast

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
    ISystemHandle,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface, implementer

from echoup.addresses import describeAddress
from echoup.server.admission.gate import Gate
from echoup.server.settings import Limits
from echoup.upper import upper


class IStreamTransport(ITCPTransport, IConsumer, IPushProducer, ISystemHandle):
    """What `EchoUp` needs of its transport; Twisted's TCP and Unix transports provide all of it, and our TLS."""

    protocol = Attribute("The protocol that gets what comes in; another may take its place.")

    def getHandle() -> socket:
        """Return the connection's socket."""


class IConnection(Interface):
    """What the factory needs of each connection that it keeps."""

    transport = Attribute("The IStreamTransport below it.")
    peer = Attribute("The address of the client.")
    source = Attribute("The IP address whose limit it counts for, or None.")
    startedAt = Attribute("When it was let in, in seconds of the factory's clock.")
    received = Attribute("How many bytes came in, and so went out or wait to.")
    reason = Attribute("Why it ended or is ending, in one word; empty while it is open.")
    details = Attribute("What else the log says of it: names and values of one word each.")

    def begin() -> None:
        """Go on: it was made to wait, and is let in now."""

    def finish(reason: str) -> None:
        """End it without losing a byte of what was received."""

    def cut(reason: str) -> None:
        """Drop it."""

    def look(now: float, limits: Limits, idleReason: str) -> None:
        """End it if nothing has moved on it for too long."""


@implementer(IConnection, IHalfCloseableProtocol, IPushProducer)
class EchoUp(Protocol):
    """One connection.

    It ends in one of three ways. When the peer ends its side, everything is flushed and the connection
    closes. When the daemon ends it (`finish`), everything is flushed, the end is sent, and what the peer
    still sends is discarded until it ends too: closing with unread input makes the kernel send a reset, which destroys
    what the peer has not read yet (RFC 1122, 4.2.2.13). And it can be cut off (`cut`).

    It is its transport's producer: when more than the transport's buffer waits for the peer, nothing more is
    read until all of that is gone, so that a peer that never reads costs a fixed amount of memory.
    """

    factory: "EchoUpFactory"
    transport: IStreamTransport

    received = 0
    reason = ""  # or one of: done, idle, stalled, stopping, refused, lost
    details: Mapping[str, str] = MappingProxyType({})

    _flushed = False  # our end was sent: everything is in the kernel's hands
    _seen = (0, 0, 0)  # by the last look, to tell by what has moved since

    def __init__(self, peer: IAddress) -> None:
        self.peer = peer

    @property
    def source(self) -> str | None:
        """The client's IP address; on a Unix socket it has none."""
        return getattr(self.peer, "host", None)

    def connectionMade(self) -> None:
        """Join the others."""
        self.startedAt = self._movedAt = self.factory.clock.seconds()
        if isinstance(self.peer, UNIXAddress):
            # Without this an urgent byte is taken out of the stream and missing in the echo (RFC 6093, 2.2). A TCP
            # connection has it, and more, from its listening socket; a Unix socket inherits nothing.
            self.transport.getHandle().setsockopt(SOL_SOCKET, SO_OOBINLINE, 1)
        self.transport.registerProducer(self, True)
        if not self.factory.opened(self):
            self.transport.pauseProducing()

    def begin(self) -> None:
        """Go on: it was made to wait, and is let in now."""
        self.startedAt = self._movedAt = self.factory.clock.seconds()
        self.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """Send `data` back in upper case."""
        if self.reason:
            return
        self.received += len(data)
        self.transport.write(upper(data))

    def pauseProducing(self) -> None:
        """Read nothing more: too much waits for the peer already."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again: the peer has taken all that waited for it."""
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Do nothing: this is the transport's first word of a lost connection, `connectionLost` its last."""

    def readConnectionLost(self) -> None:
        """The peer has sent its last byte: flush, then close.

        A transport with a producer that it paused never closes (#6461), so it has none from here on.
        `loseConnection` may call `connectionLost` before it returns (#5210), so it comes last.
        """
        self.reason = self.reason or "done"
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our end was sent, after everything else; what remains is to wait for the peer's."""
        self._flushed = True

    def finish(self, reason: str) -> None:
        """End the connection without losing a byte of what was received: flush, end, discard what still comes.

        The peer has until the stall timeout to end its own side; `look` sees to that.
        """
        if self.reason:
            return
        self.reason = reason
        self._movedAt = self.factory.clock.seconds()
        self.transport.unregisterProducer()
        self.transport.loseWriteConnection()
        self.transport.resumeProducing()

    def cut(self, reason: str) -> None:
        """Drop the connection, with what waits for the peer, unless the kernel has all of that already."""
        if self._flushed:
            self.transport.loseConnection()
        else:
            self.reason = reason
            self.transport.abortConnection()

    def look(self, now: float, limits: Limits, idleReason: str) -> None:
        """End the connection if nothing has moved on it for too long; called every now and then.

        Moving is: bytes came in, or the kernel's count of bytes that the peer has not taken yet changed. With TLS it's
        also a part of a record, of which nothing can be told yet, unless what comes is discarded already.
        Where bytes wait and the peer takes none of them, it stalls. Otherwise it is idle, unless there's something to
        read that the reactor hasn't come to yet.
        """
        unsent = self._unsent()
        below = 0 if self.reason else getattr(self.transport, "receivedBelow", 0)
        if (seen := (unsent, self.received, below)) != self._seen:
            self._seen, self._movedAt = seen, now
            return
        quiet = now - self._movedAt
        if self.reason or (unsent and not self._hasRoom()):
            if quiet >= limits.stallTimeout:
                self.cut("stalled")
        elif limits.idleTimeout and quiet >= limits.idleTimeout and not isReady(self._descriptor(), POLLIN):
            self.finish(idleReason)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Leave nothing behind, whatever the reason."""
        self.reason = self.reason or "lost"
        self.factory.closed(self)

    def _unsent(self) -> int:
        """Return how many bytes the kernel holds that the peer hasn't taken (tcp(7), SIOCOUTQ).

        A Unix socket counts whole buffers of up to 32 KiB, and their overhead.
        """
        size: int = unpack("i", ioctl(self._descriptor(), TIOCOUTQ, bytes(4)))[0]
        return size

    def _hasRoom(self) -> bool:
        """Is there room for more at the peer's, although it hasn't taken all?

        What a Unix socket holds is already in the peer's buffer, and no sign of a stall until that is full.
        """
        return isinstance(self.transport.getPeer(), UNIXAddress) and isReady(self._descriptor(), POLLOUT)

    def _descriptor(self) -> int:
        return self.transport.getHandle().fileno()


class Totals(Shape):
    """What a daemon has done so far."""

    def add(self, size: int) -> None:
        """Count a connection that was served, and the `size` bytes of it."""


class OwnTotals:
    """What this process has done so far."""

    connections = 0
    bytes = 0

    def add(self, size: int) -> None:
        """Count a connection that was served, and the `size` bytes of it."""
        self.connections += 1
        self.bytes += size


class EchoUpFactory(Factory[EchoUp]):
    """Builds connections, keeps those that are open, and ends those on which nothing moves."""

    noisy = False
    _log = Logger()

    def __init__(
        self, clock: IReactorTime, gate: Gate, logConnections: bool = False, totals: Totals | None = None
    ) -> None:
        """`clock` is the reactor; `gate` decides who may come in; `totals` count who was served."""
        self.clock = clock
        self.gate = gate
        self.totals = totals or OwnTotals()
        self.connections: set[IConnection] = set()
        self._logConnections = logConnections

    def buildProtocol(self, addr: IAddress | None) -> EchoUp:
        """Return the protocol of a new connection of the client at `addr`."""
        connection = EchoUp(cast("IAddress", addr))
        connection.factory = self
        return connection

    def opened(self, connection: IConnection) -> bool:
        """Take in a connection that was just made; may it begin? If not now, it is told to later, or is cut."""
        if connection in self.connections:  # it took another's place
            return True
        self.connections.add(connection)
        return self.gate.enter(connection)

    def replaced(self, connection: IConnection) -> EchoUp:
        """Return the stream that takes the place of `connection`, also at the gate: it was let in once and for all."""
        stream = self.buildProtocol(connection.peer)
        stream.details = connection.details
        self.connections.remove(connection)
        self.connections.add(stream)
        self.gate.replace(connection, stream)
        return stream

    def closed(self, connection: IConnection) -> None:
        """Forget a connection that is gone; count it, and log it if that is wanted, unless it was turned away."""
        self.connections.remove(connection)
        self.gate.leave(connection)
        if connection.reason == "refused":
            return
        self.totals.add(connection.received)
        if self._logConnections:
            self._log.info(
                "connection peer={peer} bytes={bytes} seconds={seconds:.3f} reason={reason}{details}",
                peer=describeAddress(connection.peer),
                bytes=connection.received,
                seconds=self.clock.seconds() - connection.startedAt,
                reason=connection.reason,
                details="".join(f" {name}={value}" for name, value in connection.details.items()),
            )

    def look(self, limits: Limits, idleReason: str = "idle") -> None:
        """Let every connection that was let in look whether anything has moved on it."""
        now = self.clock.seconds()
        for connection in self.connections - self.gate.waiting.keys():
            connection.look(now, limits, idleReason)


def isReady(descriptor: int, event: int) -> bool:
    """Would the kernel let us read or accept (POLLIN), or write (POLLOUT), at this moment?"""
    interest = poll()
    interest.register(descriptor, event)
    return bool(interest.poll(0))
