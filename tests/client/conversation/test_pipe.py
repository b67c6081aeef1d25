"""Standard input through the service to standard output: exact, in bounded memory, and over in every case."""

import fcntl
import os
import sys
import threading
import tty
from io import FileIO, TextIOWrapper
from tempfile import TemporaryFile
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import DatagramProtocol, Factory

from echoup.client.conversation.pipe import AHEAD, UNWRITTEN, WINDOW, pipe
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.standardio import PIECE
from echoup.client.target.parse import parseTarget
from tests.support.chance import randomBytes
from tests.support.descriptors import keepsDescriptors
from tests.support.doubles import ReactorTestCase
from tests.support.serverprotocols import Deserter, Mirror, Resetter, Server, Silence
from tests.support.sizes import MIB
from tests.support.sockets import unheard
from tests.support.waiting import eventually

TIMEOUT = 10.0


class PipeTestCase(ReactorTestCase):
    """A test with standard streams and a server of its own."""

    def setUp(self) -> None:
        """Have the threads end before the reactor is closed, which they call."""
        super().setUp()
        self.others = set(threading.enumerate())
        self.addCleanup(self.reactor.until, self.threadsHaveEnded)

    def threadsHaveEnded(self) -> bool:
        """Return whether the threads of the pipe have ended."""
        return set(threading.enumerate()) <= self.others

    def serve(self, kind: type[Server] = Server) -> None:
        """Listen for one client."""
        self.server = kind()
        self.port = self.reactor.listenTCP(0, Factory.forProtocol(lambda: self.server), interface="127.0.0.1")
        self.target = parseTarget(f"tcp:127.0.0.1:{self.port.getHost().port}")

    def files(self, data: bytes) -> None:
        """Let standard input be a file with `data`, and standard output an empty one."""
        self.source = self.enterContext(TemporaryFile(buffering=0))
        self.sink = self.enterContext(TemporaryFile(buffering=0))
        self.source.write(data)
        self.source.seek(0)
        self.patch(sys, "stdin", self.source)
        self.patch(sys, "stdout", self.sink)

    def pipes(self) -> None:
        """Let standard input and output be pipes, whose far ends are `feed` and `drain`, non-blocking."""
        source, feed = os.pipe()
        os.set_blocking(feed, False)
        self.patch(sys, "stdin", self.enterContext(FileIO(source, "r")))
        self.feed = self.enterContext(FileIO(feed, "w"))
        self.drainedBy(*os.pipe())

    def drainedBy(self, drain: int, sink: int) -> None:
        """Let standard output be `sink`, whose far end is `drain`, non-blocking."""
        os.set_blocking(drain, False)
        self.patch(sys, "stdout", self.enterContext(FileIO(sink, "w")))
        self.drain = self.enterContext(FileIO(drain, "r"))

    def terminal(self) -> None:
        """Let standard output be a terminal that changes nothing, whose far end is `drain`, non-blocking."""
        drain, sink = os.openpty()
        tty.setraw(sink)
        self.drainedBy(drain, sink)

    def begin(self) -> "Deferred[None]":
        """Begin to pipe."""
        return Deferred.fromCoroutine(pipe(self.reactor, self.target, TIMEOUT))

    def assertComes(self, data: bytes) -> None:
        """Check that `data` comes out."""
        came = bytearray()

        def complete() -> bool:
            came.extend(self.drain.read(len(data) - len(came)) or b"")
            return len(came) == len(data)

        self.reactor.until(complete)
        assert came == data

    def output(self) -> bytes:
        """Return all that was written to the file that is standard output."""
        self.sink.seek(0)
        return self.sink.read()

    def assertSucceeds(self, piping: "Deferred[None]") -> None:
        """Check that it ends without an error, and leaves no timer."""
        self.reactor.until(lambda: bool(piping.called))
        assert self.successResultOf(piping) is None
        assert self.reactor.getDelayedCalls() == []

    def assertFails(self, piping: "Deferred[None]", code: ExitCode, why: str) -> None:
        """Check that it fails."""
        self.reactor.until(lambda: bool(piping.called))
        error = self.failureResultOf(piping, PathError).value
        assert (error.code, str(error).removeprefix(f"{self.target}: ")) == (code, why)


