"""The limits of `--require`, such as `p99<5ms`."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from echoup.client.connect.resolve import versionOf
from echoup.client.connect.trace import Step
from echoup.client.ping.schedule import Schedule
from echoup.client.ping.statistics import Statistics
from echoup.client.target.datagram import DatagramTarget
from echoup.client.target.parse import Target
from echoup.durations import UNITS, parseDuration

COUNTS = ("duplicates", "reordered", "late")
TIMES = ("min", "avg", "max", "stddev", "outage")
STEPS = {step.value.replace(" ", "-"): step for step in Step}
"""The steps by the names of their metrics, which are written without a blank."""
CERTIFICATE = "certificate"

ALLOWED = (
    "METRIC<VALUE or METRIC<=VALUE, such as 'p99<5ms', or 'certificate>14d': loss with %;"
    f" {', '.join(COUNTS)} without a unit; {', '.join(TIMES)}, p0.0001 to p100, {', '.join(STEPS)}"
    f" with us, ms, s or m; {CERTIFICATE} with d"
)
"""The forms of a requirement, for a message."""

_REQUIREMENT = re.compile(
    r"([a-zA-Z-]+|p([0-9]{1,3}(?:\.[0-9]{1,4})?)) *([<>]=?) *([0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9}) *(\S*)"
)


@dataclass(frozen=True)
class Requirement:
    """An upper limit for one metric; for CERTIFICATE a lower one."""

    text: str
    """The requirement as given, without blanks."""
    metric: str
    """`loss`, one of COUNTS, TIMES or STEPS, CERTIFICATE, or a percentile: `p` and a number."""
    limit: float
    """In seconds for times, in days for CERTIFICATE, 0 to 1 for `loss`."""
    isInclusive: bool
    """Whether the limit itself is allowed."""

    def check(self, target: Target, schedule: Schedule) -> None:
        """Raise ValueError, with one line, if probes of `target` can't have the step or the certificate."""
        needed = Step.TLS if self.metric == CERTIFICATE else STEPS.get(self.metric)
        if needed and needed not in stepsOf(target, schedule):
            what = "server's certificate" if self.metric == CERTIFICATE else f"step {needed.value}"
            raise ValueError(f"{self.text} can't be met: a probe of {target} has no {what}")

    def value(self, statistics: Statistics) -> float | None:
        """Return the metric, in the unit of `limit`.

        None if it is unknown: no probe is over, there is no time, no such step or no certificate, or an outage isn't
        over. That of a step is the longest of all probes, that of CERTIFICATE the days that were left when it was shown
        last, the fewest of several.
        """
        if not statistics.over:
            return None
        if self.metric == "outage":
            longest = statistics.longest
            return None if statistics.current else longest.seconds if longest else 0.0
        if self.metric in STEPS:
            return statistics.slowest.get(STEPS[self.metric])
        if self.metric == CERTIFICATE:
            return _daysLeft(statistics)
        if self.metric.startswith("p"):
            return statistics.percentile(float(self.metric[1:]))
        value: float | None = getattr(statistics, self.metric)
        return value

    def isMet(self, statistics: Statistics) -> bool:
        """Return whether the metric is known, and within the limit."""
        value = self.value(statistics)
        if value is None:
            return False
        if value == self.limit:
            return self.isInclusive
        return value > self.limit if self.metric == CERTIFICATE else value < self.limit


def parseRequirement(text: str) -> Requirement:
    """Return the requirement that `text` states, or raise ValueError, with one line that says what is allowed."""
    if found := _REQUIREMENT.fullmatch(text.strip(" ")):
        metric, p, sign, number, unit = found.groups(default="")
        limit = _parseLimit(metric, number, unit)
        isRightWay = (sign[0] == ">") == (metric == CERTIFICATE)
        if limit is not None and isRightWay and (not p or 0 < float(p) <= 100):
            return Requirement(f"{metric}{sign}{number}{unit}", metric, limit, sign.endswith("="))
    raise ValueError(f"{text!r} is not {ALLOWED}")


def stepsOf(target: Target, schedule: Schedule) -> set[Step]:
    """Return the steps that probes of `target` have."""
    steps = {Step.FIRST_BYTE}
    if target.host and not versionOf(target.host):
        steps.add(Step.RESOLVE)
    if isinstance(target, DatagramTarget):
        return steps
    steps |= {Step.CONNECT, Step.ALL_BYTES}
    options = {Step.PROXY: target.proxyProtocol, Step.TLS: target.security, Step.END: schedule.halfClose}
    return steps | {step for step, value in options.items() if value}


def _parseLimit(metric: str, number: str, unit: str) -> float | None:
    """Return the limit in the unit of `Requirement.limit`; None if the metric hasn't that unit.

    A time needs a unit, because a bare number of a latency might be meant as milliseconds.
    """
    if metric in COUNTS:
        return None if unit else float(number)
    if metric == "loss":
        return float(f"{number}e-2") if unit == "%" else None  # because 0.7 / 100 isn't 0.007
    if metric == CERTIFICATE:
        return float(number) if unit == "d" else None
    isTime = metric in TIMES or metric in STEPS or metric[1:2].isdigit()
    return parseDuration(number + unit) if isTime and unit in UNITS else None


def _daysLeft(statistics: Statistics) -> float | None:
    from echoup.tls.certificateinfo import parseCertificate

    left = []
    for der, at in statistics.certificates.items():
        if (certificate := parseCertificate(der)) is None:
            return None
        left.append(certificate.daysLeft(datetime.fromtimestamp(at, UTC)))
    return min(left, default=None)
