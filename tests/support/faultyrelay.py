"""A relay that alters a stream, or ends it, as faulty proxies and firewalls do."""

from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from math import inf
from socket import SHUT_RDWR, SHUT_WR, socket
from time import monotonic, sleep

from echoup.client.connect.tcpinfo import TCPInfo
from tests.support.addresses import Address
from tests.support.relay import Chunk, StreamRelay
from tests.support.sockets import reset

Alter = Callable[[bytes], bytes | None]
"""Returns what is forwarded in place of a chunk; None drops it, and all that follows."""


class HalfClose(Enum):
    """What a relay does with the client's end."""

    FORWARD = "forward"
    CLOSE = "close"
    """Take it for a close."""
    RESET = "reset"
    """Reset the client's connection when all is forwarded."""
    SWALLOW = "swallow"
    """Keep it."""


class FaultyRelay(StreamRelay):
    """Forwards chunks, changed; without arguments it has no fault."""

    def __init__(
        self,
        server: Address,
        request: Alter = bytes,
        reply: Alter = bytes,
        halfClose: HalfClose = HalfClose.FORWARD,
        limit: float = inf,
        delay: float = 0.0,
    ) -> None:
        """`request` and `reply` change the chunks; a connection is closed after `limit` bytes of the reply.

        `delay` is that of each chunk, in seconds.
        """
        super().__init__(server, delay)
        self._request, self._alterReply, self._halfClose, self._limit = request, reply, halfClose, limit

    def _forward(self, source: socket, sink: socket, chunks: list[Chunk], pause: float = 0.0) -> float:
        """Forward a direction, changed, and do with its end what the fault is."""
        isRequest = sink.getpeername() == self._server.address
        alter, left = (self._request, inf) if isRequest else (self._alterReply, self._limit)
        altered: bytes | None = b""
        with suppress(OSError):
            while data := source.recv(65536):
                altered = None if altered is None else alter(data)
                chunks.append(Chunk(altered or b"", monotonic(), monotonic()))
                sleep(self._delay)
                sent = (altered or b"")[: int(min(left, 65536 * 2))]
                sink.sendall(sent)
                left -= len(sent)
                if not left:
                    break
        with suppress(OSError):
            self._end(source, sink, isRequest, isCut=not left)
        return monotonic()

    def _end(self, source: socket, sink: socket, isRequest: bool, isCut: bool) -> None:
        """End the direction from `source` to `sink`, whose source has ended, or which `isCut`."""
        if isRequest and self._halfClose is HalfClose.CLOSE:
            with suppress(OSError):  # the client has reset the connection
                source.shutdown(SHUT_WR)
            sink.shutdown(SHUT_RDWR)
        elif isRequest and self._halfClose is HalfClose.SWALLOW:
            while (info := TCPInfo.of(source)) and info.state not in ("CLOSED", "TIME-WAIT"):
                sleep(0.02)
            sink.shutdown(SHUT_RDWR)
        elif not isRequest and self._halfClose is HalfClose.RESET:
            while (info := TCPInfo.of(sink)) and (info.unacknowledged or info.bytesUnsent):
                sleep(0.02)  # what was sent arrives before the reset
            reset(sink)
        else:
            sink.shutdown(SHUT_WR)
        if isCut:
            source.shutdown(SHUT_RDWR)
