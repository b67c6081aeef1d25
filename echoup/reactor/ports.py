"""Ports whose connections uvloop accepts."""

from os import fsdecode
from socket import AF_UNIX, IPPROTO_TCP, TCP_INFO
from struct import unpack_from
from typing import Any

from twisted.internet import tcp, unix

from echoup.reactor.interfaces import IStreamReactor
from echoup.reactor.sockets import addressOf
from echoup.reactor.stream import Stream, leaveToTwisted, passesDescriptors

_QUEUE_LIMIT = 28
"""Where tcp_info (linux/tcp.h) has a listening socket's limit of its accept queue: tcpi_sacked, 32 bits."""


class ServerStream(Stream):
    """A connection that a port accepted."""

    def __init__(self, port: "_UvloopPort") -> None:
        super().__init__(port.reactor, port.addressFamily)
        self.server = port  # the name that Twisted's transports have for it
        self._place = port.place
        self.sessionno = port.sessionno
        port.sessionno += 1

    def begin(self) -> None:
        """Connect what the port's factory builds."""
        name = self._uv.get_extra_info("peername")
        if name is None:
            self._uv.abort()  # it was reset since, and the kernel has forgotten the peer's address
            return
        peer = addressOf(self._family, name)
        self._origin = self._place if self._family == AF_UNIX else peer.host
        protocol = self.server.factory.buildProtocol(peer)
        if protocol is None:
            self._uv.abort()
        elif passesDescriptors(protocol, self._family):
            connected = self.getHandle().dup()
            self._uv.abort()
            leaveToTwisted(connected, protocol, self.reactor)
        else:
            self.protocol = protocol
            protocol.makeConnection(self)


class _UvloopPort(tcp.Port):
    """Has uvloop accept, one connection in each turn of its loop, while this port reads."""

    reactor: IStreamReactor
    factory: Any
    _server: Any = None  # uvloop's, while this port reads

    @property
    def isReading(self) -> bool:
        """Whether this port accepts connections."""
        return self._server is not None

    def startReading(self) -> None:
        """Accept connections."""
        if self._server is None:
            self._server = self.reactor.serve(self.socket.dup(), self._accepted, self._queueLimit())
            self.reactor.opened(self)

    def stopReading(self) -> None:
        """Leave connections in the kernel's queue."""
        if self._server is not None:
            self.reactor.closed(self)
            self._server.close()
            self._server = None

    def _accepted(self) -> ServerStream:
        return ServerStream(self)

    @property
    def place(self) -> Any:
        """The port's number or path, for log lines."""
        return self._realPortNumber  # private; fails first: test_namesOfAConnection

    def _queueLimit(self) -> int:
        """Return the limit of the accept queue: uvloop calls listen() again, which sets it."""
        raise NotImplementedError


class Port(_UvloopPort):
    """A TCP port."""

    def _queueLimit(self) -> int:
        information = self.socket.getsockopt(IPPROTO_TCP, TCP_INFO, 64)
        limit: int = unpack_from("I", information, _QUEUE_LIMIT)[0]
        return limit


class UNIXPort(_UvloopPort, unix.Port):
    """A port in the file system."""

    @property
    def place(self) -> Any:
        """The port's path, for log lines."""
        return fsdecode(self._bindPath)  # private; fails first: test_addressesOfBothEnds

    def _queueLimit(self) -> int:
        return self.backlog
