"""Every private name of Twisted that the server depends on.

For each this says why, where Twisted has it, and which test fails first when it changes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from socket import socket
from typing import Any, TypeVar, cast

from twisted.internet import tcp, udp, unix
from twisted.internet.abstract import FileDescriptor
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.tcp import Port
from twisted.logger import FileLogObserver, FilteringLogObserver, ILogObserver, LogEvent, Logger, LogPublisher
from twisted.python import log
from twisted.python.logfile import BaseLogFile
from twisted.python.usage import Options
from zope.interface import provider

D = TypeVar("D", bound=udp.Port)

ACCEPTS_IN_A_ROW = 100
"""Connections that one port accepts before the reactor turns to others; Twisted begins with as many."""


def limitAccepts(port: Port, free: Callable[[], int], pause: Callable[[], None]) -> None:
    """Let `port` accept no more connections in a row than there are `free` places, and `pause` it where there are none.

    `Port.doRead` accepts `numberAccepts` connections before it looks at anything else, and sets that number anew after
    each row (`twisted.internet.tcp`). Nothing public changes it, and Twisted's own limits fail (twisted#5232,
    twisted#12183). On the uvloop reactor `doRead` is never called, and this has no effect.
    Test: tests/server/admission/test_gate.py, test_portsServeExactlyTheLimit.
    """
    accept = port.doRead

    def acceptWithinLimit() -> None:
        port.numberAccepts = min(free(), ACCEPTS_IN_A_ROW)
        if port.numberAccepts:
            accept()
        else:
            pause()

    port.doRead = acceptWithinLimit  # type: ignore[method-assign]


def reportExhaustion(port: Port, refused: Callable[[], None]) -> None:
    """Call `refused` for each client that `port` can't accept when no descriptors are left, instead of logging it.

    `Port._logger` (`twisted.internet.tcp`) gets several lines for each such client, without a limit.
    Test: tests/server/admission/test_gate.py, test_clientsWithoutDescriptorCostOneLineAMinute.
    """

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if "address" in event or "acceptError" in event:
            refused()

    port._logger = Logger(observer=cast("ILogObserver", observe))


def acceptingPort(transport: object) -> Port | None:
    """Return the port that accepted the connection of `transport`; None if none did.

    No interface has it; `twisted.internet.tcp.Server`, and the streams of the uvloop reactor, keep it as `server`.
    Test: tests/server/stream/test_protocol.py, test_factoryAlonePausesItsPort.
    """
    return getattr(transport, "server", None)


@contextmanager
def silenced() -> Iterator[None]:
    r"""Drop what Twisted's ports log when they open and close.

    These lines name classes, and for a Unix port a path that nobody chose: `ArrivalFactory starting on '\x00d18ac'`.
    They go through `twisted.python.log.msg`, to `LogPublisher._publishPublisher`; no setting turns them off.
    Test: tests/server/platform/test_twistedports.py, SilencedTests.
    """
    publisher = log.theLogPublisher
    published, publisher._publishPublisher = publisher._publishPublisher, LogPublisher()
    try:
        yield
    finally:
        publisher._publishPublisher = published


def closeSilently(port: Port) -> None:
    """Let `port` log nothing when it closes, for the reason of `silenced`.

    `Port._logConnectionLostMsg` (`twisted.internet.tcp`, `twisted.internet.unix`). Test: as for `silenced`.
    """
    port._logConnectionLostMsg = lambda: None  # type: ignore[method-assign]


def leaveOpen(port: Port) -> None:
    """Let a Unix `port` close its own descriptor only, because other processes may accept at the same socket.

    Twisted does so for a TCP socket that it adopted, and shuts a Unix socket down, for every process that has it
    (`_shouldShutdown` in `twisted.internet.tcp.Port.startListening`, missing in `twisted.internet.unix.Port`).
    Test: tests/server/listening/test_inherited.py, test_closedPortLeavesTheQueue.
    """
    port._shouldShutdown = False


class _WriteThrough(tcp.Server):
    """A transport that sends at once what the kernel takes at once.

    `FileDescriptor.write` waits until the reactor finds the socket writable, which costs each message one more round of
    epoll and two of its system calls. Here only what can't be sent at once takes that way, and every error. What waits
    already is in `dataBuffer` and `_tempDataBuffer` (`twisted.internet.abstract`); if `_writeDisconnected`, no more is
    sent. Test: tests/server/platform/test_twistedports.py, WriteThroughTests.
    """

    def write(self, data: bytes) -> None:
        """Send what the kernel takes, and the rest later."""
        if self.connected and not (self.dataBuffer or self._tempDataBuffer or self._writeDisconnected):
            with suppress(OSError):
                data = data[self.socket.send(data) :]
        if data:
            super().write(data)


class TCPTransport(_WriteThrough):
    """A TCP connection."""


class UNIXTransport(_WriteThrough, unix.Server):
    """A connection over a Unix socket."""


def writeThrough(port: Port) -> None:
    """Have the connections that `port` accepts write through; the uvloop reactor's transports do that already."""
    if port.transport is tcp.Server:
        port.transport = TCPTransport
    elif port.transport is unix.Server:
        port.transport = UNIXTransport


