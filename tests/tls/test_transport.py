"""`TLSTransport`, as a client and as a server, in TLS 1.2 and 1.3, against the standard library's own TLS."""

import gc
import socket
import ssl
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from tempfile import NamedTemporaryFile

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer, providedBy
from zope.interface.verify import verifyObject

from echoup.tls.context import explain
from echoup.tls.transport import RECORD, TLSTransport
from tests.support.certificates import NAME, VERSIONS, contexts
from tests.support.chance import randomBytes
from tests.support.doubles import ReactorTestCase, raised
from tests.support.properties import given, manyBytes, st
from tests.support.sizes import MIB
from tests.support.tlspeer import TLSPeer, connectInMemory

ALERT = 21
"""The content type of an alert's record (RFC 8446, B.1)."""

SIDES = [(isServer, version) for isServer in (True, False) for version in VERSIONS]
"""Whether a TLSTransport is the server, and the version that it speaks."""

BAD_RECORD = b"\x17\x03\x03\x00\x20" + bytes(32)
"""A record that can't be decrypted."""

anySide = st.sampled_from(SIDES)


@implementer(IHalfCloseableProtocol)
class Above(Protocol):
    """Records what the transport tells it."""

    transport: TLSTransport
    reason: BaseException | None = None

    def __init__(self) -> None:
        self.events: list[str] = []
        self.received = b""
        self.onData: Callable[[], object] = lambda: None

    def connectionMade(self) -> None:
        """Record it."""
        self.events.append("made")

    def dataReceived(self, data: bytes) -> None:
        """Record it, the event once for data in a row, and call `onData`."""
        if self.events[-1] != "data":
            self.events.append("data")
        self.onData()
        self.received += data

    def readConnectionLost(self) -> None:
        """Record it."""
        self.events.append("end")

    def writeConnectionLost(self) -> None:
        """Record it."""
        self.events.append("finished")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Record it and its reason."""
        self.events.append("lost")
        self.reason = reason.value

    def pauseProducing(self) -> None:
        """Record it."""
        self.events.append("pause")

    def resumeProducing(self) -> None:
        """Record it."""
        self.events.append("resume")

    def stopProducing(self) -> None:
        """Do nothing: `connectionLost` follows."""


class EndsAtOnce(Above):
    """Sends its end when it is connected."""

    def connectionMade(self) -> None:
        """Send the end."""
        super().connectionMade()
        self.transport.loseWriteConnection()


class PausesAtOnce(Above):
    """Pauses when it is connected."""

    def connectionMade(self) -> None:
        """Pause."""
        super().connectionMade()
        self.transport.pauseProducing()


class Connection:
    """A TLSTransport below a protocol that records what it is told, and the far end."""

    def __init__(
        self,
        case: ReactorTestCase,
        isServer: bool,
        contexts: tuple[ssl.SSLContext, ssl.SSLContext],
        above: type[Above] = Above,
    ) -> None:
        self.reactor = case.reactor
        near, far = contexts[isServer], contexts[not isServer]
        self.above = above()
        self.events = self.above.events
        self.near = TLSTransport(near, self._build, None if isServer else NAME)
        self.near.established.addCallbacks(lambda _: self.events.append("established"), self._fail)
        self.peer = case.peerOf(Factory.forProtocol(lambda: self.near))
        self.far = TLSPeer(self.peer, far, not isServer)

    def _build(self) -> Above:
        self.events.append("built")
        return self.above

    def _fail(self, failure: Failure) -> None:
        self.events.append("failed")
        self.failure = failure.value

    def shakeHands(self) -> "Connection":
        """Complete the handshake, and forget its events but for `made`."""
        self.far.shakeHands()
        self.until("established")
        self.events.clear()
        self.events.append("made")
        return self

    def until(self, *events: str) -> None:
        """Wait for one of `events`."""
        self.reactor.until(lambda: not set(events).isdisjoint(self.events))

    def untilReceived(self, data: bytes) -> None:
        """Wait until `data` is the last that was received."""
        self.reactor.until(lambda: self.above.received.endswith(data))

    def untilClosed(self) -> None:
        """Wait until the connection is closed, and check that the reactor has forgotten it."""
        self.reactor.until(lambda: bool(self.near.closed.called))
        transport = self.near.transport
        assert transport not in self.reactor.getReaders() + self.reactor.getWriters()


class TLSTestCase(ReactorTestCase):
    """A test of each side in each version."""

    def beginnings(self) -> Iterator[Connection]:
        """Yield connections before the handshake."""
        for isServer, version in SIDES:
            yield Connection(self, isServer, contexts(version))

    def connections(self) -> Iterator[Connection]:
        """Yield connections after the handshake."""
        for connection in self.beginnings():
            yield connection.shakeHands()


class HandshakeTests(TLSTestCase):
    """The protocol above is built when the handshake is done; if it fails, `established` does."""

    def test_protocolAboveIsBuiltAfterTheHandshake(self) -> None:
        """The protocol above is built when the handshake is done, then `established` fires."""
        for connection, (isServer, version) in zip(self.beginnings(), SIDES, strict=True):
            raised(ssl.SSLWantReadError, connection.far.tls.do_handshake)
            connection.far.offer()
            self.reactor.turn()
            assert connection.events == []
            connection.far.shakeHands()
            connection.until("established")
            assert connection.events == ["built", "made", "established"]
            assert connection.near.tls.version() == connection.far.tls.version() == version.name.replace("_", ".")
            assert connection.near.tls.server_side is isServer

    def test_dataInTheHandshakesSegmentIsDelivered(self) -> None:
        """Data and the end in one segment with the handshake are delivered, also to a protocol that ends at once."""
        for isServer, version in SIDES:
            for above in (Above, EndsAtOnce):
                connection = Connection(self, isServer, contexts(version), above)
                connection.far.do(connection.far.tls.do_handshake)
                connection.far.offer(b"hello", isEnd=True)
                connection.until("end")
                assert connection.above.received == b"hello"
                assert connection.events[:3] == ["built", "made", "established"]

    def test_ticketGoesWithTheFirstWrite(self) -> None:
        """The server sends nothing after its flight of TLS 1.3 but with the first write: a session that can resume."""
        for version in VERSIONS:
            connection = Connection(self, True, contexts(version)).shakeHands()
            self.reactor.turn()
            assert connection.peer.take(1) is None
            before = connection.far.tls.session
            connection.far.offer(b"hello")
            connection.until("data")
            assert connection.peer.take(1) is None
            connection.near.write(b"hello")
            assert connection.far.receive(5) == b"hello"
            session = connection.far.tls.session
            assert session is not None
            assert session.has_ticket
            assert (session == before) == (version is ssl.TLSVersion.TLSv1_2)

    def test_ticketGoesWithTheEnd(self) -> None:
        """A server that ends without a write sends its ticket before the end."""
        connection = Connection(self, True, contexts(ssl.TLSVersion.TLSv1_3)).shakeHands()
        connection.near.loseConnection()
        assert connection.far.receiveAll() == b""
        session = connection.far.tls.session
        assert session is not None
        assert session.has_ticket

    def test_finDuringTheHandshakeFails(self) -> None:
        """A FIN during the handshake fails it and closes the connection."""
        for connection in self.beginnings():
            raised(ssl.SSLWantReadError, connection.far.tls.do_handshake)
            connection.far.offer()
            connection.peer.end()
            connection.untilClosed()
            assert connection.events == ["failed"]
            assert isinstance(connection.failure, ConnectionLost)
            connection.peer.receiveAll()

    def test_resetDuringTheHandshakeFails(self) -> None:
        """A reset during the handshake fails it."""
        for connection in self.beginnings():
            self.reactor.turn()
            connection.peer.reset()
            connection.untilClosed()
            assert connection.events == ["failed"]
            assert isinstance(connection.failure, ConnectionLost)

    def test_garbageFailsTheHandshake(self) -> None:
        """Garbage is refused, with an alert if it looks like TLS; the connection stays until the peer ends."""
        for garbage, isAnswered in ((b"\x16\x03\x01\x00\x05" + b"\xff" * 5, True), (b"GET / HTTP/1.1\r\n\r\n", False)):
            for connection in self.beginnings():
                connection.peer.offer(garbage)
                connection.until("failed")
                assert isinstance(connection.failure, ssl.SSLError)
                assert (ALERT in recordTypes(connection.peer.receiveAll())) == isAnswered
                connection.peer.offer(b"more")
                assert not connection.near.closed.called
                connection.peer.end()
                connection.untilClosed()
                assert connection.events == ["failed"]

    def test_garbageInTheHandshakesSegmentIsRefused(self) -> None:
        """Garbage in one segment with the handshake is refused, before or after the protocol above is built."""
        for connection in self.beginnings():
            connection.far.do(connection.far.tls.do_handshake)
            connection.peer.offer(connection.far.seal() + BAD_RECORD)
            connection.until("failed", "lost")
            connection.peer.end()
            connection.untilClosed()
            error = getattr(connection, "failure", connection.above.reason)
            assert isinstance(error, ssl.SSLError)

    def test_untrustedCertificateFailsBothSides(self) -> None:
        """A certificate that the client doesn't trust fails the handshake; an alert tells the server."""
        for isServer, version in SIDES:
            stranger = contexts(version, demanding=True)[1]
            connection = Connection(self, isServer, (contexts(version)[0], stranger))
            theirs = raised(ssl.SSLError, connection.far.receive, 1)
            connection.far.offer()
            connection.until("failed")
            refusal, alert = (theirs, connection.failure) if isServer else (connection.failure, theirs)
            assert isinstance(refusal, ssl.SSLCertVerificationError)
            assert explain(refusal) == refusal.verify_message
            assert "tlsv1 alert unknown ca" in str(alert)
            connection.peer.end()
            connection.untilClosed()

    def test_serverRefusesAMissingCertificate(self) -> None:
        """A server that demands a certificate and gets none refuses the client with an alert."""
        for version, alert in (
            (ssl.TLSVersion.TLSv1_2, "sslv3 alert handshake failure"),
            (ssl.TLSVersion.TLSv1_3, "tlsv13 alert certificate required"),
        ):
            connection = Connection(self, True, contexts(version, demanding=True))
            assert alert in str(raised(ssl.SSLError, connection.far.receive, 1))
            assert connection.events == ["failed"]
            assert "peer did not return a certificate" in str(connection.failure)

    def test_clientIsToldOfAMissingCertificate(self) -> None:
        """The server's alert fails the handshake in TLS 1.2; in 1.3 it comes later, as the reason of the loss."""
        connection = Connection(self, False, contexts(ssl.TLSVersion.TLSv1_2, demanding=True))
        raised(ssl.SSLError, connection.far.do, connection.far.tls.do_handshake)
        connection.far.offer()
        connection.until("failed")
        assert "sslv3 alert handshake failure" in str(connection.failure)

        connection = Connection(self, False, contexts(ssl.TLSVersion.TLSv1_3, demanding=True))
        raised(ssl.SSLError, connection.far.do, connection.far.tls.do_handshake)
        connection.far.offer()
        connection.until("lost")
        assert connection.events == ["built", "made", "established", "lost"]
        assert isinstance(connection.above.reason, ssl.SSLError)
        assert "tlsv13 alert certificate required" in str(connection.above.reason)
        connection.untilClosed()


