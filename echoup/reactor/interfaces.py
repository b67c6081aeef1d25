"""What ports, clients and streams need of the reactor."""

from collections.abc import Callable
from socket import socket
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReactorTime


class IStreamReactor(IReactorFDSet, IReactorTime):
    """A reactor whose loop is uvloop's."""

    def serve(listening: socket, makeStream: Callable[[], Any], backlog: int) -> Any:
        """Have uvloop accept from `listening`, with a queue of `backlog` connections; return uvloop's server.

        Each connection gets the asyncio protocol that `makeStream` returns. The server's `close` closes `listening`.
        """

    def adopt(connected: socket, stream: Any) -> None:
        """Have uvloop move the bytes of `connected` for the asyncio protocol `stream`, from the next turn on."""

    def opened(stream: Any) -> None:
        """Add a stream that is open, or a port that accepts, to those that may count as readers."""

    def closed(stream: Any) -> None:
        """Remove a stream or a port from these."""
