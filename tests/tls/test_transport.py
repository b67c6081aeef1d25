"""TLS whose directions end one by one: on both sides, in TLS 1.2 and 1.3, against the standard library's own TLS."""

import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from trustme import CA, Blob
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer, providedBy
from zope.interface.verify import verifyObject

from echoup.tls.context import askNobody, explain, loading, makeContext
from echoup.tls.transport import TLSTransport
from tests.support.certificates import NAME, VERSIONS, contexts, writeCertificates
from tests.support.chance import randomBytes
from tests.support.doubles import ReactorTestCase, raised
from tests.support.properties import given, manyBytes, st
from tests.support.sizes import MIB
from tests.support.tlspeer import TLSPeer, connectInMemory

T = TypeVar("T")

ALERT = 21
"""The type of a record that is an alert (RFC 8446, B.1)."""

WAYS = [(isServer, version) for isServer in (True, False) for version in VERSIONS]
"""The sides that a TLSTransport can be on, and the versions that it can speak."""

BAD_RECORD = b"\x17\x03\x03\x00\x20" + bytes(32)
"""What can't be decrypted."""

anyWay = st.sampled_from(WAYS)


@implementer(IHalfCloseableProtocol)
class Above(Protocol):
    """Notes what it is told."""

    transport: TLSTransport
    reason: BaseException | None = None

    def __init__(self) -> None:
        self.events: list[str] = []
        self.received = b""
        self.onData: Callable[[], object] = lambda: None

    def connectionMade(self) -> None:
        """Note it."""
        self.events.append("made")

    def dataReceived(self, data: bytes) -> None:
        """Note it, once for what comes in a row, and do what the test wants."""
        if self.events[-1] != "data":
            self.events.append("data")
        self.onData()
        self.received += data

    def readConnectionLost(self) -> None:
        """Note it."""
        self.events.append("end")

    def writeConnectionLost(self) -> None:
        """Note it."""
        self.events.append("finished")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note it, and the reason."""
        self.events.append("lost")
        self.reason = reason.value

    def pauseProducing(self) -> None:
        """Note it."""
        self.events.append("pause")

    def resumeProducing(self) -> None:
        """Note it."""
        self.events.append("resume")

    def stopProducing(self) -> None:
        """Do nothing: this is only the first word of a lost connection."""


class Hasty(Above):
    """Sends its end as soon as it can."""

    def connectionMade(self) -> None:
        """End."""
        super().connectionMade()
        self.transport.loseWriteConnection()


class Connection:
    """A TLSTransport below a protocol that notes what it is told, and the far end."""

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
        """Have the handshake done."""
        self.far.shakeHands()
        self.until("established")
        self.events.clear()
        self.events.append("made")
        return self

    def until(self, *events: str) -> None:
        """Wait for one of `events`."""
        self.reactor.until(lambda: not set(events).isdisjoint(self.events))

    def untilReceived(self, data: bytes) -> None:
        """Wait until `data` has come, as the last so far."""
        self.reactor.until(lambda: self.above.received.endswith(data))

    def untilClosed(self) -> None:
        """Wait until nothing is left of the connection."""
        self.reactor.until(lambda: bool(self.near.closed.called))
        transport = self.near.transport
        assert transport not in self.reactor.getReaders() + self.reactor.getWriters()


class TLSTestCase(ReactorTestCase):
    """A test of both sides, in both versions."""

    def beginnings(self) -> Iterator[Connection]:
        """Yield connections before the handshake."""
        for isServer, version in WAYS:
            yield Connection(self, isServer, contexts(version))

    def connections(self) -> Iterator[Connection]:
        """Yield connections after the handshake."""
        for connection in self.beginnings():
            yield connection.shakeHands()


class HandshakeTests(TLSTestCase):
    """Before the handshake is done there is nothing above; afterwards there is, or `established` has failed."""

    def test_handshake(self) -> None:
        """The protocol above is built when the handshake is done, then `established` fires."""
        for connection, (isServer, version) in zip(self.beginnings(), WAYS, strict=True):
            raised(ssl.SSLWantReadError, connection.far.tls.do_handshake)
            connection.far.offer()
            self.reactor.turn()
            assert connection.events == []
            connection.far.shakeHands()
            connection.until("established")
            assert connection.events == ["built", "made", "established"]
            assert connection.near.tls.version() == connection.far.tls.version() == version.name.replace("_", ".")
            assert connection.near.tls.server_side is isServer

    def test_behindTheHandshake(self) -> None:
        """What comes right behind the handshake, and the end, is for the protocol above, if that has ended, too."""
        for isServer, version in WAYS:
            for above in (Above, Hasty):
                connection = Connection(self, isServer, contexts(version), above)
                connection.far.do(connection.far.tls.do_handshake)
                connection.far.offer(b"hello", isEnd=True)
                connection.until("end")
                assert connection.above.received == b"hello"
                assert connection.events[:3] == ["built", "made", "established"]

    def test_end(self) -> None:
        """A FIN in the middle of the handshake is a failure, and the end of the connection."""
        for connection in self.beginnings():
            raised(ssl.SSLWantReadError, connection.far.tls.do_handshake)
            connection.far.offer()
            connection.peer.end()
            connection.untilClosed()
            assert connection.events == ["failed"]
            assert isinstance(connection.failure, ConnectionLost)
            connection.peer.receiveAll()

    def test_reset(self) -> None:
        """So is a reset."""
        for connection in self.beginnings():
            self.reactor.turn()
            connection.peer.reset()
            connection.untilClosed()
            assert connection.events == ["failed"]
            assert isinstance(connection.failure, ConnectionLost)

    def test_garbage(self) -> None:
        """Garbage is refused, with an alert if it looks like TLS; then the peer has its time to end, too."""
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

    def test_garbageBehind(self) -> None:
        """Garbage right behind the handshake is refused, whether or not there is a protocol above already."""
        for connection in self.beginnings():
            connection.far.do(connection.far.tls.do_handshake)
            connection.peer.offer(connection.far.seal() + BAD_RECORD)
            connection.until("failed", "lost")
            connection.peer.end()
            connection.untilClosed()
            error = getattr(connection, "failure", connection.above.reason)
            assert isinstance(error, ssl.SSLError)

    def test_unwantedCertificate(self) -> None:
        """A certificate that isn't trusted is a failure, of which the server is told."""
        for isServer, version in WAYS:
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

    def test_demandingServer(self) -> None:
        """A server that wants a certificate and gets none refuses, and says so."""
        for version, alert in (
            (ssl.TLSVersion.TLSv1_2, "sslv3 alert handshake failure"),
            (ssl.TLSVersion.TLSv1_3, "tlsv13 alert certificate required"),
        ):
            connection = Connection(self, True, contexts(version, demanding=True))
            assert alert in str(raised(ssl.SSLError, connection.far.receive, 1))
            assert connection.events == ["failed"]
            assert "peer did not return a certificate" in str(connection.failure)

    def test_demandedCertificate(self) -> None:
        """A client that has none hears of it in the handshake; with TLS 1.3 afterwards, as the connection's end."""
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
    """Every byte comes through, in both directions, and then the end of each."""

    def test_interfaces(self) -> None:
        """It provides all that it says it does."""
        for connection in self.connections():
            for interface in providedBy(connection.near):
                verifyObject(interface, connection.near)

    def test_bothDirections(self) -> None:
        """What is written on one side comes out at the other; nothing is nothing."""
        for connection in self.connections():
            connection.far.offer(b"hello")
            connection.until("data")
            connection.near.write(connection.above.received.upper())
            connection.near.write(b"")
            connection.near.writeSequence([b", ", b"WORLD"])
            assert connection.far.receive(12) == b"HELLO, WORLD"

    def test_dataAndEnd(self) -> None:
        """Data and the close_notify behind it may come in one segment; the end is told once, the FIN is nothing new."""
        for connection in self.connections():
            connection.far.offer(b"hello", isEnd=True)
            connection.until("end")
            connection.peer.end()
            self.reactor.turn()
            assert connection.events == ["made", "data", "end"]
            assert connection.above.received == b"hello"

    def test_bareEnd(self) -> None:
        """A FIN without a close_notify is the peer's end, too, also in the middle of a record."""
        for rest in (b"", BAD_RECORD[:20]):
            for connection in self.connections():
                connection.peer.offer(connection.far.seal(b"hello") + rest)
                connection.peer.end()
                connection.until("end")
                assert connection.events == ["made", "data", "end"]
                connection.near.write(b"HELLO")
                connection.near.loseConnection()
                assert connection.far.receiveAll() == b"HELLO"

    def test_receivedBelow(self) -> None:
        """Every byte since the handshake is counted when it comes, whether or not its record is complete."""
        for connection in self.connections():
            record = connection.far.seal(b"hello")
            for piece, received in ((record[:1], b""), (record[1:-1], b""), (record[-1:], b"hello")):
                before = connection.near.receivedBelow
                connection.near.dataReceived(piece)
                assert connection.near.receivedBelow - before == len(piece)
                assert connection.above.received == received

    def test_notTheHandshake(self) -> None:
        """Of the handshake nothing is counted."""
        for isServer, version in WAYS:
            if isServer or version is ssl.TLSVersion.TLSv1_2:  # in 1.3 the server has more to say behind it
                assert Connection(self, isServer, contexts(version)).shakeHands().near.receivedBelow == 0

    def test_answerAfterTheEnd(self) -> None:
        """After the peer's end, ours is still open, as long as we like."""
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

    def test_lateReader(self) -> None:
        """Megabytes wait for a peer that has ended its side and reads when it likes; then come the end and the FIN."""
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

    def test_ourEnd(self) -> None:
        """`loseWriteConnection` sends the close_notify and a FIN; everything that still comes is delivered."""
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

    def test_bareEndAfterOurs(self) -> None:
        """So it is when the peer has no close_notify."""
        for connection in self.connections():
            connection.near.loseWriteConnection()
            assert connection.far.receiveAll() == b""
            connection.far.offer(b"hello")
            connection.peer.end()
            connection.until("end")
            assert connection.above.received == b"hello"

    def test_afterItsEnd(self) -> None:
        """What comes after the peer's close_notify is ignored, in whatever segment it comes, and not kept."""
        for connection in self.connections():
            connection.peer.offer(connection.far.seal(isEnd=True) + BAD_RECORD)
            connection.until("end")
            connection.peer.offer(BAD_RECORD * 100_000)
            assert connection.near._incoming.pending == len(BAD_RECORD)
            connection.near.write(b"unimpressed")
            assert connection.far.receive(11) == b"unimpressed"
            assert connection.events == ["made", "end"]

    def test_close(self) -> None:
        """`loseConnection` sends everything, the end and a FIN, and waits for nothing."""
        for connection in self.connections():
            connection.near.write(b"goodbye")
            connection.near.loseConnection()
            connection.untilClosed()
            assert connection.far.receiveAll() == b"goodbye"
            assert isinstance(connection.above.reason, ConnectionDone)

    def test_nothingAfterClose(self) -> None:
        """Nothing comes any more when the protocol above has closed, though more may have come before that."""
        for close in (TLSTransport.loseConnection, TLSTransport.stopProducing, TLSTransport.abortConnection):
            for connection in self.connections():
                connection.above.onData = partial(close, connection.near)
                connection.far.tls.write(b"first")
                connection.far.offer(b"second", isEnd=True)
                connection.untilClosed()
                assert connection.above.received == b"first"
                assert connection.events == ["made", "data", "lost"]

    def test_abort(self) -> None:
        """`abortConnection` waits for nobody."""
        for connection in self.connections():
            connection.near.write(bytes(8 * MIB))
            connection.near.abortConnection()
            connection.untilClosed()
            assert isinstance(connection.above.reason, ConnectionAborted)

    def test_reset(self) -> None:
        """A reset is told as what it is."""
        for connection in self.connections():
            connection.peer.reset()
            connection.untilClosed()
            assert connection.events == ["made", "lost"]
            assert isinstance(connection.above.reason, ConnectionLost)

    def test_garbage(self) -> None:
        """What can't be decrypted ends the connection: an alert tells the peer, the error tells the protocol above."""
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

    def test_garbageWhileFull(self) -> None:
        """So it is when megabytes wait for the peer and the producer of them is paused."""
        for connection in self.connections():
            connection.near.registerProducer(connection.above, True)
            connection.near.write(bytes(8 * MIB))
            assert connection.events == ["made", "pause"]
            connection.peer.offer(BAD_RECORD)
            assert raised(ssl.SSLError, connection.far.receive, 9 * MIB)
            connection.untilClosed()
            assert isinstance(connection.above.reason, ssl.SSLError)

    def test_socket(self) -> None:
        """The socket below can be asked, and its options set."""
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

    @given(anyWay, st.binary(min_size=1), st.booleans())
    def test_anyGarbage(self, way: tuple[bool, ssl.TLSVersion], garbage: bytes, isLate: bool) -> None:
        """Any garbage, in the handshake or after it, comes to an end, and leaves nothing in the log."""
        connection = Connection(self, way[0], contexts(way[1]))
        if isLate:
            connection.shakeHands()
        connection.peer.offer(garbage)
        connection.peer.end()
        connection.until("failed", "end", "lost")
        connection.near.loseConnection()
        connection.untilClosed()
        assert connection.above.received == b""


