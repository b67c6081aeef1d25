"""The client over UDP: one datagram at a time, judged as one stream; a lost one is the end."""

import os
import select
import socket
from errno import EHOSTUNREACH, EMFILE, ENETUNREACH, EPERM
from typing import Any, NoReturn
from unittest import mock

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import IPushProducer
from twisted.internet.udp import Port
from zope.interface.verify import verifyObject

from echoup.addresses import joinAddress
from echoup.client.datagram import FORGOTTEN, PIECE, DatagramClient
from echoup.client.exchange import Exchange
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.target.datagram import DatagramTarget
from tests.support.chance import randomBytes
from tests.support.doubles import ReactorTestCase, raised
from tests.support.names import Names
from tests.support.properties import given, manyBytes, st
from tests.support.sockets import leave

TIMEOUT = 10.0
LOST = "the datagram or its reply was lost, or nothing answers there; UDP cannot tell which"


class ClientTestCase(ReactorTestCase):
    """A test with a client, and a server whose datagrams the test sends."""

    def setUp(self) -> None:
        """Open the server and the client."""
        super().setUp()
        self.names = Names({"there": ["127.0.0.1"], "two": ["127.0.0.1", "127.0.0.2"], "six": ["::1"]})
        self.names.install(self)
        self.open()

    def open(self, host: str = "there") -> None:
        """Open a new server, and a client that finds it at `host`; what comes to the client is in `taken`.

        Of several addresses of `host` the last is the server's, and the others refuse.
        """
        address = self.names.known[host][-1]
        self.server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.server.close)
        self.server.setblocking(False)
        self.server.bind((address, 0))
        self.target = DatagramTarget(host, self.server.getsockname()[1])
        self.taken: list[bytes] = []
        self.client: DatagramClient = self.successResultOf(self.connect(self.target))
        self.exchange = Exchange(self.client, untilEnd=True)
        assert self.client.attempt
        self.port: Any = self.client.attempt.port
        self.called = f"{self.target} ({joinAddress(address, self.target.port)})"

    def connect(self, target: DatagramTarget) -> "Deferred[DatagramClient]":
        """Return a client of `target`."""
        return Deferred.fromCoroutine(target.connect(self.reactor, TIMEOUT, self.taken.append))

    def next(self) -> bytes:
        """Return the next datagram that comes to the server, and check that no other came."""
        self.reactor.until(lambda: bool(self.came()))
        data, self.sender = self.server.recvfrom(65536)
        assert not self.came()
        return data

    def came(self) -> bool:
        """Whether a datagram is at the server."""
        interest = select.poll()  # unlike select, it has no limit of descriptors
        interest.register(self.server, select.POLLIN)
        return bool(interest.poll(0))

    def answer(self, *datagrams: bytes) -> None:
        """Send `datagrams` to the client, and wait until the first of them is taken."""
        count = len(self.taken)
        for data in datagrams:
            self.server.sendto(data, self.sender)
        self.reactor.until(lambda: len(self.taken) > count)
        self.reactor.turn()

    def waitForClose(self) -> None:
        """Wait until the client is closed, and check that no port or timer of it is left."""
        self.reactor.until(lambda: bool(self.client.closed.called))
        self.reactor.turn()
        assert self.port.protocol.transport is None
        assert self.reactor.getDelayedCalls() == []
        assert self.port not in self.reactor.getReaders()

    def assertRight(self) -> None:
        """Check that the client is closed, and all was right."""
        self.waitForClose()
        self.client.check(self.exchange.reply)

    def assertFails(self, code: ExitCode, message: str) -> None:
        """Check that the client is closed, and that `check` raises `message`."""
        self.waitForClose()
        error = raised(PathError, self.client.check, self.exchange.reply)
        assert error is not None
        assert (error.code, str(error)) == (code, f"{self.called}: {message}")


