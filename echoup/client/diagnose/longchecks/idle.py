"""The check `idle`: after what time an idle connection is cut, and how."""

import time as clocks
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from echoup.client.diagnose.amounts import time
from echoup.client.diagnose.finding import Finding, skipped
from echoup.client.diagnose.longchecks.bisection import Cut, Trial, between, ladder
from echoup.client.diagnose.longchecks.idleproblems import problems, summary
from echoup.client.diagnose.longchecks.leaving import leaveConnection, leaveSocket, proveSocket
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.diagnose.together import settled, together
from echoup.client.exitcodes import PathError

Leave = Callable[[float], Coroutine[Any, Any, Trial]]
"""Leaves something new alone for a time in seconds, and returns what became of it."""

ENOUGH = 2
"""The number of deaths that end the first round: what still lives is left alone for longer."""

WITNESSES = 3
"""How many connections are left alone to see a FIN or an RST a second time."""

KEPT = 2
"""How many connections are left alone with TCP keepalive."""

ASLEEP = 1.0
"""Seconds for which this machine may have slept without a word about it."""


async def check(path: PathUnderTest, tell: Tell) -> Finding:
    """Find after what time, up to the scope's, idle connections and UDP mappings are cut, and how."""
    pauses, slept = path.clock.pauses, _slept()
    searches = [_datagrams(path, tell)] if path.isDatagram else [_connections(path, tell), _datagrams(path, tell)]
    cuts = {cut.protocol: cut for cut in await together(searches) if cut}
    if (asleep := _slept() - slept) > ASLEEP:
        return skipped(f"this machine slept for {time(asleep)}, in which the timers of the path ran; repeat the check")
    figures = {
        "longest": path.scope.idle,
        "connections": cuts["TCP"].figures if "TCP" in cuts else None,
        "datagrams": cuts["UDP"].figures if "UDP" in cuts else None,
        "pauses": path.clock.pauses - pauses,
    }
    found = [problem for cut in cuts.values() for problem in problems(cut)]
    return Finding("; ".join(map(summary, cuts.values())), tuple(found), figures)


async def _connections(path: PathUnderTest, tell: Tell) -> Cut | None:
    """Return the cut of connections. Raise PathError if they don't work."""
    return await _Search("TCP", partial(leaveConnection, path), tell).run(path.scope.idle)


async def _datagrams(path: PathUnderTest, tell: Tell) -> Cut | None:
    """Return the cut of UDP sockets; None if UDP isn't answered. Raise PathError then, if that is the target."""
    try:
        await proveSocket(path)
        return await _Search("UDP", partial(leaveSocket, path), tell).run(path.scope.idle)
    except PathError:
        if path.isDatagram:
            raise
        return None


def _slept() -> float:
    """Return the seconds for which this machine has slept since it started; 0 where that isn't known."""
    clock = getattr(clocks, "CLOCK_BOOTTIME", None)
    return clocks.clock_gettime(clock) - clocks.clock_gettime(clocks.CLOCK_MONOTONIC) if clock is not None else 0


@dataclass
class _Search:
    """The search for the time after which what is left alone dies."""

    protocol: str
    leave: Any
    tell: Tell

    async def run(self, longest: float) -> Cut:
        """Return what was found, with times up to `longest`; raise PathError if nothing could be left alone."""
        first = await self._leaveAll(self.leave, ladder(longest), ENOUGH)
        found = Cut(self.protocol, first)
        if not found.deaths:
            return found
        low, high = found.bounds
        self.tell(f"{self.protocol}: cut between {time(low)} and {time(high)}; again, and finer")
        times = [1.1 * high + 2] * WITNESSES if found.fate.isWhileIdle else between(low, high)
        if self.protocol == "UDP":
            return Cut(self.protocol, first + await self._leaveAll(self.leave, times))
        keepalive = max(int(high / 3), 1)
        kept = partial(self.leave, keepalive=keepalive)
        rounds = [self._leaveAll(self.leave, times), self._leaveAll(kept, [max(times)] * KEPT)]
        second, withKeepalive = await together(rounds)
        return Cut(self.protocol, first + second, keepalive, withKeepalive)

    async def _leaveAll(self, leave: Leave, times: list[float], enough: float = inf) -> list[Trial]:
        """Leave one alone for each of `times`, until all are over or `enough` have died; return what became of them.

        Raise PathError if none could be left alone.
        """
        trials: list[Trial] = []
        errors: list[PathError] = []

        def isOver() -> bool:
            return sum(not each.isAlive for each in trials) >= enough

        async def one(number: int, seconds: float) -> None:
            try:
                trials.append(trial := await leave(seconds))
            except PathError as error:
                errors.append(error)
                return
            except CancelledError:
                if isOver():
                    return
                raise
            later = min((other for other in times if other > seconds), default=0)
            ahead = f"; next after {time(later)}" if later else ""
            self.tell(f"{self.protocol}: {trial.fate.value} after {time(trial.seconds)}{ahead}")
            if isOver():
                for other in running[:number] + running[number + 1 :]:
                    other.cancel()

        running = [Deferred.fromCoroutine(one(*numbered)) for numbered in enumerate(times)]
        await settled(running)
        if not trials:
            raise errors[0]
        return trials
