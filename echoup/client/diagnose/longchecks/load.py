"""The check `load`: what a flood does to the latency of everything beside it."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from twisted.internet.task import deferLater

from echoup.client.diagnose.amounts import size, time
from echoup.client.diagnose.finding import Finding, Problem, Status, skipped
from echoup.client.diagnose.longchecks.flood import CONNECTIONS, Flood, Flow
from echoup.client.diagnose.longchecks.latency import Latencies, Probes, lateness
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient

IDLE = 2.0
"""Seconds of probes without a flood, at most."""

PHASE = 10.0
"""Seconds that nothing is read, at most: far less than the time after which a server gives a client up."""

DIRECTIONS = {"up": "up", "down": "down", "both": "both ways"}

Action = Callable[[float], Awaitable[Flow]]


async def check(path: PathUnderTest, tell: Tell) -> Finding:
    """Measure the latency of probes: idle, and beside a flood up, down and both ways."""
    load = _Load(path, tell)
    try:
        async with path.connection() as client:
            await load.run(client)
    except PathError as error:
        if error.code is not ExitCode.TIMED_OUT or not load.direction:
            raise
        problem = _silent(load.direction, error)
        return Finding(problem.text, (problem,), load.figures)
    return load.finding


class _Load:
    """The latencies and the flows of each phase."""

    def __init__(self, path: PathUnderTest, tell: Tell) -> None:
        self.direction = ""
        """The flood that is under way."""
        self._path, self._tell = path, tell
        self._idle = Latencies()
        self._latencies = {direction: Latencies() for direction in DIRECTIONS}
        self._flows = {direction: Flow() for direction in DIRECTIONS}

    async def run(self, client: EchoUpClient) -> None:
        """Measure everything; the probes go over `client`."""
        clock, seconds = self._path.clock, self._path.scope.load
        self._tell("idle")
        await self._beside(client, self._idle, self._rest, min(IDLE, seconds))
        left = {"up": seconds, "down": seconds}
        while self._path.host and min(left.values()) > 0:
            async with AsyncExitStack() as stack:
                flood = Flood(self._path)
                await flood.open(stack)
                await flood.prime(seconds)
                for direction, action in (("up", flood.fill), ("down", flood.empty)):
                    began = clock.seconds()
                    await self._load(direction, client, action, min(left[direction], PHASE))
                    left[direction] -= clock.seconds() - began
        async with AsyncExitStack() as stack:
            flood = Flood(self._path)
            await flood.open(stack)
            await self._load("both", client, flood.stream, seconds)

    async def _load(self, direction: str, client: EchoUpClient, action: Action, seconds: float) -> None:
        self.direction = direction
        self._tell(f"a flood {DIRECTIONS[direction]}")
        self._flows[direction] += await self._beside(client, self._latencies[direction], action, seconds)

    async def _beside(self, client: EchoUpClient, latencies: Latencies, action: Action, seconds: float) -> Flow:
        probes = Probes(self._path, client)
        try:
            flow = await action(seconds)
            latencies.add(await probes.stop(flow.until))
        finally:
            probes.cancel()
        return flow

    async def _rest(self, seconds: float) -> Flow:
        await deferLater(self._path.clock, seconds)
        return Flow(until=self._path.clock.seconds())

    @property
    def figures(self) -> dict[str, Any]:
        """What was measured."""
        found: dict[str, Any] = {"connections": CONNECTIONS, "idle": self._idle.figures}
        for direction, latencies in self._latencies.items():
            flow = self._flows[direction]
            found[direction] = latencies.figures | {
                "factor": self._factor(direction),
                "sent": flow.sent / flow.seconds if flow.seconds else None,
                "received": flow.received / flow.seconds if flow.seconds else None,
            }
        return found

    @property
    def finding(self) -> Finding:
        """What the check says."""
        idle, loaded = self._idle.typical, {way: each.typical for way, each in self._latencies.items()}
        if idle is None or all(typical is None for typical in loaded.values()):
            return skipped("too few probes were answered in that time: give it more")
        told = [
            f"{time(typical)} ({self._factor(way) or 1:.0f} x) beside {size(self._rate(way))}/s {DIRECTIONS[way]}"
            for way, typical in loaded.items()
            if typical is not None
        ]
        handshakes = [each.typicalHandshake for each in self._latencies.values() if each.typicalHandshake]
        kernels = f"; TCP handshakes {time(max(handshakes))} at most" if handshakes else ""
        summary = f"idle {time(idle)}; {'; '.join(told)}{kernels}"
        late = {way: lateness(self._idle, self._latencies[way]) for way in DIRECTIONS}
        worst = max(DIRECTIONS, key=lambda way: late[way])
        problems: tuple[Problem, ...] = ()
        if late[worst]:
            problems = (_bufferbloat(worst, self._idle, self._latencies[worst], told),)
        return Finding(problems[0].text if problems else summary, problems, self.figures)

    def _factor(self, way: str) -> float | None:
        """Return how many times the idle latency the one beside a flood is; None if one of them is unknown."""
        idle, typical = self._idle.typical, self._latencies[way].typical
        return typical / idle if typical is not None and idle else None

    def _rate(self, way: str) -> float:
        flow = self._flows[way]
        return (flow.received if way == "down" else flow.sent) / (flow.seconds or 1)


def _bufferbloat(way: str, idle: Latencies, beside: Latencies, told: list[str]) -> Problem:
    handshakes = f"{time(idle.typicalHandshake or 0)} idle, {time(beside.typicalHandshake or 0)} beside it"
    return Problem(
        Status.WARN,
        "bufferbloat",
        f"a reply takes {time(idle.typical or 0)}, but {time(beside.typical or 0)} beside a flood {DIRECTIONS[way]}: a"
        " queue on the path is too long (bufferbloat)",
        (
            f"replies, medians: {time(idle.typical or 0)} idle; {'; '.join(told)}",
            f"TCP handshakes, which no program answers: {handshakes}",
        ),
        "The slowest link of the path has a queue that holds far more than it needs. A single large transfer fills it,"
        " and then everything else waits behind that.",
        "Use a queue discipline that keeps queues short (fq_codel, cake) in front of the slowest link, and limit the"
        " rate there to a little less than that of the link.",
    )


def _silent(way: str, error: PathError) -> Problem:
    return Problem(
        Status.FAIL,
        "no-reply-beside-flood",
        f"beside a flood {DIRECTIONS[way]} a small probe on another connection got no reply: {error.reason}",
        (error.reason,),
        "The flood takes everything: a queue on the path is full of it, or the server serves one connection at a time.",
        "Repeat with a longer --timeout; look for a limit of the rate, or for lost packets, on the slowest link.",
        error.code,
    )