class ExactTests(ClientTestCase):
    """All that is sent comes back, in order."""

    def test_clientIsProducer(self) -> None:
        """The client is a push producer for the consumer of what comes back."""
        verifyObject(IPushProducer, self.client)

    def test_oneDatagramAtATime(self) -> None:
        """It sends pieces of 1200 bytes, each when the one before was answered, and closes after the last."""
        data = randomBytes(2 * PIECE + 600)
        self.exchange.send(data)
        self.exchange.end()
        for start in (0, PIECE, 2 * PIECE):
            piece = self.next()
            assert piece == data[start : start + PIECE]
            self.reactor.turn()
            assert not self.came()
            self.answer(piece.upper())
        self.assertRight()
        assert b"".join(self.taken) == data.upper()
        assert PIECE == 1200

    def test_smallPiecesAreSentAtOnce(self) -> None:
        """A piece is sent, and answered, before there is more input or its end; small pieces are not joined."""
        for text in (b"hello", b"again"):
            self.exchange.send(text)
            assert self.next() == text
            self.answer(text.upper())
            self.client.check(self.exchange.reply)
        assert not self.client.closed.called
        for text in (b"a", b"b"):
            self.exchange.send(text)
        self.exchange.end()
        for text in (b"a", b"b"):
            assert self.next() == text
            self.answer(text.upper())
        self.assertRight()

    def test_textWithoutLowercaseHasNewPort(self) -> None:
        """A datagram without a lowercase letter is sent from a new port; others are sent from the same."""
        senders = []
        for text in (b"1", b"1", b"1", b"a", b"a"):
            self.exchange.send(text)
            assert self.next() == text
            senders.append(self.sender)
            self.answer(text.upper())
        assert len(set(senders)) == 3
        assert senders[2] == senders[3] == senders[4]

    def test_portIsNotReusedEarly(self) -> None:
        """A port that was ours isn't used again until the server has forgotten what it answered to it."""
        ports = iter([7001, 7002, 7001, 7003, 7001])
        self.patch(Port, "getHost", lambda _: IPv4Address("UDP", "127.0.0.1", next(ports)))
        for _ in range(3):
            self.reopen()
        assert next(ports) == 7001
        ports = iter([7001])
        self.reactor.advance(FORGOTTEN, step=FORGOTTEN)
        self.reopen()
        assert next(ports, None) is None

    def reopen(self) -> None:
        """Let the client open another port."""
        self.client.open(self.reactor, self.target, [("127.0.0.1", self.target.port)])

    def test_nothingNeedsNoDatagram(self) -> None:
        """Without any bytes no datagram is sent."""
        self.exchange.send(b"")
        self.exchange.end()
        self.assertRight()
        assert not self.came()

    def test_addressThatAnswersIsUsed(self) -> None:
        """Where the first address refuses, the next gets the datagram, and all that follow, from new ports, too."""
        self.open("two")
        for text in (b"hello", b"1", b"again"):
            self.exchange.send(text)
            assert self.next() == text
            self.answer(text.upper())
        self.exchange.end()
        self.assertRight()
        assert self.client.server == f"{self.target} (127.0.0.2:{self.target.port})"

    def test_ipv6Works(self) -> None:
        """It speaks IPv6 too."""
        self.open("six")
        self.exchange.send(b"hello")
        self.exchange.end()
        assert self.next() == b"hello"
        self.answer(b"HELLO")
        self.assertRight()

    @given(st.lists(st.binary(max_size=9) | manyBytes(1, 5000)), st.lists(st.booleans()))
    def test_anyDataComesBack(self, texts: list[bytes], doubles: list[bool]) -> None:
        """Any bytes, sent in any pieces, come back exactly, though some answers are delivered twice."""
        self.open()
        data = b"".join(texts)
        for text in texts:
            self.exchange.send(text)
        self.exchange.end()
        sent: list[bytes] = []

        def served() -> bool:
            while self.came():
                piece, sender = self.server.recvfrom(65536)
                sent.append(piece)
                for _ in range(2 if doubles and doubles.pop() else 1):
                    self.server.sendto(piece.upper(), sender)
            return bool(self.client.closed.called)

        self.reactor.until(served)
        self.server.close()
        self.assertRight()
        assert b"".join(sent) == data
        assert b"".join(self.taken) == data.upper()


