"""Connections that carry as much as they can, in one direction or both.

Theory of operation. An echo brings back as many bytes as were sent, so neither direction can carry more than the other
for long, but one can come after the other. `prime` sends and doesn't read, until the replies fill the receive buffers
of the client's kernel: from then on nothing comes back. `fill` sends more, which fills the server's buffers, until the
server reads no more. `empty` sends nothing and reads until everything has come back; each of these needs new
connections, because a kernel never takes back room that it has offered (RFC 9293, 3.8.6). `stream` sends and reads at
once. Memory is bounded: by the kernels' buffers, because more is sent only when nothing is left to send, and in
`stream` by WINDOW.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

from twisted.internet.task import deferLater

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.diagnose.longchecks.proof import prove
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.diagnose.together import together
from echoup.client.exchange import Exchange
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient

CONNECTIONS = 8
"""How many there are, unless fewer work."""

WINDOW = 2**18
"""Bytes of each connection that are sent and haven't come back, at most, in `stream`."""

SMALLEST, CHUNK = 2**12, 2**17
"""Bytes that are sent at a time: more where they are gone by the next look, fewer where they aren't, so that little is
left of them when the buffers are full."""

ROOM = 2**16
"""Bytes for which a kernel that isn't read has room at first, at most: a window without a scale (RFC 7323, 2.2)."""

LOOK = 0.005
"""Seconds between two looks at what has moved."""

PAUSE = 0.1
"""Seconds in which a server that limits connections notices that those before are gone."""

STUCK = 0.3
"""Seconds in which nothing moves, after which all buffers are full."""

SETTLED = 2.0
"""Seconds to wait until what was sent is acknowledged, at most."""


@dataclass(frozen=True)
class Transfer:
    """What went over the connections in one phase."""

    sent: int = 0
    """Bytes that the peer's kernel has acknowledged."""
    received: int = 0
    """Bytes that came back."""
    seconds: float = 0
    """From the beginning until nothing moved any more."""
    until: float = 0
    """When that was, in seconds of the clock."""

    def __add__(self, other: "Transfer") -> "Transfer":
        """Return both together."""
        sums = (self.sent + other.sent, self.received + other.received, self.seconds + other.seconds)
        return Transfer(*sums, max(self.until, other.until))


class Flood:
    """Connections that carry a flood."""

    def __init__(self, path: PathUnderTest) -> None:
        self.error: PathError | None = None
        """Why some connections don't work; None if all do."""
        self._path, self._clock = path, path.clock
        self._exchanges: dict[EchoUpClient, Exchange] = {}
        self._data = Random(17).randbytes(CHUNK)  # noqa: S311  # it only has to be incompressible
        self._sizes: dict[EchoUpClient, int] = {}
        self._isStreaming = False

    @asynccontextmanager
    async def opened(self, count: int) -> AsyncIterator[int]:
        """Make up to `count` connections, each proven, and drop them at the end; yield how many work."""
        clients = [EchoUpClient(self._path.reactor, 0, lambda _: self._refill(), self._clock) for _ in range(count)]
        await deferLater(self._clock, PAUSE)
        try:
            await together(self._open(client) for client in clients)
            yield len(self._exchanges)
        finally:
            for client in clients:
                self._path.drop(client)

    async def _open(self, client: EchoUpClient) -> None:
        try:
            await self._path.connect(client=client)
            await prove(self._path, client)
            self._exchanges[client] = Exchange(client, untilEnd=True)
        except PathError as error:
            if error.code is ExitCode.WRONG:
                raise
            self.error = error

    async def prime(self, seconds: float) -> Transfer:
        """Read nothing from now on, and send until nothing more comes back, for `seconds` at most."""
        for client, exchange in self._exchanges.items():
            client.pauseProducing()
            exchange.send(self._data[:ROOM])
        return await self._watch(seconds, lambda: True)

    async def fill(self, seconds: float) -> Transfer:
        """Send until nothing more can be sent, for `seconds` at most."""
        flow = await self._watch(seconds, self._sendMore)
        # What is still on its way would go on in the next phase.
        await self._watch(SETTLED, lambda: any(info.unacknowledged for info in self._infos))
        return flow

    async def empty(self, seconds: float) -> Transfer:
        """Read and send nothing until everything has come back, for `seconds` at most."""
        for client in self._exchanges:
            client.resumeProducing()
        return await self._watch(
            seconds, lambda: any(exchange.reply.outstanding for exchange in self._exchanges.values()), stuck=seconds
        )

    async def stream(self, seconds: float) -> Transfer:
        """Send and read for `seconds`."""
        self._isStreaming = True
        self._refill()
        try:
            return await self._watch(seconds, lambda: True, stuck=seconds)
        finally:
            self._isStreaming = False

    def _sendMore(self) -> bool:
        for client, exchange in self._exchanges.items():
            size = self._sizes.get(client, SMALLEST)
            if info := TCPInfo.of(client.handle):
                if not info.bytesUnsent:
                    exchange.send(self._data[:size])
                self._sizes[client] = max(size // 2, SMALLEST) if info.bytesUnsent else min(size * 2, CHUNK)
        return True

    def _refill(self) -> None:
        """Send more where less than half of the window is on its way."""
        if self._isStreaming:
            for exchange in self._exchanges.values():
                while exchange.reply.outstanding <= WINDOW // 2:
                    exchange.send(self._data)

    async def _watch(self, seconds: float, go: Callable[[], bool], stuck: float = STUCK) -> Transfer:
        """Call `go` until nothing more is due, or nothing has moved for `stuck` seconds, for `seconds` at most.

        Raise PathError if a connection is closed, or a reply is wrong.
        """
        began = movedAt = self._clock.seconds()
        atFirst = before = self._moved()
        while go() and (now := self._clock.seconds()) - began < seconds and now - movedAt < stuck:
            await deferLater(self._clock, LOOK)
            for client, exchange in self._exchanges.items():
                if exchange.done.called or exchange.reply.wrongAt is not None:
                    client.check(exchange.reply)
            if (moved := self._moved()) != before:
                before, movedAt = moved, self._clock.seconds()
        sent, received = (after - first for after, first in zip(before, atFirst, strict=True))
        return Transfer(sent, received, movedAt - began, movedAt)

    @property
    def _infos(self) -> list[TCPInfo]:
        return [info for client in self._exchanges if (info := TCPInfo.of(client.handle))]

    def _moved(self) -> tuple[int, int]:
        """Return how many bytes were sent, and came back."""
        if not (infos := self._infos):  # a Unix socket
            replies = [exchange.reply for exchange in self._exchanges.values()]
            return sum(reply.received for reply in replies), sum(reply.received for reply in replies)
        return sum(info.bytesAcknowledged for info in infos), sum(info.bytesReceived for info in infos)