class ExactTests(PipeTestCase):
    """Every byte comes out in upper case, then it ends."""

    def test_allSizesComeOut(self) -> None:
        """Nothing, a line without an end, and more than the window come out exactly."""
        for data in (b"", b"hello\nworld", randomBytes(2 * WINDOW)):
            self.serve()
            self.files(data)
            self.assertSucceeds(self.begin())
            assert self.output() == data.upper()

    def test_inputIsSentAtOnce(self) -> None:
        """Input is sent at once, before there is more of it or its end."""
        self.serve()
        self.pipes()
        piping = self.begin()
        for text in (b"hello", b"again"):
            self.feed.write(text)
            self.assertComes(text.upper())
        self.feed.close()
        self.assertSucceeds(piping)
        assert self.drain.read() is None or self.drain.read() == b""

    def test_readingGoesAhead(self) -> None:
        """The input is read in several pieces without waiting until each was sent."""
        self.serve()
        self.files(b"x" * (4 * WINDOW))
        piping = self.begin()
        self.reactor.until(lambda: self.source.tell() > 0)
        eventually(lambda: self.source.tell() >= AHEAD * PIECE)  # without another turn of the reactor
        self.assertSucceeds(piping)
        assert self.output() == b"X" * (4 * WINDOW)

    def test_closedStreamsAreEmpty(self) -> None:
        """Streams that were closed before the start are empty, and accept everything."""
        for name in ("stdin", "stdout"):
            self.serve()
            self.files(b"hello")
            self.patch(sys, name, None)
            self.assertSucceeds(self.begin())

    def test_flagsStay(self) -> None:
        """The flags of the streams, which other processes share, stay as they are; a non-blocking one works as well."""
        data = randomBytes(MIB)
        for isBlocking in (True, False):
            self.serve()
            self.pipes()
            streams = sys.stdin.fileno(), sys.stdout.fileno()
            for stream in streams:
                os.set_blocking(stream, isBlocking)
            before = [fcntl.fcntl(stream, fcntl.F_GETFL) for stream in streams]
            piping = self.begin()
            self.feedAll(data)
            assert [fcntl.fcntl(stream, fcntl.F_GETFL) for stream in streams] == before
            self.feed.close()
            self.assertComes(data.upper())
            self.assertSucceeds(piping)
            assert [fcntl.fcntl(stream, fcntl.F_GETFL) for stream in streams] == before

    def feedAll(self, data: bytes) -> None:
        """Write `data` to standard input's far end, as it is taken."""
        rest = memoryview(data)

        def isFed() -> bool:
            nonlocal rest
            rest = rest[self.feed.write(rest) or 0 :]
            return not rest

        self.reactor.until(isFed)

    def test_descriptorsAreClosed(self) -> None:
        """No descriptor of the process is left open."""
        self.serve()
        self.files(b"hello")
        with keepsDescriptors():
            self.assertSucceeds(self.begin())
            self.reactor.turn(50)


class TerminalTests(PipeTestCase):
    """On a terminal the reply is escaped."""

    def test_replyDoesNotCommandTerminal(self) -> None:
        """A reply with control sequences is shown escaped, line by line, and nothing is added to it."""
        self.serve(Titler)
        self.files(b"x\n")
        self.terminal()
        piping = self.begin()
        self.assertComes(b"\\x1b]0;pwned\\x07\\x1b[31mRED\\r\n\n\\u202eend")
        why = (
            'corrupted: byte 0 of the reply is not the upper case of the one sent; it begins with "{}", expected "X\\n"'
        )
        self.assertFails(piping, ExitCode.WRONG, why.format("\\x1b]0;pwned\\x07\\x1b[31mRED\\r\\n\\n\\u202e"))
        assert self.drain.read() is None

    def test_splitCharacterIsWhole(self) -> None:
        """A character whose bytes come back in two pieces is shown once it is whole; half a character at the end."""
        self.serve()
        self.pipes()
        self.terminal()
        piping = self.begin()
        self.feed.write("a\n你".encode()[:4])
        self.assertComes(b"A\n")
        self.reactor.until(lambda: self.server.taken == 4)
        self.feed.write("你".encode()[2:] + b"\xc3")
        self.assertComes("你".encode())
        self.feed.close()
        self.assertComes(b"\\xc3")
        self.assertSucceeds(piping)
        assert self.drain.read() is None

    def test_cancellationWritesNothing(self) -> None:
        """When it is cancelled, half a character that has come isn't written."""
        self.serve()
        self.pipes()
        self.terminal()
        piping = self.begin()
        self.feed.write("a你".encode()[:3])
        self.assertComes(b"A")
        piping.cancel()
        self.failureResultOf(piping, CancelledError)
        self.feed.close()
        self.reactor.until(self.threadsHaveEnded)
        assert self.drain.read() is None

    def test_encodingIsTheTerminals(self) -> None:
        """What the encoding of standard output hasn't is escaped."""
        self.serve()
        self.files("é你".encode())
        self.terminal()
        self.patch(sys, "stdout", self.enterContext(TextIOWrapper(cast("FileIO", sys.stdout), "latin-1")))
        piping = self.begin()
        self.assertComes(b"\xe9\\u4f60")
        self.assertSucceeds(piping)

    def test_slowTerminalStopsInput(self) -> None:
        """While the terminal isn't read no more input is taken than the window and the kernel's buffers hold."""
        self.serve()
        self.files(b"\x01" * (4 * WINDOW))
        self.terminal()
        piping = self.begin()
        self.reactor.until(lambda: self.source.tell() >= WINDOW)
        self.reactor.turn(2000)
        assert not piping.called
        assert self.source.tell() <= 2 * WINDOW
        self.drain.close()
        self.assertFails(piping, ExitCode.BROKEN_PIPE, "the output can't be written")


