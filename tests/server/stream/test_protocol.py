"""A stream echoes exactly, ends cleanly, and doesn't stay where nothing moves."""

import socket
import ssl
import time
from functools import partial
from select import select

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolFactory
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Factory
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.tcp import Port
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from echoup.server.admission.gate import Gate
from echoup.server.admission.slots import LocalSlots
from echoup.server.connection import Connection, IConnectionProtocol, Stage
from echoup.server.connections import Connections
from echoup.server.counts import Counts, Total
from echoup.server.listening.sockets import accept, openTCP
from echoup.server.reasons import EndReason, Refusal
from echoup.server.settings import SELECT_MAXIMUM, Limits
from echoup.server.stream.progress import IStreamTransport, SocketProgress, TLSProgress
from echoup.server.stream.protocol import EchoUp, EchoUpFactory
from echoup.tls.transport import RECORD, TLSTransport
from tests.support.certificates import contexts
from tests.support.doubles import HandReactor, Peer, ReactorTestCase, raised
from tests.support.gates import held
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
        """Return a new stream and its far end."""
        before = set(self.factory.connections)
        peer = self.peerOf(self.factory, family)
        (connection,) = set(self.factory.connections) - before
        return streamOf(connection), peer

    def check(self) -> None:
        """Check the progress of all connections."""
        self.successResultOf(Deferred.fromCoroutine(self.factory.connections.checkProgress()))

    def pause(self, seconds: float) -> None:
        """Check the progress of all connections, then let `seconds` pass and check it again."""
        self.check()
        self.reactor.advance(seconds, step=seconds)
        self.check()
        self.reactor.turn()

    def assertGone(self, stream: EchoUp, reason: EndReason) -> None:
        """Check that `stream` goes away for `reason` and leaves nothing behind."""
        self.reactor.until(lambda: stream.connection not in set(self.factory.connections))
        assert stream.connection.reason is reason
        assert stream.transport not in self.reactor.getReaders() + self.reactor.getWriters()


def makeFactory(reactor: HandReactor, limits: Limits = LIMITS, logConnections: bool = True) -> EchoUpFactory:
    """Return a factory on `reactor` without a port."""
    connections = Connections(reactor, limits, Gate(reactor, limits, counts=Counts(["here"])), logConnections)
    return EchoUpFactory(reactor, connections=connections, listener="here")


def streamOf(connection: Connection) -> EchoUp:
    """Return the stream that serves `connection`."""
    assert isinstance(connection.protocol, EchoUp)
    return connection.protocol


class InterfaceTests(EchoUpTestCase):
    """The protocol and its transports fit together."""

    def test_streamProvidesItsInterfaces(self) -> None:
        """A stream is what serves a connection, and half-closeable."""
        stream, _ = self.connect()
        for interface in (IConnectionProtocol, IHalfCloseableProtocol):
            verifyObject(interface, stream)

    def test_factoryBuildsProtocols(self) -> None:
        """The factory builds protocols."""
        verifyObject(IProtocolFactory, self.factory)

    def test_transportsProvideWhatStreamsNeed(self) -> None:
        """TCP and Unix transports provide all that the protocol needs."""
        for family in FAMILIES:
            stream, _ = self.connect(family)
            for interface in IStreamTransport.getBases():
                verifyObject(interface, stream.transport)
            assert stream.transport.protocol is stream


