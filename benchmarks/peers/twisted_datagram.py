"""Twisted's DatagramProtocol, answering in upper case, on the default reactor."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import react


class Echo(DatagramProtocol):
    """A socket."""

    transport: IUDPTransport

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Send `datagram` back in upper case."""
        self.transport.write(datagram.upper(), addr)


async def serve(reactor: Any) -> None:
    """Serve until the process is killed."""
    reactor.listenUDP(0, Echo(), interface="127.0.0.1")
    await Deferred()


react(serve, ())
