"""The client's end of a connection: what it passes on, how long it waits, and how it judges."""

import socket
import ssl

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from zope.interface.verify import verifyObject

from echoup.client.exchange import Exchange
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import LOOKS, EchoUpClient, Ending, IClientTransport
from echoup.tls.transport import TLSTransport
from tests.support.certificates import NAME, contexts
from tests.support.doubles import Peer, ReactorTestCase, raised
from tests.support.properties import given, st
from tests.support.serverprotocols import Server
from tests.support.sockets import connectedPair

TIMEOUT = 10.0


class ClientTestCase(ReactorTestCase):
    """A test with a connected client."""

    def setUp(self) -> None:
        """Connect a client."""
        super().setUp()
        self.connect()

    def connect(self, family: socket.AddressFamily = socket.AF_INET) -> None:
        """Connect a new client to `server`; what comes to it is in `taken`."""
        self.taken = b""
        self.client = EchoUpClient(self.reactor, TIMEOUT, self.take)
        self.server = self.peerOf(Factory.forProtocol(lambda: self.client), family)
        self.client.name, self.client.address = "there:1", None
        self.exchange = Exchange(self.client, untilEnd=True)

    def take(self, data: bytes) -> None:
        """Note `data`."""
        self.taken += data

    def answer(self, data: bytes, answer: bytes) -> None:
        """Send `data`, and `answer` back."""
        self.exchange.send(data)
        assert self.server.receive(len(data)) == data
        self.server.offer(answer)
        self.reactor.until(lambda: self.taken.endswith(answer))

    def reset(self, server: Peer) -> None:
        """Let the server reset the connection."""
        server.reset()
        self.waitForClose()

    def waitForClose(self) -> None:
        """Wait until the connection is gone, and check that its transport isn't watched any more."""
        self.reactor.until(lambda: self.client.closed.called)
        assert self.client.transport not in self.reactor.getReaders() + self.reactor.getWriters()

    def assertFails(self, code: ExitCode, message: str) -> None:
        """Check that `check` raises `message`."""
        error = raised(PathError, self.client.check, self.exchange.reply)
        assert error is not None
        assert (error.code, str(error)) == (code, f"there:1: {message}")


class InterfaceTests(ClientTestCase):
    """The protocol and its transports fit together."""

    def test_clientProvidesInterfaces(self) -> None:
        """It is a half-closeable protocol, and a push producer for the consumer of what comes back."""
        verifyObject(IHalfCloseableProtocol, self.client)
        verifyObject(IPushProducer, self.client)

    def test_transportsSuffice(self) -> None:
        """TCP and Unix transports provide all that the protocol needs."""
        for family in (socket.AF_INET, socket.AF_UNIX):
            self.connect(family)
            for interface in IClientTransport.getBases():
                verifyObject(interface, self.client.transport)


class JudgementTests(ClientTestCase):
    """`check` passes only what is right and complete."""

    def test_completeReplyAndEndsAreRight(self) -> None:
        """Nothing is wrong when everything came back and both sides ended."""
        self.answer(b"hello", b"HELLO")
        self.client.check(self.exchange.reply)
        self.exchange.end()
        assert self.server.receiveAll() == b""
        self.server.end()
        self.waitForClose()
        self.client.check(self.exchange.reply)
        assert (self.taken, self.client.ending) == (b"HELLO", Ending.CLOSED)
        assert self.reactor.getDelayedCalls() == []

    @given(st.lists(st.binary(min_size=1)), st.integers(1, 9))
    def test_anyPiecesComeBack(self, pieces: list[bytes], size: int) -> None:
        """Any bytes, sent in any pieces, are right if they come back in any others."""
        self.connect()
        data = b"".join(pieces)
        for piece in pieces:
            self.exchange.send(piece)
        self.exchange.end()
        assert self.server.receiveAll() == data
        for start in range(0, len(data), size):
            self.server.offer(data[start : start + size].upper())
        self.server.end()
        self.waitForClose()
        assert self.taken == data.upper()
        self.client.check(self.exchange.reply)

    def test_unchangedIsWrong(self) -> None:
        """Bytes that come back unchanged are wrong."""
        self.answer(b"hello", b"hello")
        why = "unchanged: the bytes came back as they were sent, so something in between answered"
        self.assertFails(ExitCode.WRONG, why)

    def test_corruptedIsWrong(self) -> None:
        """Bytes that come back altered are wrong, also after the connection is lost."""
        self.answer(b"hello", b"HELPO")
        why = 'corrupted: byte 3 of the reply is not the upper case of the one sent: expected "LO", got "PO"'
        self.assertFails(ExitCode.WRONG, why)
        self.reset(self.server)
        self.assertFails(ExitCode.WRONG, why)

    def test_earlyEndIsShort(self) -> None:
        """A server that ends early is short, and the connection is closed at once."""
        self.answer(b"hello", b"HEL")
        self.server.end()
        self.waitForClose()
        self.assertFails(ExitCode.SHORT, "the server closed the connection, 3 of 5 bytes came back")

    def test_endBeforeOursIsShort(self) -> None:
        """A server that ends before us is short, even if no reply was due."""
        self.answer(b"hello", b"HELLO")
        self.server.end()
        self.waitForClose()
        self.assertFails(ExitCode.SHORT, "the server closed the connection, 5 of 5 bytes came back")

    def test_resetIsShort(self) -> None:
        """A reset is short, and is reported as a reset."""
        self.answer(b"hello", b"HELLO")
        self.exchange.end()
        self.reset(self.server)
        self.assertFails(ExitCode.SHORT, "the server reset the connection, 5 of 5 bytes came back")