class EchoTests(EchoUpTestCase):
    """Every byte comes back in upper case, then the end."""

    @given(st.lists(st.binary(min_size=1)), st.sampled_from(FAMILIES))
    def test_everyByteComesBackUppercased(self, chunks: list[bytes], family: socket.AddressFamily) -> None:
        """Whatever is sent, in whatever pieces, comes back exactly when the peer ends its side."""
        stream, peer = self.connect(family)
        for chunk in chunks:
            peer.offer(chunk)
        peer.end()
        assert peer.receiveAll() == b"".join(chunks).upper()
        self.assertGone(stream, EndReason.DONE)
        assert stream.connection.received == len(b"".join(chunks))

    def test_lateReaderLosesNothing(self) -> None:
        """Of what the daemon took in from a peer that doesn't read yet not a byte is lost."""
        for family in FAMILIES:
            stream, peer = self.connect(family)
            sent = peer.offer(MUCH)
            peer.end()
            self.reactor.turn()
            assert peer.receiveAll() == MUCH[:sent].upper()
            self.assertGone(stream, EndReason.DONE)

    def test_pausedPeerIsNotRead(self) -> None:
        """A peer that doesn't read isn't read from either, and is again as soon as it has read."""
        for family in FAMILIES:
            stream, peer = self.connect(family)
            sent = peer.offer(MUCH)
            assert sent < len(MUCH)
            assert stream.transport not in self.reactor.getReaders()
            assert stream.connection.received < sent
            assert peer.receive(sent) == MUCH[:sent].upper()
            assert stream.transport in self.reactor.getReaders()

    def test_pausedStreamSaysSo(self) -> None:
        """A stream says that it is paused while its peer isn't read, and that it is ending."""
        for family in FAMILIES:
            stream, peer = self.connect(family)
            found = [stream.stage]
            sent = peer.offer(MUCH)
            found.append(stream.stage)
            peer.receive(sent)
            found.append(stream.stage)
            peer.offer(MUCH)
            peer.end()
            stream.readConnectionLost()
            assert [*found, stream.stage] == [Stage.ECHOING, Stage.PAUSED, Stage.ECHOING, Stage.ENDING]

    def test_endWhilePausedCloses(self) -> None:
        """An end that is seen while the peer is paused closes the connection too: a paused producer would keep it."""
        stream, peer = self.connect()
        stream.dataReceived(MUCH)
        assert stream.transport not in self.reactor.getReaders()
        stream.readConnectionLost()
        assert peer.receiveAll() == MUCH.upper()
        self.assertGone(stream, EndReason.DONE)

    def test_urgentByteKeepsItsPlace(self) -> None:
        """An urgent byte comes back in its place, because a TCP connection inherits that from its listening socket."""
        listening = openTCP(1, 5, socket.AF_INET, ("127.0.0.1", 0))
        self.addCleanup(listening.close)
        accept(self.reactor, self.factory, listening)
        peer = self.peerAt(listening.sockets[0].getsockname())
        peer.socket.send(b"ab")
        peer.socket.send(b"c", socket.MSG_OOB)
        peer.socket.send(b"de")
        assert peer.receive(5) == b"ABCDE"

    def test_resetLeavesNothingBehind(self) -> None:
        """A reset by the peer ends the connection and leaves nothing behind."""
        stream, peer = self.connect()
        peer.offer(b"hello")
        peer.reset()
        self.assertGone(stream, EndReason.LOST)

    def test_resetBeforeAllIsSentIsALoss(self) -> None:
        """A peer that ends its side, and resets the connection before it was sent everything, isn't done."""
        for family in FAMILIES:
            stream, peer = self.connect(family)
            stream.dataReceived(MUCH)
            peer.end()
            stream.readConnectionLost()
            self.reactor.turn()
            assert stream.connection.reason is EndReason.DONE
            peer.reset()
            self.assertGone(stream, EndReason.LOST)

    def test_resetThatWriteConsumedIsALoss(self) -> None:
        """The kernel tells of a reset once; where a write was told, the next read finds an end like the peer's own."""
        stream, peer = self.connect()
        peer.offer(b"hello")
        assert peer.receive(5) == b"HELLO"
        peer.reset()
        assert raised(ConnectionResetError, stream.transport.getHandle().send, b"")
        self.assertGone(stream, EndReason.LOST)


class FinishTests(EchoUpTestCase):
    """The daemon's own end of a connection loses nothing of what it received."""

    def test_finishSendsAllThatWasReceived(self) -> None:
        """Everything received comes back before the end, also when the daemon had paused the peer."""
        for family in FAMILIES:
            stream, peer = self.connect(family)
            peer.offer(MUCH)
            received = stream.connection.received
            stream.finish(EndReason.STOPPING)
            assert peer.receiveAll() == MUCH[:received].upper()
            peer.end()
            self.assertGone(stream, EndReason.STOPPING)

    def test_finishDiscardsWhatStillComes(self) -> None:
        """What still comes is neither echoed nor left unread, which would reset the connection."""
        stream, peer = self.connect()
        peer.offer(b"before")
        stream.finish(EndReason.STOPPING)
        peer.offer(b"after" * 10000)
        assert peer.receiveAll() == b"BEFORE"
        peer.end()
        self.assertGone(stream, EndReason.STOPPING)
        assert stream.connection.received == len(b"before")

    def test_firstReasonCounts(self) -> None:
        """The first reason is the one that counts."""
        stream, peer = self.connect()
        stream.finish(EndReason.IDLE)
        stream.finish(EndReason.STOPPING)
        peer.end()
        self.assertGone(stream, EndReason.IDLE)

    def test_finishAfterThePeersEndFlushes(self) -> None:
        """A connection that the peer has ended is still flushed."""
        stream, peer = self.connect()
        stream.dataReceived(MUCH)
        stream.readConnectionLost()
        stream.finish(EndReason.STOPPING)
        assert peer.receiveAll() == MUCH.upper()
        self.assertGone(stream, EndReason.DONE)


