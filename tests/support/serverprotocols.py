"""Servers for the client's unit tests: right ones and wrong ones, in the test's own reactor."""

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
        """Answer."""
        self.taken += len(data)
        self.transport.write(data.upper())

    def readConnectionLost(self) -> None:
        """End."""
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Do nothing: the connection is closed as a whole."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note it."""
        self.gone = True


class Silence(Server):
    """A server that takes everything and answers nothing."""

    def dataReceived(self, data: bytes) -> None:
        """Count."""
        self.taken += len(data)


class Mirror(Server):
    """A server that answers with what came."""

    def dataReceived(self, data: bytes) -> None:
        """Answer."""
        self.transport.write(data)


class Deserter(Server):
    """A server that goes away in the middle of its answer."""

    def dataReceived(self, data: bytes) -> None:
        """Answer, half."""
        self.transport.write(data.upper()[:3])
        self.transport.loseConnection()


class Resetter(Server):
    """A server that resets the connection when something comes."""

    def dataReceived(self, data: bytes) -> None:
        """Reset."""
        self.transport.abortConnection()


class Stutterer(Server):
    """A server that answers with one byte too many."""

    def dataReceived(self, data: bytes) -> None:
        """Answer."""
        self.transport.write(data.upper() + b"!")


class Greeter(Server):
    """A server that says something first."""

    def connectionMade(self) -> None:
        """Say it."""
        self.transport.write(b"220 hi\n")


class Goodbye(Server):
    """A server that answers once and then goes away."""

    def dataReceived(self, data: bytes) -> None:
        """Answer, and go."""
        self.transport.write(data.upper())
        self.transport.loseConnection()


def tlsServer(context: ssl.SSLContext, refused: list[Failure]) -> TLSTransport:
    """Return a server that answers in upper case, over TLS; why a handshake fails comes into `refused`."""
    transport = TLSTransport(context, Server)
    transport.established.addErrback(refused.append)
    return transport
