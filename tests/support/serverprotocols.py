"""Protocols of correct and broken servers, for the client's unit tests."""

import ssl

from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from echoup.tls.transport import TLSTransport


@implementer(IHalfCloseableProtocol)
class Server(Protocol):
    """A server that answers in upper case."""

    transport: ITCPTransport
    taken = 0
    gone = False

    def dataReceived(self, data: bytes) -> None:
        """Send `data` back in upper case."""
        self.taken += len(data)
        self.transport.write(data.upper())

    def readConnectionLost(self) -> None:
        """Close, once everything is sent."""
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Do nothing: the connection is closed as a whole."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Record the end."""
        self.gone = True


class Silence(Server):
    """A server that reads everything and does not answer."""

    def dataReceived(self, data: bytes) -> None:
        """Count the bytes."""
        self.taken += len(data)


class Mirror(Server):
    """A server that echoes without uppercasing."""

    def dataReceived(self, data: bytes) -> None:
        """Send `data` back unchanged."""
        self.transport.write(data)


class Deserter(Server):
    """A server that closes in the middle of its answer."""

    def dataReceived(self, data: bytes) -> None:
        """Answer three bytes and close."""
        self.transport.write(data.upper()[:3])
        self.transport.loseConnection()


class Resetter(Server):
    """A server that resets the connection when data comes."""

    def dataReceived(self, data: bytes) -> None:
        """Reset the connection."""
        self.transport.abortConnection()


class Stutterer(Server):
    """A server that answers with one byte too many."""

    def dataReceived(self, data: bytes) -> None:
        """Answer with one byte too many."""
        self.transport.write(data.upper() + b"!")


class Greeter(Server):
    """A server that begins with a greeting."""

    def connectionMade(self) -> None:
        """Send the greeting."""
        self.transport.write(b"220 hi\n")


class Goodbye(Server):
    """A server that answers once and then closes."""

    def dataReceived(self, data: bytes) -> None:
        """Answer and close."""
        self.transport.write(data.upper())
        self.transport.loseConnection()


class Collector(Server):
    """A server that answers at the end of its input."""

    def connectionMade(self) -> None:
        """Begin with nothing."""
        self.collected = b""

    def dataReceived(self, data: bytes) -> None:
        """Collect it."""
        self.collected += data

    def readConnectionLost(self) -> None:
        """Answer, and close."""
        self.transport.write(self.collected.upper())
        self.transport.loseConnection()


def tlsServer(context: ssl.SSLContext, refused: list[Failure]) -> TLSTransport:
    """Return a server that answers in upper case over TLS; the failure of its handshake is added to `refused`."""
    transport = TLSTransport(context, Server)
    transport.established.addErrback(refused.append)
    return transport