class AbortTests(EchoUpTestCase):
    """A connection can be dropped."""

    def test_abortBeforeTheFlushResets(self) -> None:
        """What waits is thrown away, and the peer is told with a reset."""
        stream, peer = self.connect()
        peer.offer(MUCH)
        stream.abort(EndReason.STOPPING)
        assert raised(ConnectionResetError, peer.receiveAll)
        self.assertGone(stream, EndReason.STOPPING)

    def test_reasonOfTheAbortStays(self) -> None:
        """What is dropped already is neither finished nor dropped again for another reason."""
        stream, peer = self.connect()
        stream.abort(EndReason.REFUSED)
        stream.finish(EndReason.STOPPING)
        stream.abort(EndReason.STOPPING)
        assert raised(ConnectionResetError, peer.receiveAll)
        self.assertGone(stream, EndReason.REFUSED)

    def test_abortAfterTheFlushLosesNothing(self) -> None:
        """When the kernel has everything the peer still gets all of it, and the first reason stays."""
        stream, peer = self.connect()
        peer.offer(b"hello")
        stream.finish(EndReason.IDLE)
        self.reactor.turn()
        stream.abort(EndReason.STOPPING)
        assert peer.receiveAll() == b"HELLO"
        self.assertGone(stream, EndReason.IDLE)