class StreamTests(TLSTestCase):
    """Each direction carries every byte, then its end."""

    def test_declaredInterfacesAreProvided(self) -> None:
        """The interfaces that it declares are provided."""
        for connection in self.connections():
            for interface in providedBy(connection.near):
                verifyObject(interface, connection.near)

    def test_dataPassesInBothDirections(self) -> None:
        """What one side writes the other receives; writing nothing sends nothing."""
        for connection in self.connections():
            connection.far.offer(b"hello")
            connection.until("data")
            connection.near.write(connection.above.received.upper())
            connection.near.write(b"")
            connection.near.writeSequence([b", ", b"WORLD"])
            assert connection.far.receive(12) == b"HELLO, WORLD"

    def test_endIsToldOnceAfterData(self) -> None:
        """Data and a close_notify in one segment are told in this order; the FIN after them tells nothing more."""
        for connection in self.connections():
            connection.far.offer(b"hello", isEnd=True)
            connection.until("end")
            connection.peer.end()
            self.reactor.turn()
            assert connection.events == ["made", "data", "end"]
            assert connection.above.received == b"hello"

    def test_finWithoutCloseNotifyIsTheEnd(self) -> None:
        """A FIN without a close_notify is the peer's end, also in the middle of a record."""
        for rest in (b"", BAD_RECORD[:20]):
            for connection in self.connections():
                connection.peer.offer(connection.far.seal(b"hello") + rest)
                connection.peer.end()
                connection.until("end")
                assert connection.events == ["made", "data", "end"]
                connection.near.write(b"HELLO")
                connection.near.loseConnection()
                assert connection.far.receiveAll() == b"HELLO"

    def test_bytesOfIncompleteRecordsAreCounted(self) -> None:
        """`receivedBelow` counts every byte when it comes, whether or not its record is complete."""
        for connection in self.connections():
            record = connection.far.seal(b"hello")
            for piece, received in ((record[:1], b""), (record[1:-1], b""), (record[-1:], b"hello")):
                before = connection.near.receivedBelow
                connection.near.dataReceived(piece)
                assert connection.near.receivedBelow - before == len(piece)
                assert connection.above.received == received

    def test_bytesOfTheHandshakeAreNotCounted(self) -> None:
        """`receivedBelow` is 0 after the handshake."""
        for isServer, version in SIDES:
            if isServer or version is ssl.TLSVersion.TLSv1_2:  # in 1.3 the server sends tickets after it
                assert Connection(self, isServer, contexts(version)).shakeHands().near.receivedBelow == 0

    def test_certificatesOfThePeerAreKnown(self) -> None:
        """A client has the server's certificates, also if it refuses them; before they come there are none."""
        for version in VERSIONS:
            trusting, server = contexts(version)
            connection = Connection(self, False, (trusting, server))
            assert (connection.near.peerChain, connection.near.peerCertificate) == ([], None)
            connection.shakeHands()
            chain = connection.near.peerChain
            assert chain[0] == connection.near.peerCertificate == connection.near.tls.getpeercert(binary_form=True)
            connection = Connection(self, False, (ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), server))
            assert raised(ssl.SSLError, connection.far.shakeHands)
            connection.until("failed")
            assert (connection.near.peerChain, connection.near.peerCertificate) == (chain, chain[0])

    def test_receivingIsKnown(self) -> None:
        """A client knows whether anything has come, also during the handshake."""
        connection = Connection(self, False, contexts(VERSIONS[0]))
        assert not connection.near.hasReceived
        connection.far.shakeHands()
        assert connection.near.hasReceived

    def test_writingGoesOnAfterThePeersEnd(self) -> None:
        """After the peer's end our direction stays open until we close it."""
        for connection in self.connections():
            connection.far.end()
            connection.until("end")
            self.reactor.turn()
            connection.near.write(b"still here")
            assert connection.far.receive(10) == b"still here"
            connection.near.loseConnection()
            assert connection.far.receiveAll() == b""
            connection.untilClosed()
            assert connection.events == ["made", "end", "lost"]
            assert isinstance(connection.above.reason, ConnectionDone)

    def test_lateReaderGetsEverything(self) -> None:
        """A peer that ended its side and reads late gets megabytes, then our close_notify and FIN."""
        data = randomBytes(4 * MIB)
        for connection in self.connections():
            connection.far.end()
            connection.peer.end()
            connection.until("end")
            connection.near.write(data)
            connection.near.loseConnection()
            self.reactor.advance(60, step=1)
            assert connection.far.receiveAll() == data
            connection.untilClosed()

    def test_receivingGoesOnAfterOurEnd(self) -> None:
        """`loseWriteConnection` sends a close_notify and a FIN; what comes afterwards is delivered."""
        for connection in self.connections():
            connection.near.write(b"hello")
            connection.near.loseWriteConnection()
            connection.near.loseWriteConnection()
            connection.near.write(b"too late")
            assert connection.far.receiveAll() == b"hello"
            connection.until("finished")
            for text in (b"one", b"two"):
                connection.far.offer(text)
                connection.untilReceived(text)
            connection.far.offer(b"three", isEnd=True)
            connection.until("end")
            assert connection.above.received == b"onetwothree"
            assert connection.events == ["made", "finished", "data", "end"]
            connection.near.loseConnection()
            connection.untilClosed()
            assert isinstance(connection.above.reason, ConnectionDone)

    def test_finWithoutCloseNotifyEndsAfterOurEnd(self) -> None:
        """After our end, too, a FIN without a close_notify is the peer's."""
        for connection in self.connections():
            connection.near.loseWriteConnection()
            assert connection.far.receiveAll() == b""
            connection.far.offer(b"hello")
            connection.peer.end()
            connection.until("end")
            assert connection.above.received == b"hello"

    def test_dataAfterThePeersEndIsDropped(self) -> None:
        """What comes after the peer's close_notify, in its segment or later, is neither delivered nor kept."""
        for connection in self.connections():
            connection.peer.offer(connection.far.seal(isEnd=True) + BAD_RECORD)
            connection.until("end")
            connection.peer.offer(BAD_RECORD * 100_000)
            assert connection.near._incoming.pending == len(BAD_RECORD)
            connection.near.write(b"unimpressed")
            assert connection.far.receive(11) == b"unimpressed"
            assert connection.events == ["made", "end"]

    def test_closeSendsEverythingAndWaitsForNothing(self) -> None:
        """`loseConnection` sends what was written, a close_notify and a FIN, and doesn't wait for the peer's."""
        for connection in self.connections():
            connection.near.write(b"goodbye")
            connection.near.loseConnection()
            connection.untilClosed()
            assert connection.far.receiveAll() == b"goodbye"
            assert isinstance(connection.above.reason, ConnectionDone)

    def test_nothingIsDeliveredAfterAClose(self) -> None:
        """When the protocol above has closed, the end that came with the data before that isn't told any more."""
        for close in (TLSTransport.loseConnection, TLSTransport.stopProducing, TLSTransport.abortConnection):
            for connection in self.connections():
                connection.above.onData = partial(close, connection.near)
                connection.far.tls.write(b"first")
                connection.far.offer(b"second", isEnd=True)
                connection.untilClosed()
                assert connection.above.received == b"firstsecond"
                assert connection.events == ["made", "data", "lost"]

    def test_dataAfterACloseIsDropped(self) -> None:
        """What comes after `loseConnection` isn't decrypted, so it can't become the reason of the loss."""
        for connection in self.connections():
            connection.near.loseConnection()
            connection.near.dataReceived(BAD_RECORD)
            connection.untilClosed()
            assert connection.events == ["made", "lost"]
            assert isinstance(connection.above.reason, ConnectionDone)

    def test_abortDropsTheConnectionAtOnce(self) -> None:
        """`abortConnection` doesn't wait until the peer has taken what was written."""
        for connection in self.connections():
            connection.near.write(bytes(8 * MIB))
            connection.near.abortConnection()
            connection.untilClosed()
            assert isinstance(connection.above.reason, ConnectionAborted)

    def test_resetIsTheReasonOfTheLoss(self) -> None:
        """A reset by the peer is told as ConnectionLost."""
        for connection in self.connections():
            connection.peer.reset()
            connection.untilClosed()
            assert connection.events == ["made", "lost"]
            assert isinstance(connection.above.reason, ConnectionLost)

    def test_garbageClosesTheConnection(self) -> None:
        """What can't be decrypted closes the connection: an alert tells the peer, an error the protocol above."""
        for garbage in (BAD_RECORD, b"\x16\x03\x03\x00\x04" + bytes(4)):
            for connection in self.connections():
                connection.far.offer(b"hello")
                connection.until("data")
                connection.peer.offer(garbage)
                connection.untilClosed()
                assert connection.events == ["made", "data", "lost"]
                assert isinstance(connection.above.reason, ssl.SSLError)
                error = raised(ssl.SSLError, connection.far.receive, 1)
                assert "ALERT" in str(error), error
                connection.near.write(b"too late")

    def test_garbageClosesAConnectionWithAPausedProducer(self) -> None:
        """Garbage closes the connection also while megabytes wait for the peer and their producer is paused."""
        for connection in self.connections():
            connection.near.registerProducer(connection.above, True)
            connection.near.write(bytes(8 * MIB))
            assert connection.events == ["made", "pause"]
            connection.peer.offer(BAD_RECORD)
            assert raised(ssl.SSLError, connection.far.receive, 9 * MIB)
            connection.untilClosed()
            assert isinstance(connection.above.reason, ssl.SSLError)

    def test_addressesAndOptionsAreTheSockets(self) -> None:
        """The socket's addresses can be read, its options read and set."""
        for connection in self.connections():
            handle = connection.near.getHandle()
            assert connection.near.getHost() == connection.near.transport.getHost()
            assert connection.near.getPeer().port == connection.peer.socket.getsockname()[1]
            for enabled in (True, False):
                connection.near.setTcpNoDelay(enabled)
                connection.near.setTcpKeepAlive(enabled)
                assert connection.near.getTcpNoDelay() is enabled
                assert connection.near.getTcpKeepAlive() is enabled
                assert bool(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) is enabled

    @given(anySide, st.binary(min_size=1), st.booleans())
    def test_anyGarbageEndsTheConnection(self, side: tuple[bool, ssl.TLSVersion], garbage: bytes, isLate: bool) -> None:
        """Any garbage, in the handshake or after it, ends the connection and logs nothing."""
        connection = Connection(self, side[0], contexts(side[1]))
        if isLate:
            connection.shakeHands()
        connection.peer.offer(garbage)
        connection.peer.end()
        connection.until("failed", "end", "lost")
        connection.near.loseConnection()
        connection.untilClosed()
        assert connection.above.received == b""