class ExactTests(TLSTestCase):
    """Whatever is sent in whatever pieces comes out exactly."""

    @given(
        anyWay,
        st.lists(st.binary(min_size=1) | manyBytes(1, 50_000)),
        st.lists(st.floats(0, 1), max_size=20),
        st.integers(0, 40),
    )
    def test_anyPieces(
        self, way: tuple[bool, ssl.TLSVersion], chunks: list[bytes], cuts: list[float], endAt: int
    ) -> None:
        """Any chunks, however the ciphertext is cut, come out, then the end; our own end, whenever, changes nothing."""
        connection = Connection(self, way[0], contexts(way[1])).shakeHands()
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

    @given(anyWay, st.lists(st.binary() | manyBytes(0, 50_000)))
    def test_anyAnswer(self, way: tuple[bool, ssl.TLSVersion], chunks: list[bytes]) -> None:
        """Any chunks that are written arrive, then the end."""
        connection = Connection(self, way[0], contexts(way[1])).shakeHands()
        for chunk in chunks:
            connection.near.write(chunk)
        connection.near.loseWriteConnection()
        assert connection.far.receiveAll() == b"".join(chunks)

    @given(anyWay, st.lists(st.binary(min_size=1), min_size=1), st.lists(st.sampled_from(["pause", "resume", ""])))
    def test_anyPauses(self, way: tuple[bool, ssl.TLSVersion], chunks: list[bytes], pauses: list[str]) -> None:
        """Whenever the protocol above pauses and resumes, it gets everything in order, one piece after the other."""
        connection = Connection(self, way[0], contexts(way[1])).shakeHands()
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
    """Whoever is paused gets nothing, and everything afterwards."""

    def test_decrypted(self) -> None:
        """What was decrypted when the protocol above pauses comes when it resumes, and the end only after it."""
        for connection in self.connections():
            connection.above.onData = connection.near.pauseProducing
            for text in (b"one", b"two"):
                connection.far.tls.write(text)
            connection.far.end()
            connection.until("data")
            for received in (b"one", b"onetwo"):
                self.reactor.turn()
                assert connection.above.received == received
                assert connection.events == ["made", "data"]
                connection.near.resumeProducing()
            assert connection.events == ["made", "data", "end"]

    def test_notRead(self) -> None:
        """What wasn't read yet stays in the kernel, and so does the FIN."""
        for connection in self.connections():
            connection.near.pauseProducing()
            connection.far.offer(b"hello")
            connection.peer.end()
            self.reactor.turn()
            assert connection.events == ["made"]
            connection.near.resumeProducing()
            connection.until("end")
            assert connection.events == ["made", "data", "end"]

    def test_bounded(self) -> None:
        """While it is paused the peer can't send more than the kernel takes."""
        for connection in self.connections():
            connection.near.pauseProducing()
            assert connection.peer.offer(connection.far.seal(bytes(16 * MIB))) < 16 * MIB
            assert connection.events == ["made"]

    def test_lost(self) -> None:
        """When the connection is lost while it is paused, what it has not taken is lost, too."""
        for connection in self.connections():
            connection.above.onData = connection.near.pauseProducing
            for text in (b"one", b"two"):
                connection.far.tls.write(text)
            connection.far.offer()
            connection.until("data")
            connection.near.abortConnection()
            connection.untilClosed()
            connection.near.resumeProducing()
            assert connection.events == ["made", "data", "lost"]
            assert connection.above.received == b"one"

    def test_garbage(self) -> None:
        """What came before garbage is lost with the connection if it was not taken."""
        for connection in self.connections():
            connection.above.onData = connection.near.pauseProducing
            for text in (b"one", b"two"):
                connection.far.tls.write(text)
            connection.far.offer()
            connection.until("data")
            connection.near.transport.resumeProducing()
            connection.peer.offer(BAD_RECORD)
            connection.untilClosed()
            connection.near.resumeProducing()
            assert connection.events == ["made", "data", "lost"]

    def test_producer(self) -> None:
        """A producer is paused while too much waits for the peer, and resumed when that was taken."""
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
    """What TLSTransport relies on in the standard library's TLS."""

    def pairs(self) -> Iterator[tuple[ssl.SSLObject, ssl.SSLObject]]:
        """Yield two ends whose handshake is done; what the second sends has come to the first at once."""
        for isServer, version in WAYS:
            ends = connectInMemory(*contexts(version))
            yield ends[isServer], ends[not isServer]

    def test_unwrapTooEarly(self) -> None:
        """`unwrap` while there is something to decrypt breaks the connection; that's why all is decrypted at once."""
        for near, far in self.pairs():
            far.write(b"hello")
            error = raised(ssl.SSLError, near.unwrap)
            assert error is not None
            assert error.reason == "APPLICATION_DATA_AFTER_CLOSE_NOTIFY"
            assert raised(ssl.SSLError, near.read, 5)

    def test_unwrap(self) -> None:
        """After `unwrap` with nothing to decrypt, or only a part of a record, what comes can be read; then its end."""
        for near, far in self.pairs():
            assert raised(ssl.SSLWantReadError, near.unwrap)
            far.write(b"hello")
            assert near.read(5) == b"hello"
            raised(ssl.SSLWantReadError, far.unwrap)
            assert raised(ssl.SSLZeroReturnError, near.read, 5)

    def test_end(self) -> None:
        """Without our own end, the peer's is that nothing is read; and we can still write."""
        for near, far in self.pairs():
            raised(ssl.SSLWantReadError, far.unwrap)
            assert near.read(5) == b""
            assert near.write(b"hello") == 5

    def test_emptyRecord(self) -> None:
        """Nothing is read for nothing but the end."""
        for near, far in self.pairs():
            far.write(b"")
            assert raised(ssl.SSLWantReadError, near.read, 5)