class ProgressTests(EchoUpTestCase):
    """A connection on which nothing moves ends, and no other."""

    def isFull(self, stream: EchoUp) -> bool:
        """Has the kernel asked a peer that reads nothing for room, and got none? From then on nothing moves.

        It asks after 0.2 s, which aren't the reactor's, and the first time there may be some. (This is tcpi_backoff.)
        """
        handle = stream.transport.getHandle()
        return handle.family == socket.AF_UNIX or handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 5)[4] > 0

    def test_idleConnectionIsFinished(self) -> None:
        """A connection on which nothing moved for the idle timeout is ended cleanly."""
        stream, peer = self.connect()
        peer.offer(b"hello")
        self.pause(99)
        assert stream.connection.reason is None
        self.pause(1)
        assert peer.receiveAll() == b"HELLO"
        peer.end()
        self.assertGone(stream, EndReason.IDLE)

    def test_quietConnectionStaysWithoutIdleTimeout(self) -> None:
        """Without an idle timeout a quiet connection stays."""
        self.factory = makeFactory(self.reactor, Limits(idleTimeout=0))
        stream, _ = self.connect()
        self.pause(1e4)
        assert stream.connection.reason is None

    def test_incomingBytesAreMovement(self) -> None:
        """A connection that something comes in on isn't idle."""
        stream, peer = self.connect()
        for _ in range(3):
            peer.offer(b"hello")
            assert peer.receive(5) == b"HELLO"
            self.pause(99)
        assert stream.connection.reason is None

    def test_unreadInputIsNotIdle(self) -> None:
        """A connection that the reactor hasn't come to yet isn't idle: something waits to be read."""
        stream, peer = self.connect()
        self.check()
        peer.socket.send(b"hello")
        self.reactor.clock.advance(100)
        self.check()
        assert stream.connection.reason is None
        assert peer.receive(5) == b"HELLO"

    def test_peerThatTakesNothingIsAborted(self) -> None:
        """A peer that takes nothing for the stall timeout while bytes wait for it is dropped."""
        for family in FAMILIES:
            stream, peer = self.connect(family)
            peer.offer(MUCH)
            self.reactor.until(partial(self.isFull, stream))
            self.pause(9.9)
            assert stream.connection.reason is None
            self.pause(0.1)
            self.assertGone(stream, EndReason.STALLED)

    def test_slowReaderIsNotAborted(self) -> None:
        """A peer that takes some now and then isn't dropped, and gets all of it."""
        stream, peer = self.connect(socket.AF_UNIX)
        sent = peer.offer(MUCH)
        peer.end()
        taken = 0
        while taken < sent - 2**16:
            taken += len(peer.receive(2**16))
            self.pause(9.9)
        assert len(peer.receiveAll()) == sent - taken
        self.assertGone(stream, EndReason.DONE)

    def test_unreadInAUnixSocketIsNoStall(self) -> None:
        """A peer that hasn't read a little is idle rather than stalled: the kernel has it all."""
        stream, peer = self.connect(socket.AF_UNIX)
        peer.offer(b"hello")
        self.pause(50)
        assert stream.connection.reason is None
        self.pause(50)
        assert stream.connection.reason is EndReason.IDLE
        assert peer.receiveAll() == b"HELLO"

    def test_pauseOfThisProcessIsNotIdle(self) -> None:
        """The time in which this process doesn't run counts neither for the idle nor for the stall timeout."""
        stream, _ = self.connect()
        stalled, stalledPeer = self.connect(socket.AF_UNIX)
        stalledPeer.offer(MUCH)
        self.check()
        self.reactor.pause(1000)
        self.check()
        self.reactor.turn()
        assert (stream.connection.reason, stalled.connection.reason) == (None, None)
        self.pause(10)
        self.assertGone(stalled, EndReason.STALLED)
        self.pause(90)
        assert stream.connection.reason is EndReason.IDLE

    def test_clientBehindAProxyHasNoUnixSocketHere(self) -> None:
        """Only the connection itself counts there: a client behind a proxy may have come to that by a Unix socket."""
        stream, peer = self.connect()
        stream.connection.peer = UNIXAddress(b"/run/client")
        while not self.isFull(stream):  # soon the peer's buffer is full, and not ours
            peer.offer(b"hello" * 4000)
            # What the peer has unread its kernel may acknowledge 40 ms later.
            self.reactor.until(lambda: not SocketProgress(stream.transport).unsent or self.isFull(stream))
        assert select([], [stream.transport.getHandle()], [], 0)[1]
        self.pause(10)
        self.assertGone(stream, EndReason.STALLED)

    def test_endOfAQuietPeerIsMovement(self) -> None:
        """One that was quiet for longer than the stall timeout ends cleanly, although it isn't closed at once."""
        stream, peer = self.connect()
        self.reactor.advance(50, step=50)
        stream.readConnectionLost()
        self.check()
        assert peer.receiveAll() == b""
        self.assertGone(stream, EndReason.DONE)

    def test_stallTimeoutHoldsAfterThePeersEnd(self) -> None:
        """A peer that has ended its side has the stall timeout to take what waits for it."""
        stream, peer = self.connect()
        peer.offer(MUCH)
        peer.end()
        self.reactor.until(lambda: self.isFull(stream))
        self.pause(10)
        self.assertGone(stream, EndReason.STALLED)

    def test_peerThatDoesNotEndIsAborted(self) -> None:
        """A peer that was told the end has the stall timeout to end its own side, however much it sends."""
        stream, peer = self.connect(socket.AF_UNIX)
        self.reactor.advance(60, step=60)
        stream.finish(EndReason.IDLE)
        for _ in range(2):
            peer.offer(b"more" * 1000)
            self.pause(4.9)
        assert stream.connection in set(self.factory.connections)
        peer.offer(b"more" * 1000)
        self.pause(0.2)
        self.assertGone(stream, EndReason.IDLE)

    def test_timeOfDayHasNoPart(self) -> None:
        """The time of day, wherever it is set, has no part in it."""
        stream, _ = self.connect()
        now = time.time()
        for stepped in (now + 1e6, now - 1e6):
            self.patch(time, "time", lambda stepped=stepped: stepped)
            self.pause(1)
        assert stream.connection.reason is None