class TimeoutTests(ClientTestCase):
    """The client gives up when a reply is due and nothing of it comes for the timeout."""

    def test_resetThatLooksLikeTheEndIsAReset(self) -> None:
        """A reset is reported as one where the reactor, which saw the error before the end, takes it for the end."""
        self.answer(b"hello", b"HELLO")
        self.exchange.send(b"more")
        self.server.reset()
        self.client.readConnectionLost()  # as the poll and epoll reactors call it
        self.waitForClose()
        self.assertFails(ExitCode.SHORT, "the server reset the connection, 5 of 9 bytes came back")

    def assertPatient(self, seconds: float) -> None:
        """Check that the client waits another `seconds`."""
        self.reactor.advance(seconds, step=0.5)
        assert not self.client.closed.called

    def assertGivesUp(self, message: str) -> None:
        """Check that the client gives up within a tenth of the timeout, with `message`."""
        self.reactor.advance(TIMEOUT / 10, step=0.5)
        self.waitForClose()
        assert self.client.ending is Ending.TIMED_OUT
        self.assertFails(ExitCode.TIMED_OUT, f"timed out: {message}")

    def test_noReplyTimesOut(self) -> None:
        """It gives up when nothing of the reply comes."""
        self.exchange.send(b"hello")
        self.assertPatient(TIMEOUT - 0.5)
        self.assertGivesUp("nothing came back in 10 s")

    def test_partOfReplyRestartsTimeout(self) -> None:
        """It gives up when nothing more comes, counting from the last bytes that came."""
        self.exchange.send(b"hello")
        self.assertPatient(TIMEOUT - 0.5)
        self.server.offer(b"HEL")
        self.reactor.until(lambda: self.taken == b"HEL")
        self.assertPatient(TIMEOUT - 0.5)
        self.assertGivesUp("3 of 5 bytes came back, then nothing for 10 s")

    def test_missingEndTimesOut(self) -> None:
        """It gives up when the server doesn't end its side."""
        self.answer(b"hello", b"HELLO")
        self.exchange.end()
        self.assertPatient(TIMEOUT - 0.5)
        self.assertGivesUp("all 5 bytes came back, but the server did not close the connection within 10 s")

    def test_nothingDueNeverTimesOut(self) -> None:
        """While no reply is due, as at a prompt, it waits without a limit, and that time doesn't count later."""
        self.assertPatient(100 * TIMEOUT)
        self.answer(b"hello", b"HELLO")
        self.assertPatient(10 * TIMEOUT)
        self.exchange.send(b"again")
        self.assertPatient(TIMEOUT - 0.5)
        self.assertGivesUp("5 of 10 bytes came back, then nothing for 10 s")

    def test_largePiecesAreReceived(self) -> None:
        """What has arrived is received in one piece, even if it is larger than Twisted's 64 KiB."""
        self.connect(socket.AF_UNIX)
        self.client.pauseProducing()
        self.server.socket.sendall(b"x" * 100_000)
        self.client.resumeProducing()
        self.reactor.until(lambda: self.taken != b"")
        assert len(self.taken) == 100_000

    def test_pausedClientNeverTimesOut(self) -> None:
        """While the consumer has paused it, it doesn't give up."""
        self.exchange.send(b"hello")
        self.client.pauseProducing()
        self.server.offer(b"HELLO")
        self.assertPatient(10 * TIMEOUT)
        assert self.taken == b""
        self.client.resumeProducing()
        self.reactor.until(lambda: self.taken == b"HELLO")

    def test_resumingRestartsTimeout(self) -> None:
        """After a pause the time starts anew."""
        self.exchange.send(b"hello")
        self.client.pauseProducing()
        self.assertPatient(10 * TIMEOUT)
        self.client.resumeProducing()
        self.assertPatient(TIMEOUT - 0.5)
        self.assertGivesUp("nothing came back in 10 s")

    def test_timerRunsWhileReplyIsDue(self) -> None:
        """One timer checks for progress ten times within the timeout, until no reply is due at one of the checks."""
        assert self.reactor.getDelayedCalls() == []
        for text in (b"a", b"b"):
            self.exchange.send(text)
            self.exchange.send(text)
            for _ in range(5):
                (timer,) = self.client.clock.getDelayedCalls()
                assert 0 < timer.getTime() - self.client.clock.seconds() <= TIMEOUT / LOOKS
                self.reactor.advance(TIMEOUT / LOOKS)
            self.answer(b"", 2 * text.upper())
            self.reactor.advance(TIMEOUT / LOOKS)
            assert self.reactor.getDelayedCalls() == []

    def test_sendingMoreDoesNotRestartTimeout(self) -> None:
        """Sending more while a reply is due doesn't extend the time for it."""
        self.exchange.send(b"a")
        for _ in range(19):
            self.assertPatient(0.5)
            self.exchange.send(b"a")
        self.assertGivesUp("nothing came back in 10 s")


