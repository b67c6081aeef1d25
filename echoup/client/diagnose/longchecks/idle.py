"""The check `idle`: after what time an idle connection is cut, and how."""

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from echoup.client.connect.resolve import resolve
from echoup.client.connect.trace import Trace
from echoup.client.diagnose.finding import Finding, Problem, skipped
from echoup.client.diagnose.longchecks.bisection import Trial, between, bracket, deaths, ladder
from echoup.client.diagnose.longchecks.idleproblems import Cut, problems, summary, worded
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
    longest, pauses, slept = path.scope.idle, path.clock.pauses, _slept()
    address = await _addressOf(path)
    streams = None if path.isDatagram else _Search(partial(leaveConnection, path), longest, tell, "TCP")
    datagrams = _Search(partial(leaveSocket, path, address), longest, tell, "UDP")
    if streams:
        _, isAnswered = await together([streams.run(), _searchIfAnswered(path, address, datagrams)])
    else:
        await proveSocket(path, address)
        await datagrams.run()
        isAnswered = True
    if (asleep := _slept() - slept) > ASLEEP:
        return skipped(f"this machine slept for {asleep:.0f} s, in which the timers of the path ran; repeat the check")
    paused = path.clock.pauses - pauses
    cuts = [cut for cut in (streams and streams.cut, datagrams.cut if isAnswered else None) if cut]
    found: list[Problem] = [problem for cut in cuts for problem in problems(cut, paused)]
    figures = {
        "longest": longest,
        "connections": streams and streams.cut.figures,
        "datagrams": datagrams.cut.figures if isAnswered else None,
        "pauses": paused,
    }
    return Finding(summary(cuts), tuple(found), figures)


async def _addressOf(path: PathUnderTest) -> str:
    """Return the address that all checks use, or, where none is known yet, the first of the host."""
    if path.address:
        return path.address
    family, trace = path.target.family, Trace(path.clock.seconds)
    return (await resolve(path.reactor, path.host, family, path.scope.timeout, trace, path.clock))[0]


async def _searchIfAnswered(path: PathUnderTest, address: str, search: "_Search") -> bool:
    """Run `search` if UDP is answered at `address`; return whether it is, and was at the end."""
    try:
        await proveSocket(path, address)
        await search.run()
    except PathError:
        return False
    return True


def _slept() -> float:
    """Return the seconds for which this machine has slept since it started; 0 where that isn't known."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(clock) - time.clock_gettime(time.CLOCK_MONOTONIC) if clock is not None else 0


@dataclass
class _Search:
    """The search for the time after which what is left alone dies."""

    leave: Any
    longest: float
    tell: Tell
    protocol: str

    async def run(self) -> None:
        """Search; raise PathError if nothing could be left alone."""
        first = await self._leaveAll(self.leave, ladder(self.longest), ENOUGH)
        found, kept, keepalive = bracket(first), [], 0
        if found.isCut:
            isSeen = deaths(first)[0].fate.isWhileIdle
            times = [1.1 * found.high + 2] * WITNESSES if isSeen else between(found.low, found.high)
            self.tell(f"{self.protocol}: cut between {worded(found.low)} and {worded(found.high)}; again, and finer")
            rounds = [self._leaveAll(self.leave, times)]
            if self.protocol == "TCP":
                keepalive = max(int(found.high / 3), 1)
                rounds.append(self._leaveAll(partial(self.leave, keepalive=keepalive), [max(times)] * KEPT))
            second, *others = await together(rounds)
            kept = others[0] if others else []
            first += second
        self.cut = Cut.of(self.protocol, first, kept, keepalive)

    async def _leaveAll(self, leave: Leave, times: list[float], enough: float = inf) -> list[Trial]:
        """Leave one alone for each of `times`, until all are over or `enough` have died; return what became of them.

        Raise PathError if none could be left alone.
        """
        trials: list[Trial] = []
        errors: list[PathError] = []
        isOver = False

        async def one(number: int, seconds: float) -> None:
            nonlocal isOver
            try:
                trial = await leave(seconds)
            except PathError as error:
                errors.append(error)
                return
            except CancelledError:
                if isOver:
                    return
                raise
            trials.append(trial)
            later = min((other for other in times if other > seconds), default=0)
            ahead = f"; next after {worded(later)}" if later else ""
            self.tell(f"{self.protocol}: {trial.fate.value} after {worded(trial.seconds)}{ahead}")
            if not isOver and sum(not each.isAlive for each in trials) >= enough:
                isOver = True
                for other in running[:number] + running[number + 1 :]:
                    other.cancel()

        running = [Deferred.fromCoroutine(one(*numbered)) for numbered in enumerate(times)]
        await settled(running)
        if not trials:
            raise errors[0]
        return trials