class TLSProgressTests(EchoUpTestCase):
    """With TLS a connection moves as soon as anything comes, though nothing of a record can be told before its end."""

    def setUp(self) -> None:
        """Make a connection, and let its handshake be over."""
        super().setUp()
        client, server = contexts(ssl.TLSVersion.TLSv1_3)
        connection = self.factory.connections.make("here", IPv4Address("TCP", "192.0.2.1", 1))
        near = TLSTransport(server, lambda: self.factory.makeStream(connection, TLSProgress))
        self.far = TLSPeer(self.peerOf(Factory.forProtocol(lambda: near)), client)
        self.far.peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a piece waits for no other
        self.far.shakeHands()
        self.reactor.until(lambda: bool(self.factory.connections))
        (connection,) = self.factory.connections
        self.stream = stream = streamOf(connection)
        self.far.peer.offer(b"")  # but tell that all has come
        self.reactor.until(lambda: not SocketProgress(stream.transport).unsent)

    def pieces(self, data: bytes) -> list[bytes]:
        """Return the record that carries `data`, in pieces."""
        record = self.far.seal(data)
        size = len(record) // 4
        return [record[:size], record[size : 2 * size], record[2 * size : 3 * size], record[3 * size :]]

    def test_partOfARecordIsMovement(self) -> None:
        """A record that takes its time isn't idle, and comes back when it is complete."""
        data = b"x" * RECORD
        *pieces, last = self.pieces(data)
        for piece in pieces:
            self.far.peer.offer(piece)
            self.pause(99)
            assert (self.stream.connection.received, self.stream.connection.reason) == (0, None)
        self.far.peer.offer(last)
        assert self.far.receive(len(data)) == data.upper()

    def test_unfinishedRecordIsIdle(self) -> None:
        """If the rest of it doesn't come for the idle timeout, nothing moves; the handshake is no movement either."""
        stream = self.stream
        self.reactor.advance(50, step=50)
        self.pause(49)
        assert stream.connection.reason is None
        self.far.peer.offer(self.pieces(b"hello")[0])
        self.pause(99)
        assert stream.connection.reason is None
        self.pause(1)
        assert stream.connection.reason is EndReason.IDLE
        self.far.peer.end()
        self.assertGone(stream, EndReason.IDLE)

    def test_recordsDoNotPutOffTheEnd(self) -> None:
        """A peer that was told the end can't put its own off with records, or parts of them."""
        stream = self.stream
        stream.finish(EndReason.IDLE)
        self.pause(4)
        for piece in self.pieces(b"more")[:2]:
            self.far.peer.offer(piece)
            self.pause(4.9)
        self.pause(0.2)
        self.assertGone(stream, EndReason.IDLE)


class WaitingTests(EchoUpTestCase):
    """A connection for which there is no place yet waits, as it would in the kernel's queue."""

    def setUp(self) -> None:
        """Fill the only place."""
        super().setUp()
        self.factory = makeFactory(self.reactor, Limits(maxConnections=1))
        self.inside, self.peer = self.connect()

    def test_waitingConnectionLosesNothing(self) -> None:
        """Nothing is read of it and no timeout runs; when there is a place it loses nothing."""
        stream, peer = self.connect()
        peer.offer(b"hello")
        peer.end()
        for _ in range(3):
            self.peer.offer(b"x")
            self.pause(9)
        assert (stream.connection.received, stream.connection.reason) == (0, None)
        assert stream.transport not in self.reactor.getReaders()
        with capturedLogs() as events:
            self.peer.end()
            assert peer.receiveAll() == b"HELLO"
            self.reactor.until(lambda: not self.factory.connections)
        assert [str(formatEvent(event)).partition("bytes=")[2] for event in events if "peer" in event] == [
            "3 seconds=27.000 reason=done",
            "5 seconds=0.000 reason=done",
        ]

    def test_refusedAfterWaitingIsNotServed(self) -> None:
        """When the ports close it is dropped, and was none that was served."""
        _, peer = self.connect()
        with capturedLogs() as events:
            self.factory.connections.gate.close()
            assert raised(ConnectionResetError, peer.receiveAll)
            self.reactor.until(lambda: len(self.factory.connections) == 1)
        ((line, _),) = ((formatEvent(event), event["id"]) for event in events)
        assert str(line).endswith(" reason=refused")
        self.peer.offer(b"hello")
        self.peer.end()
        self.assertGone(self.inside, EndReason.DONE)
        counts = self.factory.connections.counts
        assert (counts[Total.SERVED], counts[Total.RECEIVED], counts[Refusal.STOPPING]) == (1, 5, 1)