class LoadingTests(SynchronousTestCase):
    """What's wrong with a file is one line that names it."""

    def setUp(self) -> None:
        """Write some files."""
        self.directory = Path(self.enterContext(TemporaryDirectory()))
        writeCertificates(self.directory)
        (self.directory / "empty").touch()

    def load(self, cert: str, key: str) -> None:
        """Load a certificate and its key."""
        paths = self.directory / cert, self.directory / key
        with loading(*paths):
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*paths, askNobody)

    def test_right(self) -> None:
        """What fits is loaded."""
        self.load("server.crt", "server.key")
        self.load("server.pem", "server.pem")

    def test_mistakes(self) -> None:
        """What doesn't is refused."""
        d = self.directory
        for cert, key, message in (
            ("nothing", "server.key", f"{d}/nothing: No such file or directory"),
            ("server.crt", "nothing", f"{d}/nothing: No such file or directory"),
            ("server.crt", ".", f"{d}: Is a directory"),
            ("server.crt", "client.key", f"{d}/server.crt and {d}/client.key: key values mismatch"),
            ("server.crt", "empty", f"{d}/server.crt and {d}/empty: no usable certificate or private key in it"),
            ("empty", "server.key", f"{d}/empty and {d}/server.key: no usable certificate or private key in it"),
            ("server.crt", "encrypted.key", "the private key is encrypted"),
        ):
            assert str(raised(ValueError, self.load, cert, key)) == message

    def test_explain(self) -> None:
        """An error of TLS is told in words, also if it is one that Python has no name for."""
        for number, words in ((40, "sslv3 alert handshake failure"), (120, "tlsv1 alert no application protocol")):
            incoming = ssl.MemoryBIO()
            tls = contexts(ssl.TLSVersion.TLSv1_3)[0].wrap_bio(incoming, ssl.MemoryBIO(), server_hostname=NAME)
            raised(ssl.SSLWantReadError, tls.do_handshake)
            incoming.write(bytes([ALERT, 3, 3, 0, 2, 2, number]))
            error = raised(ssl.SSLError, tls.do_handshake)
            assert error is not None
            assert explain(error) == words


