"""How long replies take while something else happens on the path."""

from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.exitcodes import PathError
from echoup.client.protocol import EchoUpClient

INTERVAL = 0.02
"""Seconds between two probes; one that takes longer is the next one's begin."""

CONNECTING = 0.2
"""Seconds between two connections whose handshake is timed."""

PROBE = b"a probe beside a load\n"

ENOUGH = 3
"""The least number of times of which a median says something; where they are long, there are few of them."""

LATE, TIMES = 0.1, 2.0
"""A queue is too long if it makes replies so many seconds, and so many times, later than they are without a load. A
tenth of a second is what people notice in a call or on a terminal."""


@dataclass
class Latencies:
    """Times in seconds."""

    replies: list[float] = field(default_factory=list)
    """Of probes: to the application and back."""
    handshakes: list[float] = field(default_factory=list)
    """Of TCP handshakes, which the kernels answer: the way alone, without any program's own time."""

    def add(self, other: "Latencies") -> None:
        """Add those of `other`."""
        self.replies += other.replies
        self.handshakes += other.handshakes

    @property
    def typical(self) -> float | None:
        """The median of the replies' times; None if there are not ENOUGH."""
        return median(self.replies) if len(self.replies) >= ENOUGH else None

    @property
    def typicalHandshake(self) -> float | None:
        """The median of the handshakes' times; None if there are not ENOUGH."""
        return median(self.handshakes) if len(self.handshakes) >= ENOUGH else None

    @property
    def figures(self) -> dict[str, Any]:
        """What the report has of them."""
        found: dict[str, Any] = {"probes": len(self.replies), "handshake": self.typicalHandshake}
        if self.typical is None:
            return found | {"p50": None, "p95": None, "max": None}
        p95 = quantiles(self.replies, n=20, method="inclusive")[-1]
        return found | {"p50": self.typical, "p95": p95, "max": max(self.replies)}


def lateness(idle: Latencies, beside: Latencies) -> float:
    """Return how many seconds later replies are because of a queue on the way; 0 if that isn't too long.

    A program that has much to do makes replies late, too, but not the handshakes, which the kernels answer.
    """
    later = []
    for before, now in ((idle.typical, beside.typical), (idle.typicalHandshake, beside.typicalHandshake)):
        if before is None or now is None or now - before < LATE or now < TIMES * before:
            return 0
        later.append(now - before)
    return later[0]


class Probes:
    """Probes on one connection, and handshakes of new ones, over and over until `stop`."""

    def __init__(self, path: PathUnderTest, client: EchoUpClient) -> None:
        """`client` is connected, and carries nothing else."""
        self._path, self._client = path, client
        self._replies: list[tuple[float, float]] = []
        self._handshakes: list[tuple[float, float]] = []
        self._isOver = False
        self._pauses: list[Deferred[None]] = []
        self._running = [Deferred.fromCoroutine(each) for each in (self._probe(), self._connect())]

    async def stop(self, until: float) -> Latencies:
        """End them when what is under way is answered; return the times of those that began before `until`."""
        self._isOver = True
        for pause in self._pauses[:]:
            pause.callback(None)
        for each in self._running:
            await each
        return Latencies(*([took for at, took in all_ if at <= until] for all_ in (self._replies, self._handshakes)))

    def cancel(self) -> None:
        """End them at once."""
        self._isOver = True
        for each in self._running:
            each.addErrback(lambda failure: failure.trap(CancelledError, PathError) and None)
            each.cancel()

    async def _probe(self) -> None:
        clock = self._path.clock
        while not self._isOver:
            pauses, began = clock.pauses, clock.seconds()
            self._client.check(await self._client.exchange(PROBE))
            took = clock.seconds() - began
            if clock.pauses == pauses:
                self._replies.append((began, took))
            await self._pause(INTERVAL - took)

    async def _connect(self) -> None:
        if not self._path.host:
            return
        clock = self._path.clock
        while not self._isOver:
            began = clock.seconds()
            # One that the server refuses, because it has enough, says nothing about the way.
            with suppress(PathError):
                async with self._path.connection(security=None, proxyProtocol=None) as client:
                    if (info := TCPInfo.of(client.handle)) and info.leastRTT:
                        self._handshakes.append((began, info.leastRTT))
            await self._pause(CONNECTING - (clock.seconds() - began))

    async def _pause(self, seconds: float) -> None:
        """Wait for `seconds`, or until `stop`."""
        pause: Deferred[None] = Deferred()
        timer = self._path.clock.callLater(max(seconds, 0), pause.callback, None)
        self._pauses.append(pause)
        try:
            await pause
        finally:
            self._pauses.remove(pause)
            if timer.active():
                timer.cancel()
