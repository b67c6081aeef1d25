"""The reactor, and `install`, which makes it the reactor of a program."""

import signal
from asyncio import set_event_loop
from collections.abc import Callable
from math import ceil
from socket import AF_UNIX, SOCK_STREAM, SOMAXCONN, fromfd, socket
from typing import Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.error import ConnectionFdescWentAway, UnsupportedAddressFamily
from twisted.internet.main import CONNECTION_LOST, installReactor
from twisted.internet.process import reapAllProcesses
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from echoup.reactor.clients import AdoptedStream, Connector, UNIXConnector
from echoup.reactor.descriptors import leaveToTwisted, passesDescriptors
from echoup.reactor.interfaces import IStreamReactor
from echoup.reactor.loop import EpollLoop
from echoup.reactor.ports import Port, UNIXPort
from echoup.reactor.sockets import addressOf
from echoup.reactor.stream import Stream


@implementer(IStreamReactor)
class UvloopReactor(AsyncioSelectorReactor):
    """A reactor whose TCP and Unix streams are uvloop's; everything else is Twisted's, on uvloop's loop.

    Comments name the attributes that are private to Twisted, and the test that fails first without each.
    """

    _log = Logger()

    def __init__(self) -> None:
        loop = EpollLoop()
        set_event_loop(loop)
        loop.set_exception_handler(self._logError)
        self._opened: dict[Stream | Port, None] = {}
        self._unsent: list[Stream] = []
        super().__init__(loop)

    def startRunning(self, installSignalHandlers: bool = True) -> None:
        """Start, and use a handler of SIGCHLD to reap child processes.

        Twisted uses signal.set_wakeup_fd() for this, which uvloop sets to a descriptor of its own.
        """
        super().startRunning(installSignalHandlers)
        if installSignalHandlers:
            signal.signal(signal.SIGCHLD, lambda *_: self.callFromThread(reapAllProcesses))

    def timeout(self) -> float | None:
        """Return how long the loop may sleep, in seconds, rounded up to whole milliseconds.

        libuv counts in milliseconds. uvloop rounds to the nearest one, so it would not sleep at all before a call that
        is due in less than half a millisecond.
        """
        timeout = super().timeout()
        return timeout and ceil(timeout * 1000) / 1000

    def serve(self, listening: socket, makeStream: Callable[[], Any], backlog: int) -> Any:
        """See `IStreamReactor`."""
        try:
            self._asyncioEventloop.create_server(makeStream, sock=listening, backlog=backlog).send(None)
        except StopIteration as result:
            return result.value
        raise AssertionError("uvloop had to wait before it listened on an open socket")

    def adopt(self, connected: socket, stream: Any) -> None:
        """See `IStreamReactor`."""
        loop = self._asyncioEventloop  # private; fails first: test_adoptedConnectionIsServed
        loop.create_task(loop.connect_accepted_socket(lambda: stream, connected))

    def flushLater(self, stream: Any) -> None:
        """See `IStreamReactor`."""
        if not self._unsent:  # one call for all streams of a turn
            self._asyncioEventloop.call_soon(self._flushAll)
        self._unsent.append(stream)

    def opened(self, stream: Any) -> None:
        """See `IStreamReactor`."""
        self._opened[stream] = None

    def closed(self, stream: Any) -> None:
        """See `IStreamReactor`."""
        self._opened.pop(stream, None)

    def listenTCP(self, port: Any, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """See `IReactorTCP`."""
        return self._listening(Port(port, factory, backlog, interface, self))

    def listenUNIX(self, address: Any, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: Any = 0) -> Any:
        """See `IReactorUNIX`."""
        return self._listening(UNIXPort(address, factory, backlog, mode, self, wantPID))

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """See `IReactorSocket`."""
        if addressFamily == AF_UNIX:  # _fromListeningDescriptor is private; fails first: test_adoptedPortAccepts
            port = UNIXPort._fromListeningDescriptor(self, fileDescriptor, factory)
            port.backlog = SOMAXCONN  # a Unix socket doesn't report the limit of its queue: don't lower it
            return self._listening(port)
        self._check(addressFamily)
        return self._listening(Port._fromListeningDescriptor(self, fileDescriptor, addressFamily, factory))

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """See `IReactorSocket`."""
        self._check(addressFamily)
        with fromfd(fileDescriptor, addressFamily, SOCK_STREAM) as connected:
            host = addressOf(addressFamily, connected.getsockname())
            peer = addressOf(addressFamily, connected.getpeername())
            protocol = factory.buildProtocol(peer)
            if protocol is None:
                return None
            if passesDescriptors(protocol, addressFamily):
                return leaveToTwisted(connected.dup(), protocol, self)
            stream = AdoptedStream(self, addressFamily, host, peer)
            stream.protocol = protocol
            self.adopt(connected.dup(), stream)
            return stream

    def connectTCP(self, host: Any, port: Any, factory: Any, timeout: float = 30, bindAddress: Any = None) -> Any:
        """See `IReactorTCP`."""
        connector = Connector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    def connectUNIX(self, address: Any, factory: Any, timeout: float = 30, checkPID: Any = 0) -> Any:
        """See `IReactorUNIX`."""
        connector = UNIXConnector(address, factory, timeout, self, checkPID)
        connector.connect()
        return connector

    def addReader(self, reader: Any) -> None:
        """See `IReactorFDSet`; a stream or a port reads again."""
        if isinstance(reader, Stream | Port):
            reader.startReading()
        else:
            super().addReader(reader)

    def removeReader(self, reader: Any) -> None:
        """See `IReactorFDSet`; a stream or a port stops reading."""
        if isinstance(reader, Stream | Port):
            reader.stopReading()
        else:
            super().removeReader(reader)

    def addWriter(self, writer: Any) -> None:
        """See `IReactorFDSet`; uvloop sends what a stream has without being asked."""
        if not isinstance(writer, Stream):
            super().addWriter(writer)

    def getReaders(self) -> Any:
        """See `IReactorFDSet`; streams and ports count, although uvloop reads for them."""
        return [stream for stream in self._opened if stream.isReading] + super().getReaders()

    def getWriters(self) -> Any:
        """See `IReactorFDSet`; streams count, although uvloop writes for them."""
        return [stream for stream in self._opened if stream.isWriting] + super().getWriters()

    def removeAll(self) -> Any:
        """See `IReactorFDSet`; a stream that neither reads nor writes doesn't count, and stays."""
        removed = {stream for stream in self._opened if stream.isReading or stream.isWriting}
        for stream in removed:
            stream.stopReading()
            self.closed(stream)
        return [*removed, *super().removeAll()]

    def disconnectAll(self) -> None:
        """Lose all connections at the end of the program, including those that neither read nor write."""
        super().disconnectAll()
        for stream in list(self._opened):
            stream.connectionLost(Failure(CONNECTION_LOST))

    def _flushAll(self) -> None:
        streams, self._unsent = self._unsent, []
        for stream in streams:
            stream.flush()

    def _check(self, family: int) -> None:
        if family not in self._supportedAddressFamilies:  # private; fails first: test_otherFamiliesAreRefused
            raise UnsupportedAddressFamily(family)

    def _readOrWrite(self, selectable: Any, read: bool) -> None:  # private; fails first: test_twistedsTransportsEnd
        """Let a reader or a writer act, and disconnect it for whatever it returns or raises.

        Twisted's asyncioreactor does so only for an Exception; KeyboardInterrupt would end uvloop's loop.
        """
        act = selectable.doRead if read else selectable.doWrite
        why = ConnectionFdescWentAway() if selectable.fileno() == -1 else self._attempt(selectable, act)
        if why:
            self._attempt(selectable, self._disconnectSelectable, selectable, why, read)

    def _attempt(self, selectable: Any, call: Callable[..., Any], *arguments: object) -> Any:
        """Return what `call` returns, or what it raises, which is logged."""
        try:
            return call(*arguments)
        except BaseException as error:
            self._log.failure("{selectable!r} failed", selectable=selectable)
            return error

    def _listening(self, port: Any) -> Any:
        port.startListening()
        return port

    def _logError(self, loop: object, context: dict[str, Any]) -> None:
        """Log an error in one of uvloop's callbacks."""
        error = context.get("exception")
        if error:
            self._log.failure("{message}", Failure(error), message=context["message"])
        else:
            self._log.error("{message}", message=context["message"])


def install() -> None:
    """Make this `twisted.internet.reactor`; raise ReactorAlreadyInstalledError if that has been imported."""
    installReactor(UvloopReactor())
