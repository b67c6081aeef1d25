"""A connection echoes exactly, ends cleanly, and never outlives what moves on it."""

import socket
import ssl
import time
from functools import partial
from select import POLLOUT
from uuid import uuid4

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolFactory, IPushProducer
from twisted.internet.protocol import Factory
from twisted.logger import LogEvent, capturedLogs, formatEvent
from zope.interface.verify import verifyObject

from echoup.server.admission.gate import Gate
from echoup.server.listening.sockets import adoptEach, openTCP
from echoup.server.settings import Limits
from echoup.server.stream.protocol import EchoUp, EchoUpFactory, IConnection, IStreamTransport, OwnTotals, isReady
from echoup.tls.transport import RECORD, TLSTransport
from tests.support.certificates import contexts
from tests.support.doubles import HandReactor, Peer, ReactorTestCase, raised
from tests.support.gates import REFUSED, held
from tests.support.properties import given, st
from tests.support.sizes import MUCH
from tests.support.tlspeer import TLSPeer

FAMILIES = (socket.AF_INET, socket.AF_UNIX)
LIMITS = Limits(idleTimeout=100, stallTimeout=10)


class EchoUpTestCase(ReactorTestCase):
    """A test with a factory that logs its connections."""

    def setUp(self) -> None:
        """Make the factory."""
        super().setUp()
        self.factory = makeFactory(self.reactor)

    def connect(self, family: socket.AddressFamily = socket.AF_INET) -> tuple[EchoUp, Peer]:
        """Return a new connection and its far end."""
        before = set(self.factory.connections)
        peer = self.peerOf(self.factory, family)
        (connection,) = self.factory.connections - before
        assert isinstance(connection, EchoUp)
        return connection, peer

    def look(self, seconds: float, limits: Limits = LIMITS) -> None:
        """Look what has moved, then let `seconds` pass and look again."""
        self.factory.look(limits)
        self.reactor.advance(seconds, step=seconds)
        self.factory.look(limits)
        self.reactor.turn()

    def assertGone(self, connection: EchoUp, reason: str) -> None:
        """Check that `connection` goes away for `reason` and leaves nothing behind."""
        self.reactor.until(lambda: connection not in self.factory.connections)
        assert connection.reason == reason
        assert connection.transport not in self.reactor.getReaders() + self.reactor.getWriters()


def makeFactory(reactor: HandReactor, limits: Limits = LIMITS, logConnections: bool = True) -> EchoUpFactory:
    """Return a factory on `reactor` without a port."""
    return EchoUpFactory(reactor, Gate(reactor, limits), logConnections)


class InterfaceTests(EchoUpTestCase):
    """The protocol and its transports fit together."""

    def test_protocol(self) -> None:
        """A connection is one that the factory can keep, a half-closeable protocol, and its transport's producer."""
        connection, _ = self.connect()
        for interface in (IConnection, IHalfCloseableProtocol, IPushProducer):
            verifyObject(interface, connection)

    def test_factory(self) -> None:
        """The factory builds protocols."""
        verifyObject(IProtocolFactory, self.factory)

    def test_transports(self) -> None:
        """TCP and Unix transports provide all that the protocol needs."""
        for family in FAMILIES:
            connection, _ = self.connect(family)
            for interface in IStreamTransport.getBases():
                verifyObject(interface, connection.transport)
            assert connection.transport.protocol is connection