class JudgementTests(ClientTestCase):
    """`check` passes only what is right and complete."""

    def swap(self, data: bytes, *answers: bytes) -> None:
        """Send `data`, and `answers` back."""
        self.exchange.send(data)
        self.next()
        self.answer(*answers)

    def test_duplicateIsIgnored(self) -> None:
        """The answer before, once more, is ignored, whether or not another is due."""
        self.swap(b"one", b"ONE", b"ONE")
        assert self.taken == [b"ONE"]
        self.exchange.send(b"two")
        self.next()
        self.answer(b"ONE", b"TWO", b"TWO")
        self.exchange.end()
        self.assertRight()
        assert self.taken == [b"ONE", b"TWO"]

    def test_sameAnswersAreExchangeable(self) -> None:
        """Where two pieces are the same, an answer to one counts for the other."""
        for _ in range(2):
            self.swap(b"same", b"SAME", b"SAME")
        self.swap(b"other", b"SAME", b"OTHER")
        self.exchange.end()
        self.assertRight()
        assert self.taken == [b"SAME", b"SAME", b"OTHER"]

    def test_unchangedIsWrong(self) -> None:
        """Bytes that come back unchanged are wrong; the rest is sent nevertheless, as on any other path."""
        self.swap(b"one", b"one")
        self.swap(b"two", b"two")
        self.exchange.end()
        why = "unchanged: the bytes came back as they were sent, so something in between answered"
        self.assertFails(ExitCode.WRONG, why)

    def test_corruptedIsWrong(self) -> None:
        """Bytes that come back altered are wrong."""
        self.swap(b"hello", b"HELPO")
        self.exchange.end()
        why = 'byte 3 of the reply is not the upper case of the one sent: expected "LO", got "PO"'
        self.assertFails(ExitCode.WRONG, f"corrupted: {why}")

    def test_longerAnswerIsWrong(self) -> None:
        """An answer with more bytes than were sent is wrong, and is passed on."""
        self.swap(b"hello", b"HELLO!")
        self.exchange.end()
        self.assertFails(ExitCode.WRONG, "corrupted: more came back than was sent: 6 bytes for 5")
        assert self.taken == [b"HELLO!"]

    def test_shorterAnswerEndsIt(self) -> None:
        """A shorter answer is short; nothing more is sent."""
        for answer in (b"HEL", b""):
            self.open()
            self.exchange.send(b"x" * PIECE + b"hello")
            self.next()
            self.answer(b"X" * PIECE)
            self.swap(b"more", answer)
            size = len(answer)
            self.assertFails(ExitCode.SHORT, f"the reply to datagram 2 has {size} of 5 bytes")
            assert not self.came()

    def test_wrongCountsMoreThanShort(self) -> None:
        """An answer that is both short and wrong is wrong."""
        self.swap(b"hello", b"hel")
        why = "unchanged: the bytes came back as they were sent, so something in between answered"
        self.assertFails(ExitCode.WRONG, why)

    def test_unaskedIsWrong(self) -> None:
        """A datagram that is not a reply is wrong, and is passed on."""
        self.swap(b"one", b"ONE")
        self.answer(b"hi")
        self.exchange.end()
        self.assertFails(ExitCode.WRONG, "corrupted: more came back than was sent: 5 bytes for 3")
        assert self.taken == [b"ONE", b"hi"]

    def test_nothingIsTakenAfterEnd(self) -> None:
        """Once the client is closed nothing is passed on, even if it came before."""
        self.exchange.send(b"one")
        self.exchange.end()
        self.next()
        self.answer(b"ONE", b"hi")
        self.assertRight()
        assert self.taken == [b"ONE"]

    def test_otherSendersAreIgnored(self) -> None:
        """Datagrams from other addresses than the server's are ignored."""
        self.exchange.send(b"hello")
        self.next()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"WRONG", self.sender)
        self.answer(b"HELLO")
        self.exchange.end()
        self.assertRight()