class CostTests(TLSTestCase):
    """A message costs no call that isn't needed, and leaves little memory behind."""

    def test_completeMessageIsReadOnce(self) -> None:
        """A read of a complete record is the only one: none is made to learn that nothing else has come."""
        for connection in self.connections():
            reads = record(connection.near.tls, "read")
            connection.near.dataReceived(connection.far.seal(b"hello"))
            assert reads == [(b"hello",)]

    def test_recordsOfOneSegmentAreDeliveredTogether(self) -> None:
        """The records that come in one piece are delivered in one."""
        data = randomBytes(5 * RECORD + 1)
        for connection in self.connections():
            connection.far.tls.write(b"hello")
            delivered = record(connection.above, "dataReceived")
            connection.near.dataReceived(connection.far.seal(data))
            assert len(delivered) == 1
            assert connection.above.received == b"hello" + data

    def test_recordsOfOneWriteAreSentTogether(self) -> None:
        """All records of a write are one write below."""
        data = randomBytes(5 * RECORD + 1)
        for connection in self.connections():
            written = record(connection.near.transport, "write")
            connection.near.write(data)
            assert len(written) == 1
            assert connection.far.receive(len(data)) == data

    def test_memoryOfTheRecordsIsBounded(self) -> None:
        """However much comes in or is written at once, little encrypted data is in memory that is never given back."""
        for connection in self.connections():
            near, held = connection.near, 0

            def watch(call: Callable[..., object], near: TLSTransport, *arguments: object) -> object:
                nonlocal held
                before = near._incoming.pending
                try:
                    return call(*arguments)
                finally:
                    held = max(held, before, near._outgoing.pending)

            for name in ("read", "write"):
                setattr(near.tls, name, partial(watch, getattr(near.tls, name), near))
            near.write(bytes(MIB))
            assert RECORD < held < RECORD + 1024  # what records and tickets add
            held = 0
            near.dataReceived(connection.far.seal(bytes(MIB)))
            assert 0 < held <= RECORD
            assert len(connection.above.received) == MIB

    def test_answersToKeyUpdatesAreSent(self) -> None:
        """A peer that asks for new keys again and again, and for nothing else, is answered; no memory fills with it."""
        client, server = contexts(ssl.TLSVersion.TLSv1_3)
        with NamedTemporaryFile() as file:
            client.keylog_filename = file.name
            self.addCleanup(setattr, client, "keylog_filename", None)
            connection = Connection(self, True, (client, server)).shakeHands()
            log = file.read().decode()
        secret = bytes.fromhex(log.partition("CLIENT_TRAFFIC_SECRET_0 ")[2].split()[1])
        for request in keyUpdates(secret, 2000):
            connection.near.dataReceived(request)
            assert connection.near._outgoing.pending < 2 * RECORD
        self.reactor.turn()
        assert len(connection.peer.receive(RECORD)) == RECORD

    def test_lostConnectionIsFreedAtOnce(self) -> None:
        """A connection that is gone is freed without the garbage collector."""
        for connection in self.connections():
            transport = weakref.ref(connection.near)
            connection.near.abortConnection()
            connection.untilClosed()
            gc.disable()
            self.addCleanup(gc.enable)
            del connection.near, connection.above
            assert transport() is None