class EchoTests(EchoUpTestCase):
    """Every byte comes back in upper case, then the end."""

    @given(st.lists(st.binary(min_size=1)), st.sampled_from(FAMILIES))
    def test_exact(self, chunks: list[bytes], family: socket.AddressFamily) -> None:
        """Whatever is sent, in whatever pieces, comes back exactly when the peer ends its side."""
        connection, peer = self.connect(family)
        for chunk in chunks:
            peer.offer(chunk)
        peer.end()
        assert peer.receiveAll() == b"".join(chunks).upper()
        self.assertGone(connection, "done")
        assert connection.received == len(b"".join(chunks))

    def test_lateReader(self) -> None:
        """Of what the daemon took in from a peer that doesn't read yet not a byte is lost."""
        for family in FAMILIES:
            connection, peer = self.connect(family)
            sent = peer.offer(MUCH)
            peer.end()
            self.reactor.turn()
            assert peer.receiveAll() == MUCH[:sent].upper()
            self.assertGone(connection, "done")

    def test_bounded(self) -> None:
        """A peer that doesn't read isn't read from either, and is again as soon as it has read."""
        for family in FAMILIES:
            connection, peer = self.connect(family)
            sent = peer.offer(MUCH)
            assert sent < len(MUCH)
            assert connection.transport not in self.reactor.getReaders()
            assert connection.received < sent
            assert peer.receive(sent) == MUCH[:sent].upper()
            assert connection.transport in self.reactor.getReaders()

    def test_endWhilePaused(self) -> None:
        """An end that is seen while the peer is paused closes the connection too: a paused producer would keep it."""
        connection, peer = self.connect()
        connection.dataReceived(MUCH)
        assert connection.transport not in self.reactor.getReaders()
        connection.readConnectionLost()
        assert peer.receiveAll() == MUCH.upper()
        self.assertGone(connection, "done")

    def test_urgentByte(self) -> None:
        """An urgent byte comes back in its place, as a TCP connection has learned it from its listening socket."""
        opening = openTCP(1, 5, socket.AF_INET, ("127.0.0.1", 0))
        address = opening.sockets[0].getsockname()
        list(adoptEach(self.reactor, self.factory, [opening]))
        peer = self.peerAt(address)
        peer.socket.send(b"ab")
        peer.socket.send(b"c", socket.MSG_OOB)
        peer.socket.send(b"de")
        assert peer.receive(5) == b"ABCDE"

    def test_reset(self) -> None:
        """A reset by the peer ends the connection and leaves nothing behind."""
        connection, peer = self.connect()
        peer.offer(b"hello")
        peer.reset()
        self.assertGone(connection, "lost")


class FinishTests(EchoUpTestCase):
    """The daemon's own end of a connection loses nothing of what it received."""

    def test_flushes(self) -> None:
        """Everything received comes back before the end, also when the daemon had paused the peer."""
        for family in FAMILIES:
            connection, peer = self.connect(family)
            peer.offer(MUCH)
            received = connection.received
            connection.finish("stopping")
            assert peer.receiveAll() == MUCH[:received].upper()
            peer.end()
            self.assertGone(connection, "stopping")

    def test_discards(self) -> None:
        """What still comes is neither echoed nor left unread, which would reset the connection."""
        connection, peer = self.connect()
        peer.offer(b"before")
        connection.finish("stopping")
        peer.offer(b"after" * 10000)
        assert peer.receiveAll() == b"BEFORE"
        peer.end()
        self.assertGone(connection, "stopping")
        assert connection.received == len(b"before")

    def test_once(self) -> None:
        """The first reason is the one that counts."""
        connection, peer = self.connect()
        connection.finish("idle")
        connection.finish("stopping")
        peer.end()
        self.assertGone(connection, "idle")

    def test_afterThePeer(self) -> None:
        """A connection that the peer ended already is flushed all the same."""
        connection, peer = self.connect()
        connection.dataReceived(MUCH)
        connection.readConnectionLost()
        connection.finish("stopping")
        assert peer.receiveAll() == MUCH.upper()
        self.assertGone(connection, "done")


class CutTests(EchoUpTestCase):
    """A connection can be dropped."""

    def test_beforeItIsFlushed(self) -> None:
        """What waits is thrown away, and the peer is told with a reset."""
        connection, peer = self.connect()
        peer.offer(MUCH)
        connection.cut("stopping")
        assert raised(ConnectionResetError, peer.receiveAll)
        self.assertGone(connection, "stopping")

    def test_afterItWasFlushed(self) -> None:
        """When the kernel has everything the peer still gets all of it, and the first reason stays."""
        connection, peer = self.connect()
        peer.offer(b"hello")
        connection.finish("idle")
        self.reactor.turn()
        connection.cut("stopping")
        assert peer.receiveAll() == b"HELLO"
        self.assertGone(connection, "idle")


