"""After what time something that is left alone dies: which times to try side by side, and what they tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import ceil, inf

WIDTH = 16
"""How many times are tried side by side, at most; one more of them is known to kill."""

RATIO = 1.5
"""How much longer each time of the ladder is than the one before."""

LEAST = 1.0
"""Seconds: the shortest time that is tried, and the step that is fine enough for short times."""

SHARE = 0.02
"""The step that is fine enough for long times, as a share of the time."""


class Fate(Enum):
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
        return self in (Fate.CLOSED, Fate.RESET)


@dataclass(frozen=True)
class Trial:
    """One of them, what became of it, and after how many idle seconds that was seen."""

    seconds: float
    fate: Fate
    evidence: str = ""

    @property
    def isAlive(self) -> bool:
        """Whether it lived."""
        return self.fate is Fate.ALIVE


@dataclass(frozen=True)
class Bracket:
    """The times between which the cut lies, in seconds."""

    low: float
    high: float
    """Infinite if there is no cut."""

    @property
    def isCut(self) -> bool:
        """Whether there is a cut."""
        return self.high < inf


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


def step(time: float) -> float:
    """Return the step that is fine enough around `time`, both in seconds."""
    return max(LEAST, SHARE * time)


def longestLife(trials: Sequence[Trial]) -> float:
    """Return the longest time that one of `trials` lived, in seconds; 0 if none did."""
    return max((trial.seconds for trial in trials if trial.isAlive), default=0.0)


def deaths(trials: Sequence[Trial]) -> list[Trial]:
    """Return those of `trials` that a cut explains, if one time holds for all; the earliest death first.

    None lived longer than they did by more than a step: who cuts may look at its connections only so often.
    """
    return [trial for trial in _dead(trials) if trial.seconds + step(trial.seconds) > longestLife(trials)]


def outlived(trials: Sequence[Trial]) -> list[Trial]:
    """Return the other dead ones, which others outlived; the earliest death first."""
    return [trial for trial in _dead(trials) if trial.seconds + step(trial.seconds) <= longestLife(trials)]


def bracket(trials: Sequence[Trial]) -> Bracket:
    """Return between which times the cut is: the longest life and the first of the deaths, in their order."""
    low = longestLife(trials)
    first = next((trial.seconds for trial in deaths(trials)), inf)
    return Bracket(min(low, first), max(low, first))


def _dead(trials: Sequence[Trial]) -> list[Trial]:
    return sorted((trial for trial in trials if not trial.isAlive), key=lambda trial: trial.seconds)