class ExactTests(TLSTestCase):
    """Any bytes in any pieces arrive exactly."""

    @given(
        anySide,
        st.lists(st.binary(min_size=1) | manyBytes(1, 50_000)),
        st.lists(st.floats(0, 1), max_size=20),
        st.integers(0, 40),
    )
    def test_anyPiecesArriveExactly(
        self, side: tuple[bool, ssl.TLSVersion], chunks: list[bytes], cuts: list[float], endAt: int
    ) -> None:
        """Any chunks arrive, then the end, however the ciphertext is cut and whenever we end our side."""
        connection = Connection(self, side[0], contexts(side[1])).shakeHands()
        for chunk in chunks:
            connection.far.tls.write(chunk)
        encrypted = connection.far.seal(isEnd=True)
        places = [0, *sorted(int(cut * len(encrypted)) for cut in cuts), len(encrypted)]
        for number, (start, end) in enumerate(pairwise(places)):
            if number == endAt:
                connection.near.loseWriteConnection()
            connection.peer.offer(encrypted[start:end])
        connection.until("end")
        assert connection.above.received == b"".join(chunks)

    @given(anySide, st.lists(st.binary() | manyBytes(0, 50_000)))
    def test_anyWritesArriveExactly(self, side: tuple[bool, ssl.TLSVersion], chunks: list[bytes]) -> None:
        """Any chunks that are written arrive, then the end."""
        connection = Connection(self, side[0], contexts(side[1])).shakeHands()
        for chunk in chunks:
            connection.near.write(chunk)
        connection.near.loseWriteConnection()
        assert connection.far.receiveAll() == b"".join(chunks)

    @given(anySide, st.lists(st.binary(min_size=1), min_size=1), st.lists(st.sampled_from(["pause", "resume", ""])))
    def test_anyPausesKeepTheOrder(
        self, side: tuple[bool, ssl.TLSVersion], chunks: list[bytes], pauses: list[str]
    ) -> None:
        """Whenever the protocol above pauses and resumes, it gets every piece in order, one at a time."""
        connection = Connection(self, side[0], contexts(side[1])).shakeHands()
        todo = iter(pauses)

        def interrupt() -> None:
            for what in todo:
                if not what:
                    break
                (connection.near.pauseProducing if what == "pause" else connection.near.resumeProducing)()

        connection.above.onData = interrupt
        for chunk in chunks:
            connection.far.tls.write(chunk)
        connection.far.end()

        def ended() -> bool:
            connection.near.resumeProducing()
            return "end" in connection.events

        self.reactor.until(ended)
        assert connection.above.received == b"".join(chunks)
        assert connection.events == ["made", "data", "end"]