class FactoryTests(EchoUpTestCase):
    """The factory builds streams of the clients that it is told."""

    def test_recordHasPeerAndSource(self) -> None:
        """A connection is that of the client that connected, and its source that client's IP address."""
        for address, source in (
            (IPv4Address("TCP", "192.0.2.7", 40000), "192.0.2.7"),
            (IPv6Address("TCP", "2001:db8::7", 40000), "2001:db8::7"),
            (UNIXAddress(b"/run/client"), None),
            (UNIXAddress(None), None),
        ):
            connection = self.factory.buildProtocol(address).connection
            assert (connection.listener, connection.peer, connection.source) == ("here", address, source)

    def test_addressMayBeMissing(self) -> None:
        """A program may build a stream without an address, as tests of Twisted's protocols do."""
        assert self.factory.buildProtocol(None).connection.source is None

    def test_startAndStopAreNotLogged(self) -> None:
        """That a port with it opens or closes is nothing that the factory logs."""
        assert not self.factory.noisy
        assert isinstance(self.factory, Factory)

    def test_takeoverIsNotCountedAnew(self) -> None:
        """A stream that takes over a connection has all that is known of it, and isn't admitted again."""
        self.factory = makeFactory(self.reactor, Limits(maxConnectionsPerPeer=1))
        before, peer = self.connect()
        before.connection.note(via="192.0.2.1:8081")
        assert raised(ConnectionResetError, self.peerOf(self.factory).receiveAll)
        transport = before.transport
        transport.unregisterProducer()
        transport.protocol = stream = self.factory.makeStream(before.connection)
        stream.makeConnection(transport)
        assert set(self.factory.connections) == {before.connection}
        assert before.connection.protocol is stream
        peer.end()
        assert peer.receiveAll() == b""
        self.assertGone(stream, EndReason.DONE)
        assert held(self.factory.connections.gate) == (0, {})


class AloneTests(EchoUpTestCase):
    """Another program listens with the factory, and calls nothing else."""

    def listen(self, limits: Limits) -> Port:
        """Listen with a factory of `limits`."""
        self.factory = EchoUpFactory(self.reactor, limits)
        port = self.reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        assert isinstance(port, Port)
        return port

    def client(self, port: Port) -> Peer:
        """Return a client of `port`."""
        return self.peerAt((port.getHost().host, port.getHost().port))

    def test_factoryAlonePausesItsPort(self) -> None:
        """The limit of connections holds, and the port is paused while it is reached."""
        port = self.listen(Limits(maxConnections=2))
        peers = [self.client(port) for _ in range(3)]
        self.reactor.until(lambda: len(self.factory.connections) >= 2)
        self.reactor.turn()
        assert port not in self.reactor.getReaders()
        for peer in peers:
            peer.socket.send(b"hello")
        assert [peer.receive(5) for peer in peers[:2]] == [b"HELLO"] * 2
        assert peers[2].take(1) is None
        peers[0].end()
        assert peers[2].receive(5) == b"HELLO"

    def test_factoryAlonePausesASecondPort(self) -> None:
        """A port whose first client comes at the limit is paused, too, and is read again with the first port."""
        first = self.listen(Limits(maxConnections=1))
        second = self.reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        assert isinstance(second, Port)
        inside = self.client(first)
        self.reactor.until(lambda: len(self.factory.connections) == 1)
        waiting = self.client(second)
        self.reactor.until(lambda: len(self.factory.connections) == 2)
        self.reactor.turn()
        assert {first, second} & set(self.reactor.getReaders()) == set()
        for peer in (inside, waiting):
            peer.end()
            assert peer.receiveAll() == b""
        self.reactor.until(lambda: not self.factory.connections)
        assert {first, second} <= set(self.reactor.getReaders())

    def test_factoryAloneFitsTheReactor(self) -> None:
        """On the select reactor it serves no more connections than select can watch."""
        reactor = SelectReactor()
        for reader in reactor._internalReaders:
            self.addCleanup(reader.connectionLost, Failure(CONNECTION_DONE))
        gate = EchoUpFactory(reactor).connections.gate
        assert isinstance(gate._slots, LocalSlots)
        assert gate._slots.free == SELECT_MAXIMUM

    def test_factoryAloneEndsWhatIsIdle(self) -> None:
        """The timeouts hold; the timer ends with the last connection."""
        peer = self.client(self.listen(Limits(idleTimeout=5)))
        self.reactor.until(lambda: bool(self.factory.connections))
        self.reactor.advance(6, step=1)
        assert peer.receiveAll() == b""
        peer.end()
        self.reactor.until(lambda: not self.factory.connections)
        self.reactor.advance(3, step=1)
        assert self.reactor.getDelayedCalls() == []

    def test_factoryAloneSetsTheSocketsOptions(self) -> None:
        """An urgent byte comes back in its place, and small answers don't wait."""
        peer = self.client(self.listen(Limits()))
        self.reactor.until(lambda: bool(self.factory.connections))
        (connection,) = self.factory.connections
        assert streamOf(connection).transport.getTcpNoDelay()
        peer.socket.send(b"a")
        peer.socket.send(b"b", socket.MSG_OOB)
        assert peer.receive(2) == b"AB"