class TLSTests(ReactorTestCase):
    """Over TLS the client is the same, and reports an error of TLS."""

    def setUp(self) -> None:
        """Connect a client and a server that answers in upper case."""
        super().setUp()
        self.client = EchoUpClient(self.reactor, TIMEOUT)
        client, server = contexts(ssl.TLSVersion.TLSv1_3)
        self.client.tls = near = TLSTransport(client, lambda: self.client, NAME)
        self.server = TLSTransport(server, Server)
        ends: list[Protocol] = [near, self.server]
        factory = Factory.forProtocol(ends.pop)
        for end in connectedPair(socket.AF_INET):
            with end:
                self.reactor.adoptStreamConnection(end.fileno(), socket.AF_INET, factory)
        self.client.reached("", near.transport)
        self.client.name, self.client.address = "there:1", None
        self.reactor.until(lambda: bool(near.established.called and self.server.established.called))
        self.exchange = Exchange(self.client, untilEnd=True)

    def answer(self) -> None:
        """Send something, and wait for the answer."""
        self.exchange.send(b"hello")
        self.reactor.until(lambda: self.exchange.reply.received >= 5)

    def failure(self) -> PathError:
        """Return the client's error when the server sends what can't be decrypted."""
        self.server.transport.write(b"\x17\x03\x03\x00\x20" + bytes(32))
        self.reactor.until(lambda: bool(self.client.closed.called))
        error = raised(PathError, self.client.check, self.exchange.reply)
        assert error is not None
        return error

    def test_completeReplyAndEndsAreRight(self) -> None:
        """Nothing is wrong when everything came back and both sides ended."""
        self.answer()
        self.exchange.end()
        self.reactor.until(lambda: bool(self.client.closed.called))
        self.client.check(self.exchange.reply)

    def test_partOfRecordRestartsTimeout(self) -> None:
        """Parts of a record count as progress; without more of them the client gives up."""
        self.server.pauseProducing()
        self.server.setTcpNoDelay(True)
        self.exchange.send(b"hello")
        self.server.tls.write(b"HELLO")
        record = self.server._outgoing.read()
        for i in range(10):
            self.server.transport.write(record[i : i + 1])
            self.reactor.turn()
            self.reactor.advance(TIMEOUT / 2, step=0.5)
        assert (self.exchange.reply.received, self.client.closed.called) == (0, False)
        self.reactor.advance(TIMEOUT, step=0.5)
        self.reactor.until(lambda: bool(self.client.closed.called))
        assert self.client.ending is Ending.TIMED_OUT

    def test_tlsErrorIsReported(self) -> None:
        """An error of TLS after the handshake is reported."""
        self.answer()
        error = self.failure()
        assert error.code == ExitCode.TLS_FAILED
        assert str(error) == "there:1: TLS failed: decryption failed or bad record mac"

    def test_wrongCountsMoreThanTLSError(self) -> None:
        """A reply that was wrong before the error stays wrong."""
        self.server.write(b"!")
        self.answer()
        assert self.failure().code == ExitCode.WRONG


class EndTests(ClientTestCase):
    """The client ends the connection when it is of no use any more."""

    def test_stoppedClientAborts(self) -> None:
        """When the consumer stops it, it drops the connection at once, even with bytes to send."""
        self.exchange.send(b"x" * 2**24)
        self.client.stopProducing()
        self.waitForClose()

    def test_unsentIsDroppedAtServersEnd(self) -> None:
        """Bytes that wait to be sent to a server that has ended are dropped."""
        self.exchange.send(b"x" * 2**24)
        self.server.end()
        self.waitForClose()
        assert self.client.ending is Ending.CLOSED
