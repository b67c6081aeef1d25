"""Twisted's `wire.Echo` in upper case, on the default reactor."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react


class Echo(Protocol):
    """One connection."""

    transport: ITCPTransport

    def connectionMade(self) -> None:
        """Turn Nagle's algorithm off."""
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        """Send `data` back in upper case."""
        self.transport.write(data.upper())


async def serve(reactor: Any) -> None:
    """Serve until the process is killed."""
    await TCP4ServerEndpoint(reactor, 0, backlog=4096, interface="127.0.0.1").listen(Factory.forProtocol(Echo))
    await Deferred()


react(serve, ())