class ContextTests(SynchronousTestCase):
    """Both sides speak nothing that is weak, and trust what they are told to trust."""

    def setUp(self) -> None:
        """Make a chain of three: root, between and leaf."""
        self.root = CA()
        self.between = self.root.create_child_ca()
        self.leaf = self.between.issue_cert(NAME)

    def context(self, protocol: int, *trusted: Blob) -> ssl.SSLContext:
        """Return our context for one side, which shows the chain, trusts `trusted` and demands a certificate."""
        context = makeContext(protocol)
        self.leaf.configure_cert(context)
        for blob in trusted:
            context.load_verify_locations(cadata=blob.bytes().decode())
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def test_ciphers(self) -> None:
        """Each cipher has forward secrecy and authenticated encryption, and those of all modern programs are there."""
        for protocol in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER):
            ciphers = makeContext(protocol).get_ciphers()
            assert all(cipher["aead"] for cipher in ciphers)
            assert {cipher["kea"] for cipher in ciphers} <= {"kx-any", "kx-ecdhe", "kx-dhe"}
            assert {cipher["auth"] for cipher in ciphers} <= {"auth-any", "auth-ecdsa", "auth-rsa"}
            names = {cipher["name"] for cipher in ciphers}
            for kind in ("ECDSA", "RSA"):
                assert {f"ECDHE-{kind}-AES{size}-GCM-SHA{hashed}" for size, hashed in ((128, 256), (256, 384))} <= names

    def test_securityLevel(self) -> None:
        """What the system has for OpenSSL's security level stays."""
        for protocol in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER):
            assert makeContext(protocol).security_level == ssl.SSLContext(protocol).security_level

    def test_weakCiphers(self) -> None:
        """Who has nothing better than CBC isn't spoken to, on both sides."""
        for weak in (0, 1):
            ends = self.context(ssl.PROTOCOL_TLS_CLIENT, self.root.cert_pem), self.context(ssl.PROTOCOL_TLS_SERVER)
            ends[1].verify_mode = ssl.CERT_NONE
            ends[weak].maximum_version = ssl.TLSVersion.TLSv1_2
            assert connectInMemory(*ends, NAME)[0].version() == "TLSv1.2"
            ends[weak].set_ciphers("ECDHE+AES:!AESGCM:!AESCCM")
            error = raised(ssl.SSLError, connectInMemory, *ends, NAME)
            assert error is not None
            assert error.reason == "NO_SHARED_CIPHER"

    def test_trust(self) -> None:
        """Any certificate of the chain may be the one that is trusted, also that between the others, and the last."""
        stranger = CA().cert_pem
        for blob in (self.root.cert_pem, self.between.cert_pem, self.leaf.cert_chain_pems[0]):
            client = self.context(ssl.PROTOCOL_TLS_CLIENT, stranger, blob)
            ends = connectInMemory(client, self.context(ssl.PROTOCOL_TLS_SERVER, stranger, blob), NAME)
            assert ends[0].version() == "TLSv1.3"
            for unconvinced in (
                (self.context(ssl.PROTOCOL_TLS_CLIENT, stranger), self.context(ssl.PROTOCOL_TLS_SERVER, blob)),
                (client, self.context(ssl.PROTOCOL_TLS_SERVER, stranger)),
            ):
                assert raised(ssl.SSLCertVerificationError, connectInMemory, *unconvinced, NAME)

    def test_name(self) -> None:
        """A server's own certificate that is trusted must be for its name, too."""
        client = self.context(ssl.PROTOCOL_TLS_CLIENT, self.leaf.cert_chain_pems[0])
        server = self.context(ssl.PROTOCOL_TLS_SERVER, self.root.cert_pem)
        error = raised(ssl.SSLCertVerificationError, connectInMemory, client, server, "elsewhere.example")
        assert "not valid for 'elsewhere.example'" in str(error)


def recordTypes(data: bytes) -> list[int]:
    """Return the types of the records in `data` (RFC 8446, 5.1)."""
    types = []
    while data:
        types.append(data[0])
        data = data[5 + int.from_bytes(data[3:5]) :]
    return types