class PauseTests(TLSTestCase):
    """A protocol that pauses gets nothing until it resumes, and then everything."""

    def test_decryptedDataWaitsForTheResume(self) -> None:
        """What is decrypted during a pause is delivered at the resume; so is the end, after another."""
        for connection in self.connections():
            connection.above.onData = connection.near.pauseProducing
            connection.far.offer(b"one")
            connection.until("data")
            for piece in (connection.far.seal(b"two"), connection.far.seal(b"three", isEnd=True)):
                connection.near.dataReceived(piece)
            for received in (b"one", b"onetwothree"):
                self.reactor.turn()
                assert connection.above.received == received
                assert connection.events == ["made", "data"]
                connection.near.resumeProducing()
            assert connection.events == ["made", "data", "end"]

    def test_dataOfTheHandshakesSegmentWaitsForTheResume(self) -> None:
        """A protocol that pauses when it is connected gets what came with the handshake when it resumes."""
        for isServer, version in SIDES:
            connection = Connection(self, isServer, contexts(version), PausesAtOnce)
            connection.far.do(connection.far.tls.do_handshake)
            connection.far.offer(b"hello", isEnd=True)
            connection.until("established")
            self.reactor.turn()
            assert connection.above.received == b""
            connection.near.resumeProducing()
            connection.until("end")
            assert connection.events == ["built", "made", "established", "data", "end"]
            assert connection.above.received == b"hello"

    def test_pausedConnectionIsNotRead(self) -> None:
        """During a pause what the peer sends, its FIN included, stays in the kernel."""
        for connection in self.connections():
            connection.near.pauseProducing()
            connection.far.offer(b"hello")
            connection.peer.end()
            self.reactor.turn()
            assert connection.events == ["made"]
            connection.near.resumeProducing()
            connection.until("end")
            assert connection.events == ["made", "data", "end"]

    def test_pausedPeerCannotSendWithoutLimit(self) -> None:
        """During a pause the peer can't send more than the kernel takes."""
        for connection in self.connections():
            connection.near.pauseProducing()
            assert connection.peer.offer(connection.far.seal(bytes(16 * MIB))) < 16 * MIB
            assert connection.events == ["made"]

    def test_undeliveredDataIsDroppedWithTheConnection(self) -> None:
        """When the connection is lost during a pause, what wasn't delivered is dropped."""
        for connection in self.connections():
            connection.above.onData = connection.near.pauseProducing
            connection.far.offer(b"one")
            connection.until("data")
            connection.near.dataReceived(connection.far.seal(b"two"))
            connection.near.abortConnection()
            connection.untilClosed()
            connection.near.resumeProducing()
            assert connection.events == ["made", "data", "lost"]
            assert connection.above.received == b"one"

    def test_undeliveredDataIsDroppedAtGarbage(self) -> None:
        """When garbage comes during a pause, what came before it and wasn't delivered is dropped."""
        for connection in self.connections():
            connection.above.onData = connection.near.pauseProducing
            connection.far.offer(b"one")
            connection.until("data")
            connection.near.dataReceived(connection.far.seal(b"two"))
            connection.near.transport.resumeProducing()
            connection.peer.offer(BAD_RECORD)
            connection.untilClosed()
            connection.near.resumeProducing()
            assert connection.events == ["made", "data", "lost"]

    def test_producerIsPausedWhileThePeerIsSlow(self) -> None:
        """A producer is paused while more than the buffer waits for the peer, and resumed when that is taken."""
        data = bytes(8 * MIB)
        for connection in self.connections():
            connection.near.registerProducer(connection.above, True)
            connection.near.write(data)
            assert connection.events == ["made", "pause"]
            assert connection.far.receive(len(data)) == data
            assert connection.events == ["made", "pause", "resume"]
            connection.near.unregisterProducer()
            connection.near.write(data)
            connection.near.loseConnection()
            assert connection.far.receiveAll() == data
            assert connection.events == ["made", "pause", "resume", "lost"]