class LookTests(EchoUpTestCase):
    """A connection on which nothing moves ends, and no other."""

    def isFull(self, connection: EchoUp) -> bool:
        """Has the kernel asked a peer that reads nothing for room, and got none? From then on nothing moves.

        It asks after 0.2 s, which aren't the reactor's, and the first time there may be some. (This is tcpi_backoff.)
        """
        handle = connection.transport.getHandle()
        return handle.family == socket.AF_UNIX or handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 5)[4] > 0

    def test_idle(self) -> None:
        """A connection on which nothing moved for the idle timeout is ended cleanly."""
        connection, peer = self.connect()
        peer.offer(b"hello")
        self.look(99)
        assert connection.reason == ""
        self.look(1)
        assert peer.receiveAll() == b"HELLO"
        peer.end()
        self.assertGone(connection, "idle")

    def test_never(self) -> None:
        """Without an idle timeout a quiet connection stays."""
        connection, _ = self.connect()
        self.look(1e6, Limits(idleTimeout=0))
        assert connection.reason == ""

    def test_incomingIsMoving(self) -> None:
        """A connection that something comes in on isn't idle."""
        connection, peer = self.connect()
        for _ in range(3):
            peer.offer(b"hello")
            assert peer.receive(5) == b"HELLO"
            self.look(99)
        assert connection.reason == ""

    def test_unreadIsNotIdle(self) -> None:
        """A connection that the reactor hasn't come to yet isn't idle: something waits to be read."""
        connection, peer = self.connect()
        self.factory.look(LIMITS)
        peer.socket.send(b"hello")
        self.reactor.clock.advance(100)
        self.factory.look(LIMITS)
        assert connection.reason == ""
        assert peer.receive(5) == b"HELLO"

    def test_stalled(self) -> None:
        """A peer that takes nothing for the stall timeout while bytes wait for it is dropped."""
        for family in FAMILIES:
            connection, peer = self.connect(family)
            peer.offer(MUCH)
            self.reactor.until(partial(self.isFull, connection))
            self.look(9.9)
            assert connection.reason == ""
            self.look(0.1)
            self.assertGone(connection, "stalled")

    def test_slowReader(self) -> None:
        """A peer that takes some now and then isn't dropped, and gets all of it."""
        connection, peer = self.connect(socket.AF_UNIX)
        sent = peer.offer(MUCH)
        peer.end()
        taken = 0
        while taken < sent - 2**16:
            taken += len(peer.receive(2**16))
            self.look(9.9)
        assert len(peer.receiveAll()) == sent - taken
        self.assertGone(connection, "done")

    def test_roomInTheKernel(self) -> None:
        """A peer that hasn't read a little is idle rather than stalled: the kernel has it all."""
        connection, peer = self.connect(socket.AF_UNIX)
        peer.offer(b"hello")
        self.look(50)
        assert connection.reason == ""
        self.look(50)
        assert connection.reason == "idle"
        assert peer.receiveAll() == b"HELLO"

    def test_roomAtTheProxy(self) -> None:
        """Only the connection itself counts there: who is behind a proxy may have come to that by a Unix socket."""
        connection, peer = self.connect()
        connection.peer = UNIXAddress(b"/run/client")
        while not self.isFull(connection):  # soon the peer's buffer is full, and not ours
            peer.offer(b"hello" * 4000)
            # What the peer has unread its kernel may acknowledge 40 ms later.
            self.reactor.until(lambda: not connection._unsent() or self.isFull(connection))
        assert isReady(connection._descriptor(), POLLOUT)
        self.look(10)
        self.assertGone(connection, "stalled")

    def test_takesNothingAtTheEnd(self) -> None:
        """A peer that has ended its side has the stall timeout to take what waits for it."""
        connection, peer = self.connect()
        peer.offer(MUCH)
        peer.end()
        self.reactor.until(lambda: self.isFull(connection))
        self.look(10)
        self.assertGone(connection, "stalled")

    def test_neverEnds(self) -> None:
        """A peer that was told the end has the stall timeout to end its own side, however much it sends."""
        connection, peer = self.connect(socket.AF_UNIX)
        self.reactor.advance(60, step=60)
        connection.finish("idle")
        for _ in range(2):
            peer.offer(b"more" * 1000)
            self.look(4.9)
        assert connection in self.factory.connections
        peer.offer(b"more" * 1000)
        self.look(0.2)
        self.assertGone(connection, "idle")

    def test_timeOfDay(self) -> None:
        """The time of day, wherever it is set, has no part in it."""
        connection, _ = self.connect()
        now = time.time()
        for stepped in (now + 1e6, now - 1e6):
            self.patch(time, "time", lambda stepped=stepped: stepped)
            self.look(1)
        assert connection.reason == ""

    def test_reasonOfTheCaller(self) -> None:
        """Who looks says why a quiet connection ends."""
        connection, _ = self.connect()
        self.reactor.advance(100, step=100)
        self.factory.look(LIMITS, "stopping")
        assert connection.reason == "stopping"


