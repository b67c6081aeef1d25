"""A UDP port of ours that is connected to a server."""

import os
from errno import ECONNREFUSED
from socket import SO_ERROR, SOL_SOCKET
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol


class ConnectedPort(DatagramProtocol):
    """Talks with one server only, and learns when its machine refuses datagrams."""

    port: Any = None
    isClosed = False
    """Whether we have closed the port."""
    server = ""
    """What messages call the server."""
    address = "", 0
    """The server's IP address and port."""

    def open(self, reactor: Any, address: tuple[str, int]) -> None:
        """Open a port, connected to the server's `address`, and close the one before; raise OSError if that fails."""
        if self.port:
            self.port.stopListening()
        self.port, self.transport, self.address = None, None, address
        try:
            self.port = reactor.listenUDP(0, self, "::" if ":" in address[0] else "", 2**16)
            self.port.connect(*address)
        except CannotListenError as error:
            raise error.socketError from None
        except OSError:
            ConnectedPort.close(self)
            raise

    def close(self) -> None:
        """Close the port."""
        if self.port and not self.isClosed:
            self.port.stopListening()
        self.isClosed = True

    def refused(self, why: str) -> None:
        """Called when no process listens at the server's address; `why` is the system's error message."""

    def connectionRefused(self) -> None:
        """Report a refusal, of which an ICMP message tells."""
        self.refused(os.strerror(ECONNREFUSED))

    def stopProtocol(self) -> None:
        """Report that the reactor has closed the port, because poll(2) saw an error on it: mostly a refusal, too."""
        if not self.isClosed:
            error = self.port.getHandle().getsockopt(SOL_SOCKET, SO_ERROR)
            self.refused(os.strerror(error or ECONNREFUSED))
