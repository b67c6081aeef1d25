"""What the server changes in Twisted: its transports write at once, and its log may be written elsewhere."""

import contextlib  # trial would take a global `suppress` for its own
from errno import EAGAIN, EPIPE
from io import FileIO, StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet import tcp, unix
from twisted.internet.interfaces import ITCPTransport, IUNIXTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import FileLogObserver, FilteringLogObserver, Logger, LogPublisher, capturedLogs, formatEvent
from twisted.python import log
from twisted.python.logfile import LogFile
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyClass

from echoup.server.platform.twistedports import (
    TCPTransport,
    UNIXTransport,
    fileOf,
    observersOf,
    setFile,
    silenced,
    streamOf,
    unsentBy,
    writeThrough,
)


class SilencedTests(SynchronousTestCase):
    """What Twisted's ports log can be dropped, and nothing else is."""

    def test_linesMeanwhileAreDropped(self) -> None:
        """What goes through `log.msg` is dropped; our own loggers, and lines before and after, are not affected."""
        with capturedLogs() as events:
            log.msg("before")
            with contextlib.suppress(ValueError), silenced():
                log.msg("meanwhile")
                Logger().info("ours")
                raise ValueError
            log.msg("after")
        assert [formatEvent(event) for event in events] == ["before", "ours", "after"]


class FakeSocket:
    """A socket that takes `room` bytes, or fails with `error`."""

    def __init__(self, room: int, error: int = EAGAIN) -> None:
        self.room = room
        self.error = error
        self.taken = b""

    def send(self, data: bytes) -> int:
        """Take what there is room for."""
        if not self.room:
            raise OSError(self.error, "no room")
        part = bytes(data[: self.room])
        self.room -= len(part)
        self.taken += part
        return len(part)

    def setblocking(self, flag: bool) -> None:
        """Do nothing."""

    def fileno(self) -> int:
        """Return no descriptor of anything."""
        return -1


class Watch:
    """What a transport needs of a reactor: to be told what it waits for."""

    def __init__(self) -> None:
        self.writers: list[object] = []

    def addReader(self, reader: object) -> None:
        """Do nothing."""

    def addWriter(self, writer: object) -> None:
        """Note that `writer` wants to write."""
        self.writers.append(writer)

    def removeWriter(self, writer: object) -> None:
        """Forget it."""
        self.writers.clear()


class TransportTestCase(SynchronousTestCase):
    """A test with a transport."""

    def transport(self, room: int, error: int = EAGAIN) -> tuple[TCPTransport, FakeSocket, Watch]:
        """Return a transport whose kernel has room for `room` bytes, its socket, and its reactor."""
        socket, reactor = FakeSocket(room, error), Watch()
        transport = TCPTransport(socket, Protocol(), ("192.0.2.1", 1), None, 0, reactor)  # type: ignore[arg-type]
        return transport, socket, reactor


class WriteThroughTests(TransportTestCase):
    """`write` asks the kernel first."""

    def test_transportsAreWhatTwistedsAre(self) -> None:
        """The transports are what Twisted's are."""
        verifyClass(ITCPTransport, TCPTransport)
        verifyClass(IUNIXTransport, UNIXTransport)

    def test_allThatTheKernelTakesIsSentAtOnce(self) -> None:
        """What the kernel takes is gone, and nothing waits for the reactor."""
        transport, socket, reactor = self.transport(100)
        transport.write(b"hello")
        assert (socket.taken, reactor.writers) == (b"hello", [])

    def test_restWaitsInOrder(self) -> None:
        """What it doesn't take waits for the reactor, and so does all that comes after it, in order."""
        transport, socket, reactor = self.transport(3)
        transport.write(b"hello")
        socket.room = 100
        transport.write(b" world")
        assert socket.taken == b"hel"
        assert reactor.writers
        transport.doWrite()
        assert (socket.taken, reactor.writers) == (b"hello world", [])
        transport.write(b"!")
        assert socket.taken == b"hello world!"

    def test_errorReachesTheReactor(self) -> None:
        """An error isn't lost: the reactor meets it again, and ends the connection then."""
        transport, _, reactor = self.transport(0, EPIPE)
        transport.write(b"hello")
        assert reactor.writers
        assert transport.doWrite() is not None

    def test_writeAfterTheEndIsDropped(self) -> None:
        """What is written after the end of our side, or of the connection, is dropped."""
        for attribute, value in (("_writeDisconnected", True), ("connected", 0)):
            transport, socket, reactor = self.transport(100)
            setattr(transport, attribute, value)
            transport.write(b"hello")
            assert (socket.taken, reactor.writers) == (b"", [])

    def test_onlyTwistedsTransportsAreReplaced(self) -> None:
        """Twisted's ports make such transports; a port with transports of its own keeps them."""

        class Own(tcp.Server):
            """Another program's."""

        port = tcp.Port(0, Factory(), reactor=MemoryReactorClock())
        for before, after in ((tcp.Server, TCPTransport), (unix.Server, UNIXTransport), (Own, Own)):
            port.transport = before
            writeThrough(port)
            assert port.transport is after


class UnsentTests(TransportTestCase):
    """What waits in a transport is known."""

    def test_unsentBytesAreCounted(self) -> None:
        """What the kernel hasn't taken is counted, in whichever of its buffers the transport has it."""
        transport, socket, _ = self.transport(3)
        found = [unsentBy(transport)]
        transport.write(b"hello")
        found.append(unsentBy(transport))
        transport.write(b" world")
        found.append(unsentBy(transport))
        socket.room = 4
        transport.doWrite()
        found.append(unsentBy(transport))
        transport.write(b"!")
        found.append(unsentBy(transport))
        socket.room = 100
        transport.doWrite()
        assert [*found, unsentBy(transport)] == [0, 2, 8, 4, 5, 0]
        assert socket.taken == b"hello world!"

    def test_otherTransportsSayIt(self) -> None:
        """A transport of another kind has the number as `unsent`; of one without it nothing is known."""
        for unsent in (3, 0):
            transport = StringTransport()
            if unsent:
                vars(transport)["unsent"] = unsent
            assert unsentBy(transport) == unsent


class LogTests(SynchronousTestCase):
    """What writes the log is found, and can be told to write elsewhere."""

    def test_observersAreFound(self) -> None:
        """The observers of a publisher are found, one behind two filters as well."""
        plain, filtered = (FileLogObserver(StringIO(), str) for _ in range(2))
        filters = FilteringLogObserver(FilteringLogObserver(filtered, []), [])
        assert [*observersOf(LogPublisher(plain, filters))] == [plain, filtered]

    def test_streamOfALogFile(self) -> None:
        """What a log file writes to is its stream, which is unbuffered."""
        with TemporaryDirectory() as folder:
            file = LogFile("log", folder)
            self.addCleanup(file.close)
            stream = streamOf(file)
            assert isinstance(stream, FileIO)
            stream.write(b"hello")
            assert Path(file.path).read_text() == "hello"

    def test_fileIsExchanged(self) -> None:
        """An observer's file can be exchanged."""
        before, after = StringIO(), StringIO()
        observer = FileLogObserver(before, lambda event: event["text"])
        assert fileOf(observer) is before
        setFile(observer, after)
        observer({"text": "hello"})
        assert (before.getvalue(), after.getvalue()) == ("", "hello")
