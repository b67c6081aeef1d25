"""After what time something that is left alone dies: which times to try side by side, and what they tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import ceil
from statistics import median
from typing import Any

from echoup.client.diagnose.amounts import time

WIDTH = 16
"""How many times are tried side by side, at most; one more of them is known to kill."""

RATIO = 1.5
"""How much longer each time of the ladder is than the one before."""

LEAST = 1.0
"""Seconds: the shortest time that is tried, and the step that is fine enough for short times."""

SHARE = 0.02
"""The step that is fine enough for long times, as a share of the time."""

SPREAD = 0.1
"""Seconds: a FIN or RST that came while idle isn't timed more precisely than that."""


class IdleFate(Enum):
    """What became of something that was left alone; the values are the words of the report and of the JSON."""

    ALIVE = "alive"
    CLOSED = "FIN while idle"
    RESET = "RST while idle"
    CLOSED_AT_PROBE = "FIN at the next byte"
    RESET_AT_PROBE = "RST at the next byte"
    SILENT = "silent"
    """The probe was not acknowledged."""
    UNANSWERED = "acknowledged, but not answered"

    @property
    def isWhileIdle(self) -> bool:
        """Whether it was seen at the moment of the cut, so that its time needs no bisection."""
        return self in (IdleFate.CLOSED, IdleFate.RESET)


@dataclass(frozen=True)
class Trial:
    """One of them, what became of it, and after how many idle seconds that was seen."""

    seconds: float
    fate: IdleFate
    evidence: str = ""

    @property
    def isAlive(self) -> bool:
        """Whether it lived."""
        return self.fate is IdleFate.ALIVE

    def __str__(self) -> str:
        """Return it in words."""
        return f"after {time(self.seconds)}: {self.fate.value}" + f"; {self.evidence}" * bool(self.evidence)


def ladder(longest: float) -> list[float]:
    """Return the times to try first, in seconds: `longest`, and shorter ones in equal proportions, WIDTH at most."""
    times = [longest]
    while len(times) < WIDTH and times[-1] / RATIO >= LEAST:
        times.append(times[-1] / RATIO)
    return times


def between(low: float, high: float) -> list[float]:
    """Return `high`, and the times that divide the interval from `low` up to it into steps that are fine enough."""
    steps = min(max(ceil((high - low) / step(high)), 1), WIDTH + 1)
    return [high - (high - low) * number / steps for number in range(steps)]


def step(seconds: float) -> float:
    """Return the step that is fine enough around `seconds`, both in seconds."""
    return max(LEAST, SHARE * seconds)


@dataclass(frozen=True)
class Cut:
    """The cut that trials show, or that there is none; times are in seconds."""

    protocol: str
    """`TCP` or `UDP`."""
    trials: Sequence[Trial]
    keepalive: int = 0
    """The interval of TCP keepalive of those in `kept`."""
    kept: Sequence[Trial] = ()
    """What became of connections with TCP keepalive."""

    @property
    def lived(self) -> float:
        """The longest time that one lived; 0 if none did."""
        return max((trial.seconds for trial in self.trials if trial.isAlive), default=0.0)

    @property
    def deaths(self) -> list[Trial]:
        """Those that a cut explains, if one time holds for all; the earliest death first.

        None lived longer than they did by more than a step: who cuts may look at its connections only so often.
        """
        return [trial for trial in self._dead if trial.seconds + step(trial.seconds) > self.lived]

    @property
    def outlived(self) -> list[Trial]:
        """The other dead ones, which others outlived; the earliest death first."""
        return [trial for trial in self._dead if trial.seconds + step(trial.seconds) <= self.lived]

    @property
    def fate(self) -> IdleFate:
        """How they are cut; ALIVE if they aren't."""
        fates = [trial.fate for trial in self.deaths]
        return next((fate for fate in fates if fate.isWhileIdle), fates[0] if fates else IdleFate.ALIVE)

    @property
    def bounds(self) -> tuple[float, float]:
        """The times between which the cut is: around those that were seen, or the longest life and the first death."""
        if seen := [trial.seconds for trial in self.deaths if trial.fate.isWhileIdle]:
            within = max((max(seen) - min(seen)) / 2, SPREAD)
            return median(seen) - within, median(seen) + within
        first = self.deaths[0].seconds
        return min(self.lived, first), max(self.lived, first)

    @property
    def isKept(self) -> bool:
        """Whether those with TCP keepalive lived."""
        return bool(self.kept) and all(trial.isAlive for trial in self.kept)

    @property
    def figures(self) -> dict[str, Any]:
        """What the JSON has."""
        cut = None
        if self.deaths:
            low, high = self.bounds
            cut = {"how": self.fate.value, "after": (low + high) / 2, "within": (high - low) / 2}
        tried = {"interval": self.keepalive, "lived": self.isKept} if self.kept else None
        return {"lived": self.lived, "cut": cut, "keepalive": tried, "outlived": len(self.outlived)}

    @property
    def _dead(self) -> list[Trial]:
        return sorted((trial for trial in self.trials if not trial.isAlive), key=lambda trial: trial.seconds)