class FactTests(SynchronousTestCase):
    """The behaviour of the standard library's TLS on which `TLSTransport` relies."""

    def pairs(self) -> Iterator[tuple[ssl.SSLObject, ssl.SSLObject]]:
        """Yield two ends whose handshake is done; the first can read at once what the second sends."""
        for isServer, version in SIDES:
            ends = connectInMemory(*contexts(version))
            yield ends[isServer], ends[not isServer]

    def test_unwrapBeforeUndecryptedDataBreaksTheConnection(self) -> None:
        """`unwrap` with data left to decrypt fails, and nothing can be read afterwards."""
        for near, far in self.pairs():
            far.write(b"hello")
            error = raised(ssl.SSLError, near.unwrap)
            assert error is not None
            assert error.reason == "APPLICATION_DATA_AFTER_CLOSE_NOTIFY"
            assert raised(ssl.SSLError, near.read, 5)

    def test_readingGoesOnAfterUnwrap(self) -> None:
        """After `unwrap` with nothing to decrypt, what comes can be read, then the end as SSLZeroReturnError."""
        for near, far in self.pairs():
            assert raised(ssl.SSLWantReadError, near.unwrap)
            far.write(b"hello")
            assert near.read(5) == b"hello"
            raised(ssl.SSLWantReadError, far.unwrap)
            assert raised(ssl.SSLZeroReturnError, near.read, 5)

    def test_closeNotifyReadsAsNothing(self) -> None:
        """Before our own end, the peer's close_notify is read as empty bytes, and writing still works."""
        for near, far in self.pairs():
            raised(ssl.SSLWantReadError, far.unwrap)
            assert near.read(5) == b""
            assert near.write(b"hello") == 5

    def test_recordsAreTakenOneAtATime(self) -> None:
        """A read takes one whole record, and leaves the next one in the BIO: empty, it has nothing more to give."""
        for isServer, version in SIDES:
            incoming, encrypted = ssl.MemoryBIO(), ssl.MemoryBIO()
            ends = connectInMemory(*contexts(version), BIOs=(incoming, encrypted))
            near, far = ends[isServer], ends[not isServer]
            incoming = incoming if isServer else encrypted
            left = []
            for text in (bytes(RECORD), b"hello", b""):
                far.write(text)
                left.append(incoming.pending)
            raised(ssl.SSLWantReadError, far.unwrap)
            left.append(incoming.pending)
            for text, before in zip((bytes(RECORD), b"hello"), left, strict=False):
                assert near.read(RECORD) == text
                assert (near.pending(), incoming.pending) == (0, left[-1] - before)
            assert near.read(RECORD) == b""
            assert incoming.pending == 0

    def test_writeTakesEverything(self) -> None:
        """A write takes all of its data, in as many records as that needs."""
        for near, far in self.pairs():
            assert near.write(bytes(2 * RECORD + 1)) == 2 * RECORD + 1
            for size in (RECORD, RECORD, 1):
                assert far.read(RECORD) == bytes(size)

    def test_emptyRecordIsNoEnd(self) -> None:
        """An empty record isn't read as empty bytes, which only the end is."""
        for near, far in self.pairs():
            far.write(b"")
            assert raised(ssl.SSLWantReadError, near.read, 5)


