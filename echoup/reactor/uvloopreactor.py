"""The reactor."""

import signal
from asyncio import set_event_loop
from collections.abc import Callable
from socket import AF_UNIX, SOCK_STREAM, SOMAXCONN, fromfd, socket
from typing import Any

import uvloop
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.error import UnsupportedAddressFamily
from twisted.internet.main import installReactor
from twisted.internet.process import reapAllProcesses
from twisted.logger import Logger
from twisted.python.failure import Failure

from echoup.reactor.clients import AdoptedStream, Connector, UNIXConnector
from echoup.reactor.ports import Port, UNIXPort
from echoup.reactor.sockets import addressOf
from echoup.reactor.stream import Stream, leaveToTwisted, passesDescriptors


class UvloopReactor(AsyncioSelectorReactor):
    """A reactor whose TCP and Unix streams are uvloop's; everything else is Twisted's, on uvloop's loop."""

    _log = Logger()

    def __init__(self) -> None:
        loop = uvloop.new_event_loop()
        set_event_loop(loop)
        loop.set_exception_handler(self._logError)
        self._opened: set[Stream | Port | UNIXPort] = set()
        super().__init__(loop)

    def startRunning(self, installSignalHandlers: bool = True) -> None:
        """Begin, and hear of child processes that end in a way that uvloop leaves alone."""
        super().startRunning(installSignalHandlers)
        if installSignalHandlers:
            # Twisted's own way is signal.set_wakeup_fd(), and there uvloop puts a descriptor of its own.
            signal.signal(signal.SIGCHLD, lambda *_: self.callFromThread(reapAllProcesses))

    def serve(self, listening: socket, makeStream: Callable[[], Any], backlog: int) -> Any:
        """Accept the connections of `listening`, whose queue is `backlog` long; return uvloop's server.

        The socket is closed with the server, but only this descriptor of it.
        """
        try:
            self._asyncioEventloop.create_server(makeStream, sock=listening, backlog=backlog).send(None)
        except StopIteration as result:
            return result.value
        raise AssertionError("uvloop had to wait for something to listen on an open socket")

    def adopt(self, connected: socket, stream: Any) -> None:
        """Have uvloop transport for `stream`, from the next turn on, what goes through the socket `connected`."""
        loop = self._asyncioEventloop
        loop.create_task(loop.connect_accepted_socket(lambda: stream, connected))

    def opened(self, stream: Any) -> None:
        """Remember an open stream, or a port that accepts."""
        self._opened.add(stream)

    def closed(self, stream: Any) -> None:
        """Forget what was opened."""
        self._opened.discard(stream)

    def listenTCP(self, port: Any, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """See `IReactorTCP`."""
        return self._listening(Port(port, factory, backlog, interface, self))

    def listenUNIX(self, address: Any, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: Any = 0) -> Any:
        """See `IReactorUNIX`."""
        return self._listening(UNIXPort(address, factory, backlog, mode, self, wantPID))

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """See `IReactorSocket`."""
        if addressFamily == AF_UNIX:
            port = UNIXPort._fromListeningDescriptor(self, fileDescriptor, factory)
            port.backlog = SOMAXCONN  # Unix sockets don't tell how long theirs is; make it no shorter
            return self._listening(port)
        self._check(addressFamily)
        return self._listening(Port._fromListeningDescriptor(self, fileDescriptor, addressFamily, factory))

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """See `IReactorSocket`."""
        self._check(addressFamily)
        connected = fromfd(fileDescriptor, addressFamily, SOCK_STREAM)
        try:
            host = addressOf(addressFamily, connected.getsockname())
            peer = addressOf(addressFamily, connected.getpeername())
            protocol = factory.buildProtocol(peer)
        except BaseException:
            connected.close()
            raise
        if protocol is None:
            connected.close()
            return None
        if passesDescriptors(protocol, addressFamily):
            return leaveToTwisted(connected, protocol, self)
        stream = AdoptedStream(self, addressFamily, host, peer)
        stream.protocol = protocol
        self.adopt(connected, stream)
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

    def getReaders(self) -> Any:
        """See `IReactorFDSet`; the streams and ports count, although uvloop does their reading."""
        return [stream for stream in self._opened if stream.isReading] + super().getReaders()

    def removeAll(self) -> Any:
        """See `IReactorFDSet`."""
        opened = list(self._opened)
        for stream in opened:
            stream.stopReading()
        self._opened.clear()
        return opened + super().removeAll()

    def _check(self, family: int) -> None:
        if family not in self._supportedAddressFamilies:
            raise UnsupportedAddressFamily(family)

    def _listening(self, port: Any) -> Any:
        port.startListening()
        return port

    def _logError(self, loop: object, context: dict[str, Any]) -> None:
        """Log what went wrong in a callback of uvloop's."""
        error = context.get("exception")
        if error:
            self._log.failure("{message}", Failure(error, type(error), error.__traceback__), message=context["message"])
        else:
            self._log.error("{message}", message=context["message"])


def install() -> None:
    """Install the reactor, for `from twisted.internet import reactor`; call it before anything else imports that."""
    installReactor(UvloopReactor())