class LookAtTLSTests(EchoUpTestCase):
    """With TLS a connection moves as soon as anything comes, though nothing of a record can be told before its end."""

    def setUp(self) -> None:
        """Make a connection, and let its handshake be over."""
        super().setUp()
        client, server = contexts(ssl.TLSVersion.TLSv1_3)
        near = TLSTransport(server, lambda: self.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)))
        self.far = TLSPeer(self.peerOf(Factory.forProtocol(lambda: near)), client)
        self.far.peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a piece waits for no other
        self.far.shakeHands()
        self.reactor.until(lambda: bool(self.factory.connections))
        (connection,) = self.factory.connections
        assert isinstance(connection, EchoUp)
        self.connection = connection
        self.far.peer.offer(b"")  # but tell that all has come
        self.reactor.until(lambda: not connection._unsent())

    def pieces(self, data: bytes) -> list[bytes]:
        """Return the record that carries `data`, in pieces."""
        record = self.far.seal(data)
        size = len(record) // 4
        return [record[:size], record[size : 2 * size], record[2 * size : 3 * size], record[3 * size :]]

    def test_partOfARecord(self) -> None:
        """A record that takes its time isn't idle, and comes back when it is complete."""
        data = b"x" * RECORD
        *pieces, last = self.pieces(data)
        for piece in pieces:
            self.far.peer.offer(piece)
            self.look(99)
            assert (self.connection.received, self.connection.reason) == (0, "")
        self.far.peer.offer(last)
        assert self.far.receive(len(data)) == data.upper()

    def test_idle(self) -> None:
        """If the rest of it doesn't come for the idle timeout, nothing moves; the handshake is no movement either."""
        connection = self.connection
        self.reactor.advance(50, step=50)
        self.look(49)
        assert connection.reason == ""
        self.far.peer.offer(self.pieces(b"hello")[0])
        self.look(99)
        assert connection.reason == ""
        self.look(1)
        assert connection.reason == "idle"
        self.far.peer.end()
        self.assertGone(connection, "idle")

    def test_neverEnds(self) -> None:
        """A peer that was told the end can't put its own off with records, or parts of them."""
        connection = self.connection
        connection.finish("idle")
        self.look(4)
        for piece in self.pieces(b"more")[:2]:
            self.far.peer.offer(piece)
            self.look(4.9)
        self.look(0.2)
        self.assertGone(connection, "idle")


class WaitingTests(EchoUpTestCase):
    """A connection for which there is no place yet waits, as it would in the kernel's queue."""

    def setUp(self) -> None:
        """Fill the only place."""
        super().setUp()
        self.factory = makeFactory(self.reactor, Limits(maxConnections=1))
        self.inside, self.peer = self.connect()

    def test_waits(self) -> None:
        """Nothing is read of it and no timeout runs; when there is a place it loses nothing."""
        connection, peer = self.connect()
        peer.offer(b"hello")
        peer.end()
        for _ in range(3):
            self.peer.offer(b"x")
            self.look(9)
        assert (connection.received, connection.reason) == (0, "")
        assert connection.transport not in self.reactor.getReaders()
        with capturedLogs() as events:
            self.peer.end()
            assert peer.receiveAll() == b"HELLO"
            self.reactor.until(lambda: not self.factory.connections)
        assert [str(formatEvent(event)).partition("bytes=")[2] for event in events if "peer" in event] == [
            "3 seconds=27.000 reason=done",
            "5 seconds=0.000 reason=done",
        ]

    def test_inVain(self) -> None:
        """When the ports close it is dropped, and was none that was served."""
        _, peer = self.connect()
        with capturedLogs() as events:
            self.factory.gate.abandon()
            assert raised(ConnectionResetError, peer.receiveAll)
            self.reactor.until(lambda: len(self.factory.connections) == 1)
        assert events == []
        self.peer.offer(b"hello")
        self.peer.end()
        self.assertGone(self.inside, "done")
        assert isinstance(self.factory.totals, OwnTotals)
        assert (self.factory.totals.connections, self.factory.totals.bytes) == (1, 5)


