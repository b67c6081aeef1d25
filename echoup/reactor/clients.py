"""Streams on sockets that are already connected, by a client or by the owner of an adopted socket."""

from socket import socket
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure

from echoup.reactor.descriptors import passesDescriptors
from echoup.reactor.interfaces import IStreamReactor
from echoup.reactor.sockets import placeOf
from echoup.reactor.stream import ReadingState, Stream, logPrefixOf


class AdoptedStream(Stream):
    """A connection that exists before its stream."""

    def __init__(self, reactor: IStreamReactor, family: int, host: Any, peer: Any) -> None:
        super().__init__(reactor, family)
        self._host = host
        self._peer = peer
        self._place = placeOf(host)

    def getHost(self) -> Any:
        """Return this end's address."""
        return self._host


class ClientStream(AdoptedStream):
    """A connection that a client made.

    Its protocol gets no data in the first turn, because ClientCreator passes the protocol to its caller in the next
    turn, with `callLater(0, ...)`.
    """

    _likeness = (tcp.Client, unix.Client)
    _tlsClientDefault = True

    def __init__(self, client: "_UvloopClient") -> None:
        super().__init__(client.reactor, client.addressFamily, client.getHost(), client.getPeer())
        self._client = client
        self.addr = client.addr  # as the caller gave it, before its name was resolved; twisted.internet.test reads it
        self.connector = client.connector
        self._reading = ReadingState.RESUMING
        self._heldBack = ()

    def begin(self) -> None:
        """Connect the protocol that the factory builds, in this turn: ClientCreator's caller expects a transport."""
        protocol = self.connector.buildProtocol(self._peer)
        if passesDescriptors(protocol, self._family):
            self.connector = None
            self._client.carryOn(self.getHandle().dup(), protocol)
            self._uv.abort()
            return
        self.connector.transport = self
        if protocol is None:
            self.loseConnection()
        else:
            self.protocol = protocol
            super().begin()
            self.reactor.callLater(0, self._deliver)

    def ended(self, reason: Failure) -> None:
        """Tell the connector, which tells its factory, unless the client keeps the connection."""
        if self.connector is None:
            return
        if self.connector.transport is self:
            self.connector.connectionLost(reason)
        else:
            self.connector.connectionFailed(reason)

    def logPrefix(self) -> str:
        """Return the prefix of the protocol's log lines."""
        return f"{logPrefixOf(self.protocol)},client"

    def __repr__(self) -> str:
        return f"<{self.__class__} to {self.addr} at {id(self):x}>"


class _UvloopClient(tcp.BaseClient):
    """Connects, then hands the connection to a stream, or keeps it to pass descriptors."""

    reactor: IStreamReactor
    connector: Any
    addr: Any
    _stream: ClientStream | None = None

    def _connectDone(self) -> None:  # private; fails first: test_buildProtocolErrorCloses
        self._stream = ClientStream(self)
        self.reactor.adopt(self.socket, self._stream)

    def failIfNotConnected(self, err: Exception) -> None:
        """Give up, even if the connection is made and only the stream has not begun."""
        if self._stream is None:
            super().failIfNotConnected(err)
        else:
            self._stream.connectionLost(Failure(err))

    def carryOn(self, connected: socket, protocol: IProtocol) -> None:
        """Become the transport of `protocol`, which passes descriptors, on the socket `connected`."""
        self.socket, self.fileno = connected, connected.fileno
        self.protocol = protocol
        self.connected = True
        self.logstr = f"{logPrefixOf(protocol)},client"
        self.startReading()
        protocol.makeConnection(self)


class Client(_UvloopClient, tcp.Client):
    """A client of a TCP port."""


class UNIXClient(_UvloopClient, unix.Client):
    """A client of a Unix socket."""


class Connector(tcp.Connector):
    """Connects to a TCP port."""

    def _makeTransport(self) -> Any:  # private; fails first: test_buildProtocolErrorCloses
        return Client(self.host, self.port, self.bindAddress, self, self.reactor)


class UNIXConnector(unix.Connector):
    """Connects to a Unix socket."""

    def _makeTransport(self) -> Any:  # private; fails first: test_buildProtocolErrorCloses
        return UNIXClient(self.address, self, self.reactor, self.checkPID)
