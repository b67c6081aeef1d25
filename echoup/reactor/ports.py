"""Ports whose connections uvloop accepts."""

from functools import partial
from socket import IPPROTO_TCP, TCP_INFO
from struct import unpack_from
from typing import Any

from twisted.internet import tcp, unix

from echoup.reactor.descriptors import leaveToTwisted, passesDescriptors
from echoup.reactor.interfaces import IStreamReactor
from echoup.reactor.sockets import addressOf, placeOf
from echoup.reactor.stream import Stream

_QUEUE_LIMIT = 28  # of tcpi_sacked, 32 bits, in tcp_info (linux/tcp.h): the limit of a listening socket's queue


class ServerStream(Stream):
    """A connection that a port accepted."""

    def __init__(self, port: "Port") -> None:
        super().__init__(port.reactor, port.addressFamily)
        self.server = port  # as in Twisted's transports
        self._place = port.place
        self.sessionno = port.sessionno
        port.sessionno += 1

    def begin(self) -> None:
        """Connect the protocol that the port's factory builds; abort the connection if it builds none."""
        name = self._uv.get_extra_info("peername")
        if name is None:
            self._uv.abort()  # it was reset after the accept: the kernel no longer has the peer's address
            return
        self._peer = addressOf(self._family, name)
        protocol = self.server.factory.buildProtocol(self._peer)
        if protocol is None:
            self._uv.abort()
        elif passesDescriptors(protocol, self._family):
            leaveToTwisted(self.getHandle().dup(), protocol, self.reactor)
            self._uv.abort()
        else:
            self.protocol = protocol
            protocol.makeConnection(self)


class Port(tcp.Port):
    """A port whose connections uvloop accepts, one per turn of its loop, while the port reads."""

    reactor: IStreamReactor
    factory: Any
    isWriting = False
    place: Any = None  # the port's number or path, for log lines
    _server: Any = None  # uvloop's, while this port reads

    @property
    def isReading(self) -> bool:
        """Whether this port accepts connections."""
        return self._server is not None

    def startReading(self) -> None:
        """Accept connections."""
        if self._server is None:
            self.place = placeOf(self.getHost())
            if self.backlog is None:  # an adopted TCP port; uvloop calls listen() again, which sets the queue's limit
                self.backlog = unpack_from("I", self.socket.getsockopt(IPPROTO_TCP, TCP_INFO, 64), _QUEUE_LIMIT)[0]
            self._server = self.reactor.serve(self.socket.dup(), partial(ServerStream, self), self.backlog)
            self.reactor.opened(self)

    def stopReading(self) -> None:
        """Stop accepting; new connections wait in the kernel's queue."""
        if self._server is not None:
            self.reactor.closed(self)
            self._server.close()
            self._server = None


class UNIXPort(Port, unix.Port):
    """A port at a Unix socket."""
