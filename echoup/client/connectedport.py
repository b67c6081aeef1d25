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
        """No process listens at the server's address; `why` is in the system's words."""

    def connectionRefused(self) -> None:
        """Report the refusal that an ICMP message of the server's machine tells."""
        self.refused(os.strerror(ECONNREFUSED))

    def stopProtocol(self) -> None:
        """Report a port that the reactor closes, because of what poll(2) calls an error: mostly, a refusal again."""
        if not self.isClosed:
            error = self.port.getHandle().getsockopt(SOL_SOCKET, SO_ERROR)
            self.refused(os.strerror(error or ECONNREFUSED))