def unsentBy(transport: Any) -> int:
    """Return the number of bytes that were written to `transport` and that the kernel hasn't taken.

    Below TLS these are bytes of its records: a record has 22 or 29 bytes more than the stream.

    No interface has the number. `FileDescriptor` (`twisted.internet.abstract`) holds the bytes in `dataBuffer`, from
    `offset` on, and in `_tempDataBuffer`, whose length is `_tempDataLen`. The uvloop reactor's streams have it as
    `unsent`; of any other transport nothing is known.
    Test: tests/server/platform/test_twistedports.py, UnsentTests.
    """
    below = getattr(transport, "transport", transport)
    if issubclass(type(below), FileDescriptor):  # not isinstance: the uvloop reactor's streams say that they are one
        size: int = len(below.dataBuffer) - below.offset + below._tempDataLen
        return size
    return getattr(below, "unsent", 0)


def isPaused(transport: object) -> bool:
    """Return whether `transport` has paused the reading, because more bytes than its buffer holds wait for the kernel.

    No interface has it; `FileDescriptor` (`twisted.internet.abstract`), and the uvloop reactor's streams, have it as
    `producerPaused`. Test: tests/server/stream/test_protocol.py, test_pausedStreamSaysSo.
    """
    return getattr(getattr(transport, "transport", transport), "producerPaused", False)


def adoptDatagramSocket(
    kind: type[D], reactor: PosixReactorBase, opened: socket, protocol: DatagramProtocol, maxPacketSize: int
) -> D:
    """Return a port of the class `kind`, not yet listening, on a duplicate of `opened`, a bound UDP socket.

    `IReactorSocket.adoptDatagramPort` makes ports of Twisted's own class only (twisted/internet/udp.py).
    Test: tests/server/datagram/test_port.py, test_everySizeIsAnswered.
    """
    port: D = kind._fromListeningDescriptor(reactor, opened.fileno(), opened.family, protocol, maxPacketSize)
    return port


def fileObserver(options: Options) -> FileLogObserver:
    """Return what twistd would log to by its own `options`; also let SIGUSR1 rotate its file, as twistd does.

    `UnixAppLogger._getLogObserver` (`twisted.scripts._twistd_unix`): twistd has no option for the format of its lines,
    and what the application has in place of that observer would have to parse `--logfile` and `--nodaemon` again.
    Test: tests/server/test_tap.py, JSONTests.
    """
    from twisted.scripts._twistd_unix import UnixAppLogger

    return cast("FileLogObserver", UnixAppLogger(options)._getLogObserver())


def exchangeFormat(options: Options, formatEvent: Callable[[LogEvent], str | None]) -> bool:
    """Let twist log by `formatEvent`, and return True; return False for the options of twistd.

    `TwistOptions` has the key `fileLogObserverFactory` (`twisted.application.twist`), and twist uses its value after it
    has made the service. Its own `--log-format` has no choice of a flat object a line.
    Test: tests/server/test_tap.py, JSONTests.
    """
    name = "fileLogObserverFactory"
    if name not in options:
        return False
    options[name] = lambda file: FileLogObserver(file, formatEvent)
    return True


def observersOf(publisher: LogPublisher) -> Iterator[ILogObserver]:
    """Yield the observers of `publisher`, those behind filters too.

    `LogPublisher._observers` and `FilteringLogObserver._observer` (`twisted.logger`): the runners add observers before
    the service can, and nothing public lists them.
    Test: tests/server/platform/test_twistedports.py, LogTests.
    """
    for each in publisher._observers:
        observer = each
        while isinstance(observer, FilteringLogObserver):
            observer = observer._observer
        yield observer


def fileOf(observer: FileLogObserver) -> object:
    """Return the file that `observer` writes to, `FileLogObserver._outFile`. Test: as for `observersOf`."""
    return observer._outFile


def setFile(observer: FileLogObserver, file: Any) -> None:
    """Let `observer` write to another `file`, which takes texts if its own did. Test: as for `observersOf`."""
    observer._outFile = file


def streamOf(file: BaseLogFile) -> FileIO:
    """Return what `file` writes to until it is rotated, `BaseLogFile._file`. Test: as for `observersOf`."""
    return cast("FileIO", file._file)