def record(thing: object, name: str) -> list[tuple[object, ...]]:
    """Let the method `name` of `thing` record its calls in the returned list, each as what it returned."""
    calls: list[tuple[object, ...]] = []
    method = getattr(thing, name)

    def recording(*arguments: object) -> object:
        calls.append(())  # stays, if it raises
        result = method(*arguments)
        calls[-1] = (result,)
        return result

    setattr(thing, name, recording)
    return calls


def recordTypes(data: bytes) -> list[int]:
    """Return the types of the records in `data` (RFC 8446, 5.1)."""
    types = []
    while data:
        types.append(data[0])
        data = data[5 + int.from_bytes(data[3:5]) :]
    return types


def keyUpdates(secret: bytes, number: int) -> Iterator[bytes]:
    """Yield the first records after the handshake of a TLS 1.3 client, each of which asks for new keys.

    `secret` is its first traffic secret (RFC 8446, 7.1); the cipher is TLS_AES_256_GCM_SHA384.
    """

    def expand(label: bytes, size: int) -> bytes:
        info = size.to_bytes(2, "big") + bytes([6 + len(label)]) + b"tls13 " + label + b"\0"
        return HKDFExpand(SHA384(), size, info).derive(secret)

    message = b"\x18\x00\x00\x01\x01"  # a KeyUpdate that requests another one (4.6.3)
    for _ in range(number):
        header = b"\x17\x03\x03" + (len(message) + 1 + 16).to_bytes(2, "big")
        # The nonce of a key's first record is the IV itself (5.3).
        yield header + AESGCM(expand(b"key", 32)).encrypt(expand(b"iv", 12), message + b"\x16", header)
        secret = expand(b"traffic upd", 48)
