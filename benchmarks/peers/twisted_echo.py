"""Twisted's `wire.Echo` in upper case, on the default reactor and the endpoint of the argument."""

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
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
    await serverFromString(reactor, sys.argv[1]).listen(Factory.forProtocol(Echo))
    await Deferred()


react(serve, ())
