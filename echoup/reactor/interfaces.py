"""What ports, clients and streams need from the reactor."""

from collections.abc import Callable
from socket import socket
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReactorTime


class IStreamReactor(IReactorFDSet, IReactorTime):
    """A reactor whose loop is uvloop's."""

    def serve(listening: socket, makeStream: Callable[[], Any], backlog: int) -> Any:
        """Let uvloop accept on `listening`, with a backlog of `backlog` connections; return uvloop's server.

        Each connection gets the asyncio protocol that `makeStream` returns. The server's `close` closes `listening`.
        """

    def adopt(connected: socket, stream: Any) -> None:
        """Let uvloop read and write `connected` for the asyncio protocol `stream`, from the next turn on."""

    def flushLater(stream: Any) -> None:
        """Call `stream.flush` at the end of the turn, after what uvloop has still to call in it."""

    def opened(stream: Any) -> None:
        """Register an open stream, or a port that accepts: it may count as a reader or a writer."""

    def closed(stream: Any) -> None:
        """Unregister a stream or a port."""