class FactoryTests(EchoUpTestCase):
    """The factory knows its connections, and logs them if it is told to."""

    def session(self, factory: EchoUpFactory) -> list[LogEvent]:
        """Return the events of a session of 2.5 seconds that echoes five bytes."""
        with capturedLogs() as events:
            peer = self.peerOf(factory)
            peer.offer(b"hello")
            self.reactor.advance(2.5, step=2.5)
            peer.end()
            peer.receiveAll()
            self.reactor.until(lambda: not factory.connections)
        host, port = peer.socket.getsockname()
        self.name = f"{host}:{port}"
        return list(events)

    def test_connections(self) -> None:
        """Those that are open are in `connections`."""
        pairs = [self.connect() for _ in range(3)]
        assert self.factory.connections == {connection for connection, _ in pairs}
        pairs[1][1].end()
        self.assertGone(pairs[1][0], "done")
        assert self.factory.connections == {pairs[0][0], pairs[2][0]}

    def test_log(self) -> None:
        """As a connection ends there is one event, with its fields."""
        (event,) = self.session(self.factory)
        assert formatEvent(event) == f"connection peer={self.name} bytes=5 seconds=2.500 reason=done"
        assert (event["peer"], event["bytes"], event["seconds"], event["reason"]) == (self.name, 5, 2.5, "done")

    def test_details(self) -> None:
        """What else is known of a connection is at the end of the line."""
        connection, peer = self.connect()
        connection.peer = IPv6Address("TCP", "2001:db8::7", 40000)
        connection.details = {"via": "192.0.2.1:8081", "authority": "example.org"}
        with capturedLogs() as events:
            peer.end()
            self.assertGone(connection, "done")
        line = "connection peer=[2001:db8::7]:40000 bytes=0 seconds=0.000 reason=done"
        assert [formatEvent(event) for event in events] == [f"{line} via=192.0.2.1:8081 authority=example.org"]

    def test_peer(self) -> None:
        """A connection is that of the client that the factory was told, and its source that client's IP address."""
        for address, source in (
            (IPv4Address("TCP", "192.0.2.7", 40000), "192.0.2.7"),
            (IPv6Address("TCP", "2001:db8::7", 40000), "2001:db8::7"),
            (UNIXAddress(b"/run/client"), None),
            (UNIXAddress(None), None),
        ):
            connection = self.factory.buildProtocol(address)
            assert (connection.peer, connection.source) == (address, source)

    def test_replaced(self) -> None:
        """A stream that takes another connection's place has all that is known of it, and isn't counted anew."""
        factory = makeFactory(self.reactor, Limits(maxConnectionsPerPeer=1))
        peer = self.peerOf(factory)
        (before,) = factory.connections
        assert isinstance(before, EchoUp)
        before.details = {"via": "192.0.2.1:8081"}
        assert raised(ConnectionResetError, self.peerOf(factory).receiveAll)
        transport = before.transport
        transport.unregisterProducer()
        transport.protocol = stream = factory.replaced(before)
        stream.makeConnection(transport)
        assert factory.connections == {stream}
        assert (stream.peer, stream.details, stream.reason) == (before.peer, before.details, "")
        peer.end()
        assert peer.receiveAll() == b""
        self.reactor.until(lambda: not factory.connections)
        assert held(factory.gate) == (0, {})

    def test_noLog(self) -> None:
        """Unless it is told to, it logs nothing."""
        assert self.session(makeFactory(self.reactor, logConnections=False)) == []

    def test_refused(self) -> None:
        """Of those over the limit of their peer there is one line for all, and no connection stays."""
        factory = makeFactory(self.reactor, Limits(maxConnectionsPerPeer=1))
        inside = self.peerOf(factory)
        with capturedLogs() as events:
            for _ in range(2):
                assert raised(ConnectionResetError, self.peerOf(factory).receiveAll)
        assert [formatEvent(event) for event in events] == [REFUSED]
        assert len(factory.connections) == 1
        inside.offer(b"hello")
        assert inside.receive(5) == b"HELLO"

    def test_unixPeersHaveNoAddress(self) -> None:
        """The limit of a peer is one for addresses: peers on a Unix socket have none."""
        factory = makeFactory(self.reactor, Limits(maxConnectionsPerPeer=1))
        for _ in range(2):
            self.peerOf(factory, socket.AF_UNIX)
        self.reactor.turn()
        assert len(factory.connections) == 2

    def test_quiet(self) -> None:
        """That it starts and stops listening is nothing that the factory logs."""
        assert not self.factory.noisy
        assert isinstance(self.factory, Factory)

    def test_unixName(self) -> None:
        """The name that a peer gave its Unix socket can't put a second line or a control character in the log."""
        name = f"\0echoup-{uuid4()}"
        self.reactor.listenUNIX(name, self.factory)
        with socket.socket(socket.AF_UNIX) as far, capturedLogs() as events:
            far.bind(f"{name}\nconnection peer=fake\x1b[2J")
            far.connect(name)
            self.reactor.until(lambda: bool(self.factory.connections))
            far.shutdown(socket.SHUT_WR)
            self.reactor.until(lambda: not self.factory.connections)
        lines = [str(formatEvent(event)) for event in events if "peer" in event]
        assert [line.isprintable() for line in lines] == [True], lines
