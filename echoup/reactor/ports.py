"""Ports of which uvloop accepts the connections."""

from os import fsdecode
from socket import AF_UNIX, IPPROTO_TCP, TCP_INFO
from struct import unpack_from
from typing import TYPE_CHECKING, Any

from twisted.internet import tcp, unix

from echoup.reactor.sockets import addressOf
from echoup.reactor.stream import Stream, leaveToTwisted, logPrefixOf, passesDescriptors

if TYPE_CHECKING:
    from echoup.reactor.uvloopreactor import UvloopReactor

_LONGEST_QUEUE = 28
"""Where in tcp_info (linux/tcp.h) a listening socket says how long its queue may be: tcpi_sacked, 32 bits."""


class ServerStream(Stream):
    """A connection that a port accepted."""

    _origin: Any = "-"

    def __init__(self, port: "_AcceptedByUvloop") -> None:
        super().__init__(port.reactor, port.addressFamily)
        self._port = port
        self.sessionno = port.sessionno
        port.sessionno += 1

    def begin(self) -> None:
        """Connect what the port's factory builds."""
        name = self._uv.get_extra_info("peername")
        if name is None:
            self._uv.abort()  # it was reset before we came to it, and nobody knows any more who it was
            return
        peer = addressOf(self._family, name)
        self._origin = self._port.place if self._family == AF_UNIX else peer.host
        protocol = self._port.factory.buildProtocol(peer)
        if protocol is None:
            self._uv.abort()
        elif passesDescriptors(protocol, self._family):
            connected = self.getHandle().dup()
            self._uv.abort()
            leaveToTwisted(connected, protocol, self.reactor)
        else:
            self.protocol = protocol
            protocol.makeConnection(self)

    @property
    def logstr(self) -> str:
        """What log lines of the protocol begin with."""
        return f"{logPrefixOf(self.protocol)},{self.sessionno},{self._origin}"

    def __repr__(self) -> str:
        return f"<{logPrefixOf(self.protocol)} #{self.sessionno} on {self._port.place}>"


class _AcceptedByUvloop(tcp.Port):
    """Has uvloop accept, one connection in each turn of its loop, while this port reads."""

    reactor: "UvloopReactor"
    factory: Any
    _server: Any = None

    @property
    def isReading(self) -> bool:
        """Does this port accept connections?"""
        return self._server is not None

    def startReading(self) -> None:
        """Accept connections from now on."""
        if self._server is None:
            self._server = self.reactor.serve(self.socket.dup(), self._accepted, self._longestQueue())
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
        """Where this port is, for log lines: a number or a path."""
        return self._realPortNumber

    def _longestQueue(self) -> int:
        """Uvloop listens once more, which sets the length of the queue; return the one that it has."""
        raise NotImplementedError


class Port(_AcceptedByUvloop):
    """A TCP port."""

    def _longestQueue(self) -> int:
        information = self.socket.getsockopt(IPPROTO_TCP, TCP_INFO, 64)
        longest: int = unpack_from("I", information, _LONGEST_QUEUE)[0]
        return longest


class UNIXPort(_AcceptedByUvloop, unix.Port):
    """A port in the file system."""

    @property
    def place(self) -> Any:
        """The path."""
        return fsdecode(self._bindPath)

    def _longestQueue(self) -> int:
        return self.backlog
