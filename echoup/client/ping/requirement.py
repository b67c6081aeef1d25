"""The limits of `--require`, such as `p99<5ms`."""

import re
from dataclasses import dataclass

from echoup.client.ping.statistics import Statistics

COUNTS = ("duplicates", "reordered", "late")
TIMES = ("min", "avg", "max", "stddev", "outage")
_TIME = {"us": "e-6", "µs": "e-6", "μs": "e-6", "ms": "e-3", "s": "", "m": ""}  # there are two letters µ
UNITS = {"loss": {"%": "e-2"}} | {name: {"": ""} for name in COUNTS} | dict.fromkeys((*TIMES, "pNN"), _TIME)
"""The units of each metric, as exponents in text, because 0.7 / 100 isn't 0.007; a minute is 60 s, and has none."""

ALLOWED = (
    "METRIC<VALUE or METRIC<=VALUE, such as 'p99<5ms': loss with %;"
    f" {', '.join(COUNTS)} without a unit; {', '.join(TIMES)} and p0.0001 to p100 with us, ms, s or m"
)
"""The forms of a requirement, for a message."""

_REQUIREMENT = r"([a-z]+|p([0-9]{1,3}(?:\.[0-9]{1,4})?)) *(<=?) *([0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9}) *(\S*)"


@dataclass(frozen=True)
class Requirement:
    """An upper limit for one metric."""

    text: str
    """The requirement as it was given, without blanks."""
    metric: str
    """`loss`, one of COUNTS or TIMES, or a percentile: `p` and a number."""
    limit: float
    """In seconds for times, 0 to 1 for `loss`."""
    isInclusive: bool
    """Whether the limit itself is allowed."""

    def value(self, statistics: Statistics) -> float | None:
        """Return the metric, in the unit of `limit`; None if it is unknown: no probe is over, or there is no time."""
        if not statistics.over:
            return None
        if self.metric == "outage":
            return statistics.outage.seconds if statistics.outage else 0.0
        if self.metric.startswith("p"):
            return statistics.percentile(float(self.metric[1:]))
        value: float | None = getattr(statistics, self.metric)
        return value

    def isMet(self, statistics: Statistics) -> bool:
        """Return whether the metric is known, and below the limit."""
        value = self.value(statistics)
        return value is not None and (value < self.limit or (self.isInclusive and value == self.limit))


def parseRequirement(text: str) -> Requirement:
    """Return the requirement that `text` states; raise ValueError, with one line that says what is allowed."""
    if found := re.fullmatch(_REQUIREMENT, text.strip(" ")):
        metric, p, sign, number, unit = found.groups(default="")
        exponent = UNITS.get("pNN" if p else metric, {}).get(unit)
        if exponent is not None and (not p or 0 < float(p) <= 100):
            limit = float(number + exponent) * (60 if unit == "m" else 1)
            return Requirement(f"{metric}{sign}{number}{unit}", metric, limit, sign == "<=")
    raise ValueError(f"{text!r} is not {ALLOWED}")
