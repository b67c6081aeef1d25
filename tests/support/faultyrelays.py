"""Relays that alter a stream, end it or hold it back, as faulty proxies and firewalls do."""

import select
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from math import inf
from socket import SHUT_RDWR, SHUT_WR, socket
from time import monotonic, sleep

from echoup.client.connect.tcpinfo import TCPInfo
from tests.support.addresses import Address
from tests.support.relay import Chunk, Passage, StreamRelay
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
        return self._carry(source, sink, chunks, isRequest=True)

    def _reply(self, server: socket, client: socket, passage: Passage) -> None:
        passage.replyEnd = self._carry(server, client, passage.replies, isRequest=False)

    def _carry(self, source: socket, sink: socket, chunks: list[Chunk], isRequest: bool) -> float:
        """Forward a direction, changed, and do with its end what the fault is."""
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


class HoldingRelay(StreamRelay):
    """Holds replies back, until there is enough of them or a time has passed; and all of them until their end."""

    def __init__(self, server: Address, ready: Callable[[bytes], int], seconds: float = inf) -> None:
        """`ready` returns how many of the bytes that are held may go; after `seconds` with the oldest, all go."""
        super().__init__(server)
        self._ready = ready
        self._seconds = seconds

    def _reply(self, server: socket, client: socket, passage: Passage) -> None:
        held, since = b"", monotonic()
        with suppress(OSError):
            while True:
                wait = max(since + self._seconds - monotonic(), 0) if held and self._seconds < inf else 30.0
                if not select.select([server], [], [], wait)[0]:
                    client.sendall(held)
                    held = b""
                    continue
                if not (data := server.recv(65536)):
                    break
                since = since if held else monotonic()
                held += data
                count = self._ready(held)
                client.sendall(held[:count])
                held = held[count:]
            client.sendall(held)
        with suppress(OSError):
            client.shutdown(SHUT_WR)


def wholeLines(held: bytes) -> int:
    """Let whole lines go."""
    return held.rfind(b"\n") + 1


def fullBuffers(held: bytes) -> int:
    """Let 4 KiB go, and each multiple of that."""
    return len(held) // 4096 * 4096


def nothing(_: bytes) -> int:
    """Let nothing go before the end."""
    return 0
