"""How long replies take while something else happens on the path."""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.exitcodes import PathError
from echoup.client.protocol import EchoUpClient

INTERVAL = 0.02
"""Seconds between the beginnings of two probes."""

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
    """Times in seconds; a median is None if there are not ENOUGH."""

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
        """The median of the replies' times."""
        return median(self.replies) if len(self.replies) >= ENOUGH else None

    @property
    def typicalHandshake(self) -> float | None:
        """The median of the handshakes' times."""
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


class LatencyProbes:
    """Probes on one connection, and handshakes of new ones, over and over until `stop`."""

    def __init__(self, path: PathUnderTest, client: EchoUpClient) -> None:
        """`client` is connected, and carries nothing else."""
        self._replies = _Repeated(path.clock, INTERVAL, lambda: _reply(path, client))
        self._handshakes = _Repeated(path.clock, CONNECTING, lambda: _handshake(path))

    async def stop(self, until: float) -> Latencies:
        """End them when what is under way is answered; return the times of those that began before `until`."""
        for each in (self._replies, self._handshakes):
            await each.stop()
        return Latencies(self._replies.until(until), self._handshakes.until(until))

    def cancel(self) -> None:
        """End them at once."""
        self._replies.cancel()
        self._handshakes.cancel()


class _Repeated:
    """Something that takes a time, which is done every `interval` seconds, or less often if it takes longer."""

    def __init__(self, clock: Any, interval: float, do: Callable[[], Coroutine[Any, Any, float | None]]) -> None:
        """`do` returns how long it took; None if that isn't known."""
        self._clock, self._do = clock, do
        self._times: list[tuple[float, float]] = []
        self._loop = LoopingCall(self._once)
        self._loop.clock = clock
        self._over = self._loop.start(interval)

    def until(self, end: float) -> list[float]:
        """Return the times of those that began before `end`."""
        return [took for began, took in self._times if began <= end]

    def stop(self) -> "Deferred[LoopingCall]":
        """Do it no more; the result comes when what is under way is over."""
        if self._loop.running:
            self._loop.stop()
        return self._over

    def cancel(self) -> None:
        """End what is under way."""
        self.stop().addErrback(lambda _: None)
        self._underway.cancel()

    def _once(self) -> "Deferred[None]":
        self._underway = Deferred.fromCoroutine(self._note())
        return self._underway

    async def _note(self) -> None:
        began = self._clock.seconds()
        if (took := await self._do()) is not None:
            self._times.append((began, took))


async def _reply(path: PathUnderTest, client: EchoUpClient) -> float | None:
    clock = path.clock
    pauses, began = clock.pauses, clock.seconds()
    client.check(await client.exchange(PROBE))
    return clock.seconds() - began if clock.pauses == pauses else None


async def _handshake(path: PathUnderTest) -> float | None:
    with suppress(PathError):  # of a server that refuses it, because it has enough
        async with path.connection(waits=False, security=None, proxyProtocol=None) as client:
            info = TCPInfo.of(client.handle)
            return info.leastRTT or None if info else None
    return None