class BoundedTests(PipeTestCase):
    """Memory is bounded, whichever side is slow."""

    def test_unreadOutputStopsInput(self) -> None:
        """While the output isn't read, no more input is taken than the window and the kernel's buffers hold."""
        self.serve()
        self.files(b"x" * (4 * WINDOW))
        (drain, sink) = os.pipe()
        self.patch(sys, "stdout", self.enterContext(FileIO(sink, "w")))
        self.drain = self.enterContext(FileIO(drain, "r"))
        piping = self.begin()
        self.reactor.until(lambda: self.source.tell() >= WINDOW)
        self.reactor.turn(2000)
        assert not piping.called
        assert self.source.tell() <= 2 * WINDOW
        os.set_blocking(drain, False)
        self.written = 0

        def drained() -> bool:
            self.written += len(self.drain.read(MIB) or b"")
            return bool(piping.called)

        self.reactor.until(drained)
        drained()
        assert self.written == 4 * WINDOW
        self.assertSucceeds(piping)

    def test_emptyDatagramDoesNotEndOutput(self) -> None:
        """An empty datagram that comes while the output isn't read is no end: the rest is written once it is read."""
        server = DatagramServer()
        port = self.reactor.listenUDP(0, server, interface="127.0.0.1")
        self.target = parseTarget(f"udp:127.0.0.1:{port.getHost().port}")
        data = b"x" * (2 * UNWRITTEN)
        self.files(data)
        self.drainedBy(*os.pipe())
        piping = self.begin()

        def isPaused() -> bool:
            before = server.taken
            self.reactor.turn(50)
            return before == server.taken >= UNWRITTEN

        self.reactor.until(isPaused)
        assert server.taken < len(data)
        server.sayNothing()
        self.reactor.turn(50)
        self.assertComes(data.upper())
        self.assertSucceeds(piping)

    def test_silentServerStopsInput(self) -> None:
        """No more than a window is sent to a server that doesn't answer."""
        self.serve(Silence)
        self.files(b"x" * (4 * WINDOW))
        piping = self.begin()
        self.reactor.until(lambda: self.server.taken >= WINDOW)
        self.reactor.turn(200)
        assert WINDOW <= self.source.tell() <= WINDOW + MIB
        piping.cancel()
        self.failureResultOf(piping, CancelledError)


