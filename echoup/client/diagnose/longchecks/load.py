"""The check `load`: what a flood does to the latency of everything beside it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.task import deferLater

from echoup.client.diagnose.amounts import size, time
from echoup.client.diagnose.finding import Finding, Problem, Status, skipped
from echoup.client.diagnose.longchecks.flood import CONNECTIONS, SETTLED, Flood, Transfer
from echoup.client.diagnose.longchecks.latency import Latencies, LatencyProbes, lateness
from echoup.client.diagnose.longchecks.proof import prove
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient

IDLE = 2.0
"""Seconds of probes without a flood, at most."""

PHASE = 10.0
"""Seconds that nothing is read, at most: far less than the time after which a server gives a client up."""

DIRECTIONS = {"up": "up", "down": "down", "both": "both ways"}

Action = Callable[[float], Awaitable[Transfer]]


async def check(path: PathUnderTest, tell: Tell) -> Finding:
    """Measure the latency of probes: idle, and beside a flood up, down and both ways."""
    load = _Load(path, tell)
    try:
        async with path.connection(waits=False) as client:
            await load.run(client)
    except PathError as error:
        if error.code is not ExitCode.TIMED_OUT or load.phase not in DIRECTIONS:
            raise
        problem = _silent(load.phase, error)
        return Finding(problem.text, (problem,), load.figures)
    return load.finding


@dataclass
class _Phase:
    """What was measured beside one flood, or without any."""

    latencies: Latencies = field(default_factory=Latencies)
    transfer: Transfer = field(default_factory=Transfer)


class _Load:
    """The phases of the check."""

    def __init__(self, path: PathUnderTest, tell: Tell) -> None:
        self.phase = ""
        """The one that is under way."""
        self._path, self._tell = path, tell
        self._phases = {name: _Phase() for name in ("idle", *DIRECTIONS)}
        self._connections = CONNECTIONS
        self._error: PathError | None = None
        """Why some connections don't work; None if all do."""

    async def run(self, client: EchoUpClient) -> None:
        """Measure everything; the probes go over `client`."""
        clock, seconds = self._path.clock, self._path.scope.load
        await prove(self._path, client)
        flood = Flood(self._path)
        async with flood.opened(CONNECTIONS) as self._connections:
            self._error = flood.error
        if not self._connections:
            return
        await self._measure("idle", client, self._rest, min(IDLE, seconds))
        end = clock.seconds() + 2 * seconds + SETTLED
        while self._path.host and (left := end - clock.seconds()) > SETTLED:
            flood = Flood(self._path)
            async with flood.opened(self._connections):
                await flood.prime(min(left, seconds))
                for direction, action in (("up", flood.fill), ("down", flood.empty)):
                    await self._measure(direction, client, action, min(end - clock.seconds(), seconds, PHASE))
        flood = Flood(self._path)
        async with flood.opened(self._connections):
            await self._measure("both", client, flood.stream, seconds)

    async def _measure(self, name: str, client: EchoUpClient, action: Action, seconds: float) -> None:
        """Do `action`, for `seconds` at most, beside probes over `client`."""
        if name != self.phase:
            self._tell(f"a flood {DIRECTIONS[name]}" if name in DIRECTIONS else name)
        self.phase, phase = name, self._phases[name]
        probes = LatencyProbes(self._path, client)
        try:
            transfer = await action(seconds)
            phase.latencies.add(await probes.stop(transfer.until))
        finally:
            probes.cancel()
        phase.transfer += transfer

    async def _rest(self, seconds: float) -> Transfer:
        await deferLater(self._path.clock, seconds)
        return Transfer(until=self._path.clock.seconds())

    @property
    def figures(self) -> dict[str, Any]:
        """What was measured."""
        found: dict[str, Any] = {"connections": self._connections, "idle": self._phases["idle"].latencies.figures}
        for way in DIRECTIONS:
            transfer = self._phases[way].transfer
            found[way] = self._phases[way].latencies.figures | {
                "factor": self._factor(way),
                "sent": transfer.sent / transfer.seconds if transfer.seconds else None,
                "received": transfer.received / transfer.seconds if transfer.seconds else None,
            }
        return found

    @property
    def finding(self) -> Finding:
        """What the check says."""
        if self._error and not self._connections:
            return skipped(f"no connection works beside the one of the probes: {self._error.reason}")
        idle = self._phases["idle"].latencies
        beside = {way: self._phases[way].latencies for way in DIRECTIONS}
        if idle.typical is None or all(each.typical is None for each in beside.values()):
            return skipped("too few probes were answered in that time: give it more")
        told = f"{time(idle.typical)} idle; {'; '.join(map(self._describe, DIRECTIONS))}"
        late = {way: lateness(idle, latencies) for way, latencies in beside.items()}
        # Where one direction alone shows it, the flood both ways does, too.
        worst = max(("up", "down"), key=lambda way: late[way])
        worst = worst if late[worst] else "both"
        problems = [_bufferbloat(worst, idle, beside[worst], told)] if late[worst] else []
        if self._error:
            problems.append(_few(self._connections, self._error))
        handshakes = [each.typicalHandshake for each in beside.values() if each.typicalHandshake]
        kernels = f"; TCP handshakes {time(max(handshakes))} at most" if handshakes else ""
        return Finding(problems[0].text if problems else f"{told}{kernels}", tuple(problems), self.figures)

    def _describe(self, way: str) -> str:
        """Return the latency beside a flood in words."""
        typical, transfer = self._phases[way].latencies.typical, self._phases[way].transfer
        if typical is None:
            return f"{DIRECTIONS[way]} not measured"
        moved = transfer.received if way == "down" else transfer.sent
        rate = size(moved / (transfer.seconds or 1))
        return f"{time(typical)} ({self._factor(way) or 1:.0f} x) beside {rate}/s {DIRECTIONS[way]}"

    def _factor(self, way: str) -> float | None:
        """Return how many times the idle latency the one beside a flood is; None if one of them is unknown."""
        idle, typical = self._phases["idle"].latencies.typical, self._phases[way].latencies.typical
        return typical / idle if typical is not None and idle else None


def _bufferbloat(way: str, idle: Latencies, beside: Latencies, told: str) -> Problem:
    handshakes = f"{time(idle.typicalHandshake or 0)} idle, {time(beside.typicalHandshake or 0)} beside it"
    return Problem(
        Status.WARN,
        "bufferbloat",
        f"a reply takes {time(idle.typical or 0)}, but {time(beside.typical or 0)} beside a flood {DIRECTIONS[way]}: a"
        " queue on the path is too long (bufferbloat)",
        (f"replies, medians: {told}", f"TCP handshakes, which no program answers: {handshakes}"),
        "The slowest link of the path has a queue that holds far more than it needs. A single large transfer fills it,"
        " and then everything else waits behind that.",
        "Use a queue discipline that keeps queues short (fq_codel, cake) in front of the slowest link, and limit the"
        " rate there to a little less than that of the link.",
    )


def _few(connections: int, error: PathError) -> Problem:
    return Problem(
        Status.NOTE,
        "few-connections",
        f"only {connections} of the flood's {CONNECTIONS} connections work: {error.reason}",
        (error.reason,),
        "The server, or something on the way, limits the connections of one client, as echoup does with"
        " --max-connections-per-peer. So the flood may be too small to show a long queue.",
        "Raise that limit for this check; the check many finds it.",
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
