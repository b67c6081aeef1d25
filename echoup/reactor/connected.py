"""Connections that begin with a connected socket: our clients' (Twisted connects), and adopted ones."""

from os import fsdecode
from socket import AF_UNIX
from typing import TYPE_CHECKING, Any

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from echoup.reactor.stream import Stream, logPrefixOf, passesDescriptors

if TYPE_CHECKING:
    from echoup.reactor.uvloopreactor import UvloopReactor


class AdoptedStream(Stream):
    """A connection that was made before it came to us."""

    sessionno = 0

    def __init__(self, reactor: "UvloopReactor", family: int, protocol: IProtocol, host: Any, peer: Any) -> None:
        super().__init__(reactor, family)
        self.protocol = protocol
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

    def __init__(self, client: "_ConnectedForUvloop", protocol: IProtocol) -> None:
        super().__init__(client.reactor, client.addressFamily, protocol, client.getHost(), client.getPeer())
        self._client = client
        self.connector = client.connector
        self.connector.transport = self

    def ended(self, reason: Failure) -> None:
        """Tell the connector, which tells its factory."""
        self.connector.connectionLost(reason)

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

    def _connectDone(self) -> None:
        self._begin(self.connector.buildProtocol(self.getPeer()))

    def _begin(self, protocol: IProtocol | None) -> None:
        stream = ClientStream(self, Protocol() if protocol is None else protocol)
        if protocol is None:
            stream.loseConnection()
        self.reactor.adopt(self.socket, stream)


class Client(_ConnectedForUvloop, tcp.Client):
    """A client of a TCP port."""


class UNIXClient(_ConnectedForUvloop, unix.Client):
    """A client of a port in the file system."""

    def _begin(self, protocol: IProtocol | None) -> None:
        if protocol is not None and passesDescriptors(protocol, AF_UNIX):
            self.protocol = protocol
            self.connected = True
            self.logstr = f"{logPrefixOf(protocol)},client"
            self.startReading()
            protocol.makeConnection(self)
        else:
            super()._begin(protocol)


class Connector(tcp.Connector):
    """Connects to a TCP port."""

    def _makeTransport(self) -> Any:
        return Client(self.host, self.port, self.bindAddress, self, self.reactor)


class UNIXConnector(unix.Connector):
    """Connects to a port in the file system."""

    def _makeTransport(self) -> Any:
        return UNIXClient(self.address, self, self.reactor, self.checkPID)