class FailureTests(PipeTestCase):
    """It ends when no more can come, with all that came written."""

    def test_wrongReplyIsWritten(self) -> None:
        """A wrong reply is written too."""
        self.serve(Mirror)
        self.files(b"hello")
        why = "unchanged: the bytes came back as they were sent, so something in between answered"
        self.assertFails(self.begin(), ExitCode.WRONG, why)
        assert self.output() == b"hello"

    def test_closedEarlyIsShort(self) -> None:
        """A connection that the server closes early is short, and what came before is written."""
        self.serve(Deserter)
        self.files(b"hello")
        why = "the server closed the connection, 3 of 5 bytes came back"
        self.assertFails(self.begin(), ExitCode.SHORT, why)
        assert self.output() == b"HEL"

    def test_resetEndsIt(self) -> None:
        """A reset ends it at once, though there is more input."""
        self.serve(Resetter)
        self.pipes()
        piping = self.begin()
        self.feed.write(b"hello")
        why = "the server reset the connection, 0 of 5 bytes came back; the server may expect --tls or --proxy-protocol"
        self.assertFails(piping, ExitCode.SHORT, why)

    def test_silenceTimesOut(self) -> None:
        """A silent server is given up."""
        self.serve(Silence)
        self.pipes()
        piping = self.begin()
        self.feed.write(b"hello")
        self.reactor.until(lambda: self.server.taken == 5)
        self.reactor.advance(TIMEOUT - 0.5, step=0.5)
        assert not piping.called
        self.reactor.advance(1.5, step=0.5)
        self.assertFails(piping, ExitCode.TIMED_OUT, "timed out: nothing came back in 10 s")

    def test_silentInputIsAwaited(self) -> None:
        """Input that doesn't come is waited for without a limit."""
        self.serve()
        self.pipes()
        piping = self.begin()
        self.reactor.advance(100 * TIMEOUT, step=1)
        assert not piping.called
        self.feed.write(b"hello")
        self.feed.close()
        self.assertSucceeds(piping)

    def test_closedOutputEndsIt(self) -> None:
        """When the output's reader has exited it ends at once, though there is more input."""
        self.serve()
        self.pipes()
        piping = self.begin()
        self.drain.close()
        self.feed.write(b"hello")
        self.assertFails(piping, ExitCode.BROKEN_PIPE, "the output can't be written")

    def test_outputClosedBeforeFirstWrite(self) -> None:
        """The same holds before anything was written."""
        self.serve()
        self.pipes()
        piping = self.begin()
        self.reactor.turn()
        self.drain.close()
        self.assertFails(piping, ExitCode.BROKEN_PIPE, "the output can't be written")

    def test_outputClosedBeforeLastWrite(self) -> None:
        """The same holds when all has come back and some of it is still to be written."""
        self.serve()
        self.files(b"x" * 100_000)
        drain, sink = os.pipe()
        self.patch(sys, "stdout", self.enterContext(FileIO(sink, "w")))
        piping = self.begin()
        self.reactor.until(lambda: self.server.gone)
        self.reactor.turn()
        assert not piping.called
        os.close(drain)
        self.assertFails(piping, ExitCode.BROKEN_PIPE, "the output can't be written")

    def test_fullDiskEndsIt(self) -> None:
        """When the output can't be written it ends at once, though there is more input."""
        self.serve()
        self.pipes()
        self.patch(sys, "stdout", self.enterContext(FileIO("/dev/full", "w")))
        piping = self.begin()
        self.feed.write(b"hello")
        self.assertFails(piping, ExitCode.BROKEN_PIPE, "the output can't be written")

    def test_goneTerminalEndsIt(self) -> None:
        """When the terminal that is the output is gone it ends at once, though there is more input."""
        self.serve()
        self.pipes()
        master, slave = os.openpty()
        self.patch(sys, "stdout", self.enterContext(FileIO(slave, "w")))
        piping = self.begin()
        os.close(master)
        self.feed.write(b"hello")
        self.assertFails(piping, ExitCode.BROKEN_PIPE, "the output can't be written")

    def test_unreadableInputIsTold(self) -> None:
        """An input that can't be read isn't taken for an empty one; here it is what nohup(1) leaves."""
        self.serve()
        self.files(b"")
        self.patch(sys, "stdin", self.enterContext(FileIO(os.devnull, "w")))
        self.assertFails(self.begin(), ExitCode.USAGE, "the input can't be read: Bad file descriptor")

    def test_unreachableServerLeavesInput(self) -> None:
        """Without a server the input isn't read."""
        self.target = parseTarget(f"tcp:127.0.0.1:{self.enterContext(unheard())}")
        self.files(b"hello")
        piping = self.begin()
        self.assertFails(piping, ExitCode.UNREACHABLE, f"cannot connect to {self.target}: Connection refused")
        assert self.source.tell() == 0

    def test_resetAfterInputIsShort(self) -> None:
        """A reset after the end of the input is the server's failure."""
        self.serve(LateResetter)
        self.files(b"")
        why = "the server reset the connection, 0 of 0 bytes came back"
        self.assertFails(self.begin(), ExitCode.SHORT, why)


class DatagramServer(DatagramProtocol):
    """A server that answers each datagram, and sends an empty one when it is told to."""

    transport: IUDPTransport
    taken = 0

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Send `datagram` back in upper case."""
        self.taken += len(datagram)
        self.client = addr
        self.transport.write(datagram.upper(), addr)

    def sayNothing(self) -> None:
        """Send an empty datagram to the last client."""
        self.transport.write(b"", self.client)


class LateResetter(Server):
    """A server that resets the connection when the client ends its side."""

    def readConnectionLost(self) -> None:
        """Reset."""
        self.transport.abortConnection()


class Titler(Server):
    """A server that answers with control sequences."""

    def dataReceived(self, data: bytes) -> None:
        """Answer so."""
        self.transport.write(b"\x1b]0;pwned\x07\x1b[31mRED\r\n\n\xe2\x80\xaeend")