class FailureTests(ClientTestCase):
    """The client closes when no answer can come any more."""

    def test_lostDatagramTimesOut(self) -> None:
        """It gives up when one datagram isn't answered in time, and names the possible causes."""
        self.exchange.send(b"x" * PIECE + b"hello")
        self.next()
        self.reactor.advance(TIMEOUT - 0.5, step=0.5)
        self.answer(b"X" * PIECE)
        self.next()
        self.reactor.advance(TIMEOUT - 0.5, step=0.5)
        assert not self.client.closed.called
        self.reactor.advance(0.5)
        self.assertFails(ExitCode.TIMED_OUT, f"no reply to datagram 2 within 10 s: {LOST}")

    def test_nothingDueNeverTimesOut(self) -> None:
        """While no answer is due, as at a prompt, it waits without a limit."""
        self.reactor.advance(100 * TIMEOUT, step=1)
        self.exchange.send(b"hello")
        self.next()
        self.answer(b"HELLO")
        self.reactor.advance(100 * TIMEOUT, step=1)
        assert not self.client.closed.called
        self.exchange.end()
        self.assertRight()

    def test_refusalIsReported(self) -> None:
        """When the server's machine refuses, that is reported, at the first datagram or later."""
        self.addCleanup(leave(self.server).close)
        self.exchange.send(b"hello")
        self.exchange.send(b"again")
        self.assertFails(ExitCode.UNREACHABLE, "Connection refused")

        self.open()
        self.exchange.send(b"hello")
        self.next()
        self.answer(b"HELLO")
        self.addCleanup(leave(self.server).close)
        self.exchange.send(b"again")
        self.assertFails(ExitCode.UNREACHABLE, "Connection refused")

    def awaitRefusal(self) -> None:
        """Wait, without the reactor, until the kernel has a refusal to report."""
        self.addCleanup(leave(self.server).close)
        handle = self.port.getHandle()
        handle.send(b"")
        interest = select.poll()
        interest.register(handle, 0)
        assert interest.poll(60_000)

    def test_refusalOnRead(self) -> None:
        """A refusal is also reported by a reactor that learns of errors only by reading, as asyncio's."""
        self.awaitRefusal()
        self.port.doRead()
        self.assertFails(ExitCode.UNREACHABLE, "Connection refused")

    def test_refusalOnWrite(self) -> None:
        """A refusal is also reported where the write fails with it."""
        self.awaitRefusal()
        self.exchange.send(b"hello")
        self.assertFails(ExitCode.UNREACHABLE, "Connection refused")

    def test_failedWriteIsReported(self) -> None:
        """A write that the system refuses is reported in the system's words."""

        def fail(data: bytes) -> NoReturn:
            raise OSError(ENETUNREACH, os.strerror(ENETUNREACH))

        self.patch(self.port, "write", fail)
        self.exchange.send(b"hello")
        self.assertFails(ExitCode.UNREACHABLE, "Network is unreachable")

    def test_forbiddenWriteIsLocal(self) -> None:
        """A write that this machine refuses, as its firewall does, or because of the size, is local trouble."""
        for error, why in (
            (OSError(EPERM, ""), "Operation not permitted (this machine forbids it, usually a firewall)"),
            (MessageLengthError(""), "Message too long (this machine cannot send that much at once)"),
        ):
            self.open()

            def fail(data: bytes, error: Exception = error) -> NoReturn:
                raise error

            self.patch(self.port, "write", fail)
            self.exchange.send(b"hello")
            self.assertFails(ExitCode.LOCAL, why)

    def test_otherRefusalOnRead(self) -> None:
        """What an ICMP message other than a refusal makes `recvfrom` raise is reported, and isn't logged."""
        filtered = mock.Mock(wraps=self.port.socket)
        filtered.recvfrom.side_effect = OSError(EHOSTUNREACH, "")
        self.patch(self.port, "socket", filtered)
        self.exchange.send(b"hello")
        self.port.doRead()
        self.assertFails(ExitCode.UNREACHABLE, "No route to host")
        assert self.flushLoggedErrors() == []

    def test_missingPortIsReported(self) -> None:
        """That no new port can be opened is reported, and the port before is closed once."""

        def fail(*_: object) -> NoReturn:
            raise CannotListenError("", 0, OSError(EMFILE, os.strerror(EMFILE)))

        self.exchange.send(b"1")
        self.next()
        self.answer(b"1")
        self.patch(self.reactor, "listenUDP", fail)
        self.exchange.send(b"1")
        why = "Too many open files (this process has no file descriptors left, see ulimit -n)"
        self.assertFails(ExitCode.LOCAL, why)
        assert self.flushLoggedErrors() == []


class ProducerTests(ClientTestCase):
    """The consumer of what comes back pauses, resumes and stops the client."""

    def test_pausedClientSendsNothing(self) -> None:
        """While it is paused nothing is sent; an answer that is due is taken nevertheless."""
        self.exchange.send(b"x" * 2 * PIECE)
        self.exchange.end()
        self.next()
        self.client.pauseProducing()
        self.answer(b"X" * PIECE)
        self.reactor.advance(10 * TIMEOUT, step=1)
        assert not self.came()
        self.client.resumeProducing()
        self.next()
        self.answer(b"X" * PIECE)
        self.assertRight()

    def test_stoppedClientCloses(self) -> None:
        """When it is stopped it closes at once, and nothing more is sent."""
        self.exchange.send(b"x" * 2 * PIECE)
        self.next()
        self.client.stopProducing()
        self.exchange.send(b"more")
        self.client.stopProducing()
        self.waitForClose()
        assert not self.came()
