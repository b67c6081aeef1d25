"""A UDP port of ours that is connected to a server."""

import os
from errno import ECONNREFUSED
from socket import SO_ERROR, SOL_SOCKET
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol


class ConnectedPort(DatagramProtocol):
    """Talks with one server only, and hears of its machine's refusals."""

    port: Any = None

    isClosed = False
    """Did we close it?"""

    def open(self, reactor: Any, server: tuple[str, int]) -> None:
        """Take a new port; `server` is an IP address and a port. Raise OSError where that is impossible."""
        self.transport = None
        try:
            self.port = reactor.listenUDP(0, self, "::" if ":" in server[0] else "", 2**16)
        except CannotListenError as error:
            raise error.socketError from None
        try:
            self.port.connect(*server)
        except OSError:
            ConnectedPort.close(self)
            raise

    def close(self) -> None:
        """Let go of the port."""
        if self.port and not self.isClosed:
            self.port.stopListening()
        self.isClosed = True

    def refused(self, why: str) -> None:
        """Nobody listens there, in the system's words."""

    def connectionRefused(self) -> None:
        """The machine there says that nobody listens."""
        self.refused(os.strerror(ECONNREFUSED))

    def stopProtocol(self) -> None:
        """The port closes; if that wasn't us, it's because of what poll(2) calls an error: mostly, a refusal again."""
        if not self.isClosed:
            error = self.port.getHandle().getsockopt(SOL_SOCKET, SO_ERROR)
            self.refused(os.strerror(error or ECONNREFUSED))
