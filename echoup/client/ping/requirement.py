"""The limits of `--require`, such as `p99<5ms`."""

import re
from dataclasses import dataclass

from echoup.client.ping.statistics import Statistics
from echoup.durations import UNITS, parseDuration

COUNTS = ("duplicates", "reordered", "late")
TIMES = ("min", "avg", "max", "stddev", "outage")

ALLOWED = (
    "METRIC<VALUE or METRIC<=VALUE, such as 'p99<5ms': loss with %;"
    f" {', '.join(COUNTS)} without a unit; {', '.join(TIMES)} and p0.0001 to p100 with us, ms, s or m"
)
"""The forms of a requirement, for a message."""

_REQUIREMENT = re.compile(
    r"([a-z]+|p([0-9]{1,3}(?:\.[0-9]{1,4})?)) *(<=?) *([0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9}) *(\S*)"
)


@dataclass(frozen=True)
class Requirement:
    """An upper limit for one metric."""

    text: str
    """The requirement as given, without blanks."""
    metric: str
    """`loss`, one of COUNTS or TIMES, or a percentile: `p` and a number."""
    limit: float
    """In seconds for times, 0 to 1 for `loss`."""
    isInclusive: bool
    """Whether the limit itself is allowed."""

    def value(self, statistics: Statistics) -> float | None:
        """Return the metric, in the unit of `limit`.

        None if it is unknown: no probe is over, there is no time, or an outage isn't over.
        """
        if not statistics.over:
            return None
        if self.metric == "outage":
            longest = statistics.longest
            return None if statistics.current else longest.seconds if longest else 0.0
        if self.metric.startswith("p"):
            return statistics.percentile(float(self.metric[1:]))
        value: float | None = getattr(statistics, self.metric)
        return value

    def isMet(self, statistics: Statistics) -> bool:
        """Return whether the metric is known, and below the limit."""
        value = self.value(statistics)
        return value is not None and (value < self.limit or (self.isInclusive and value == self.limit))


def parseRequirement(text: str) -> Requirement:
    """Return the requirement that `text` states, or raise ValueError, with one line that says what is allowed."""
    if found := _REQUIREMENT.fullmatch(text.strip(" ")):
        metric, p, sign, number, unit = found.groups(default="")
        limit = _parseLimit(metric, number, unit)
        if limit is not None and (not p or 0 < float(p) <= 100):
            return Requirement(f"{metric}{sign}{number}{unit}", metric, limit, sign == "<=")
    raise ValueError(f"{text!r} is not {ALLOWED}")


def _parseLimit(metric: str, number: str, unit: str) -> float | None:
    """Return the limit in the unit of `Requirement.limit`; None if the metric hasn't that unit.

    A time needs a unit, because a bare number of a latency might be meant as milliseconds.
    """
    if metric in COUNTS:
        return None if unit else float(number)
    if metric == "loss":
        return float(f"{number}e-2") if unit == "%" else None  # because 0.7 / 100 isn't 0.007
    isTime = metric in TIMES or metric[1:2].isdigit()
    return parseDuration(number + unit) if isTime and unit in UNITS else None
