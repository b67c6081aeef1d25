"""Connections that begin with a connected socket: our clients' (Twisted connects), and adopted ones."""

from os import fsdecode
from socket import AF_UNIX, socket
from typing import TYPE_CHECKING, Any

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure

from echoup.reactor.stream import Stream, logPrefixOf, passesDescriptors

if TYPE_CHECKING:
    from echoup.reactor.uvloopreactor import UvloopReactor


class AdoptedStream(Stream):
    """A connection that was made before it came to us."""

    sessionno = 0

    def __init__(self, reactor: "UvloopReactor", family: int, host: Any, peer: Any) -> None:
        super().__init__(reactor, family)
        self._host = host
        self._peer = peer

    def begin(self) -> None:
        """Connect the protocol."""
        self.protocol.makeConnection(self)

    def getHost(self) -> Any:
        """Return this end's address."""
        return self._host

    def getPeer(self) -> Any:
        """Return the other end's address; the kernel forgets it when that end resets the connection."""
        return self._peer

    @property
    def logstr(self) -> str:
        """What log lines of the protocol begin with."""
        place = self._place if self._family == AF_UNIX else self._peer.host
        return f"{logPrefixOf(self.protocol)},{self.sessionno},{place}"

    def __repr__(self) -> str:
        return f"<{logPrefixOf(self.protocol)} #{self.sessionno} on {self._place}>"

    @property
    def _place(self) -> Any:
        return fsdecode(self._host.name or b"") if self._family == AF_UNIX else self._host.port


class ClientStream(AdoptedStream):
    """A connection that one of our clients made."""

    _tlsClientDefault = True
    _isBuilt = False
    _isFirstTurn = True

    def __init__(self, client: "_ConnectedForUvloop") -> None:
        super().__init__(client.reactor, client.addressFamily, client.getHost(), client.getPeer())
        self._client = client
        self.connector = client.connector

    def begin(self) -> None:
        """Connect what the connector's factory builds: whoever hears of a protocol expects it to have a transport."""
        protocol = self.connector.buildProtocol(self._peer)
        self._isBuilt = True
        if protocol is not None and passesDescriptors(protocol, self._family):
            self.connector = None
            connected = self.getHandle().dup()
            self._uv.abort()
            self._client.carryOn(connected, protocol)
            return
        self.connector.transport = self
        if protocol is None:
            self.loseConnection()
        else:
            self.protocol = protocol
            protocol.makeConnection(self)
            self.reactor.callLater(0, self._endFirstTurn)

    def data_received(self, data: bytes) -> None:
        """Bytes came in; in the first turn they are held back.

        Who hears of the protocol by way of `callLater(0, ...)`, as from ClientCreator, hears of it before it gets data.
        """
        if self._isFirstTurn:
            self._holdBack(data)
        else:
            super().data_received(data)

    def eof_received(self) -> bool:
        """The peer has sent its last byte; in the first turn that is held back."""
        if self._isFirstTurn:
            self._holdBack(b"")
            return True
        return super().eof_received()

    def _endFirstTurn(self) -> None:
        self._isFirstTurn = False
        self._deliver()

    def ended(self, reason: Failure) -> None:
        """Tell the connector, if it is still ours, and it tells its factory."""
        if self.connector is None:
            return
        if self._isBuilt:
            self.connector.connectionLost(reason)
        else:
            self.connector.connectionFailed(reason)

    @property
    def addr(self) -> Any:
        """What was to be connected to, before its name was resolved."""
        return self._client.addr

    @property
    def logstr(self) -> str:
        """What log lines of the protocol begin with."""
        return f"{logPrefixOf(self.protocol)},client"

    def __repr__(self) -> str:
        return f"<{type(self)} to {self.addr} at {id(self):x}>"


class _ConnectedForUvloop(tcp.BaseClient):
    """Connects, and then gives way to a stream."""

    reactor: "UvloopReactor"
    connector: Any
    addr: Any
    _stream: ClientStream | None = None

    def _connectDone(self) -> None:
        self._stream = ClientStream(self)
        self.reactor.adopt(self.socket, self._stream)

    def failIfNotConnected(self, err: Exception) -> None:
        """Give up, also between the connection and the stream's beginning."""
        if self._stream is None:
            super().failIfNotConnected(err)
        else:
            self._stream.connectionLost(Failure(err))

    def carryOn(self, connected: socket, protocol: IProtocol) -> None:
        """Be the transport of `protocol`, which needs Twisted's own, through the socket `connected`."""
        self.socket, self.fileno = connected, connected.fileno
        self.protocol = protocol
        self.connected = True
        self.logstr = f"{logPrefixOf(protocol)},client"
        self.startReading()
        protocol.makeConnection(self)


class Client(_ConnectedForUvloop, tcp.Client):
    """A client of a TCP port."""


class UNIXClient(_ConnectedForUvloop, unix.Client):
    """A client of a port in the file system."""


class Connector(tcp.Connector):
    """Connects to a TCP port."""

    def _makeTransport(self) -> Any:
        return Client(self.host, self.port, self.bindAddress, self, self.reactor)


class UNIXConnector(unix.Connector):
    """Connects to a port in the file system."""

    def _makeTransport(self) -> Any:
        return UNIXClient(self.address, self, self.reactor, self.checkPID)
