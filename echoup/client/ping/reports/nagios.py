"""The report of a plugin for Nagios and the monitoring systems that are compatible with it."""

import re
from collections.abc import Sequence
from enum import IntEnum

from echoup.client.exitcodes import ExitCode
from echoup.client.ping.reports.report import Report, downSince, judgement, milliseconds, percent, untimed
from echoup.client.ping.requirement import Requirement
from echoup.client.ping.statistics import Outcome
from echoup.escaping import shown


class NagiosStatus(IntEnum):
    """The exit codes of a plugin (Monitoring Plugins Development Guidelines, "Plugin Return Codes")."""

    OK = 0
    WARNING = 1
    """A requirement isn't met, but none of the loss or the outage."""
    CRITICAL = 2
    """Probes failed that the requirements don't forgive."""
    UNKNOWN = 3
    """No probe was over, or one couldn't be sent (same source: "low-level failures internal to the plugin")."""


SEVERITY = (NagiosStatus.OK, NagiosStatus.UNKNOWN, NagiosStatus.WARNING, NagiosStatus.CRITICAL)
"""From the best to the worst, as `max_state_alt` of the Monitoring Plugins sorts them."""


class NagiosReport(Report):
    """Writes one line at the end: the status, why, and performance data behind a `|` (same source, "Plugin Output").

    Of several targets the worst status counts, and each has its own performance data, with its name in the labels.
    """

    status = NagiosStatus.UNKNOWN
    """The exit code."""

    def end(self, outcomes: Sequence[Outcome], requirements: Sequence[Requirement]) -> None:
        """Write the line."""
        status = max((_status(outcome, requirements) for outcome in outcomes), key=SEVERITY.index)
        told, data = [], []
        for outcome in outcomes:
            told += _told(outcome, requirements)
            values = _values(outcome)
            if len(outcomes) > 1:
                values = {_label(f"{outcome.target} {name}"): value for name, value in values.items()}
            data += [f"{name}={value}" for name, value in values.items()]
        # A `|` would begin the performance data.
        text = shown("; ".join(told)).replace("|", "/")
        self._write(f"ECHOUP {status.name} - {text} | {' '.join(data)}\n")
        self.status = status


def _status(outcome: Outcome, requirements: Sequence[Requirement]) -> NagiosStatus:
    statistics, code = outcome.statistics, outcome.code
    if code is ExitCode.OK:
        return NagiosStatus.OK if statistics.over else NagiosStatus.UNKNOWN
    if code is ExitCode.LOCAL:
        return NagiosStatus.UNKNOWN
    isPathUnfit = any(each.metric in ("loss", "outage") and not each.isMet(statistics) for each in requirements)
    if code is ExitCode.WRONG and not statistics.wrong and not isPathUnfit:
        return NagiosStatus.WARNING
    return NagiosStatus.CRITICAL


def _told(outcome: Outcome, requirements: Sequence[Requirement]) -> list[str]:
    """Return how many probes were answered, and what is wrong."""
    statistics = outcome.statistics
    text = f"{statistics.answered} of {statistics.sent} answered by {outcome.target}"
    if statistics.avg is not None:
        text += f", avg {milliseconds(statistics.avg)} ms"
    if statistics.current:
        text += f", {downSince(statistics)}"
    reasons = [untimed(statistics)] if statistics.untimed else []
    reasons += [str(statistics.failure)] if statistics.failure else []
    reasons += [f"{statistics.unsent} not sent: {statistics.trouble}"] if statistics.trouble else []
    unmet = [judgement(each, statistics) for each in requirements if not each.isMet(statistics)]
    isTold = statistics.failure or statistics.trouble or unmet
    return [text, *reasons, *unmet, *([outcome.reason] if outcome.reason and not isTold else [])]


def _values(outcome: Outcome) -> dict[str, str]:
    """Return the performance data; U is an unknown value."""
    statistics = outcome.statistics
    avg, longest = statistics.avg, statistics.longest
    outage = "U" if statistics.current else f"{longest.seconds if longest else 0:.3f}s"
    return {
        "time": f"{'U' if avg is None else f'{avg:.6f}s'};;;0",
        "loss": f"{percent(statistics.loss)}%;;;0;100",
        "wrong": f"{statistics.wrong};;;0",
        "outage": f"{outage};;;0",
    }


def _label(text: str) -> str:
    """Return a quoted label, without the characters that it can't have (same source, "Performance data")."""
    return "'" + re.sub("[='|]", "_", shown(text)) + "'"
