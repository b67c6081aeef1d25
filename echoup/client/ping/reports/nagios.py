"""The report of a plugin for Nagios and the monitoring systems that are compatible with it."""

from collections.abc import Sequence
from enum import IntEnum

from echoup.client.exitcodes import ExitCode
from echoup.client.ping.reports.report import Report, judgement, milliseconds, percent, untimed
from echoup.client.ping.requirement import Requirement
from echoup.client.ping.statistics import Statistics
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


class NagiosReport(Report):
    """Writes one line at the end: the status, why, and performance data behind a `|` (same source, "Plugin Output")."""

    status = NagiosStatus.UNKNOWN
    """The exit code."""

    def end(self, statistics: Statistics, requirements: Sequence[Requirement], code: ExitCode) -> None:
        """Write the line."""
        unmet = [each for each in requirements if not each.isMet(statistics)]
        isPathUnfit = any(each.metric in ("loss", "outage") for each in unmet)
        if code is ExitCode.OK:
            status = NagiosStatus.OK if statistics.over else NagiosStatus.UNKNOWN
        elif code is ExitCode.LOCAL:
            status = NagiosStatus.UNKNOWN
        elif code is ExitCode.WRONG and not statistics.wrong and not isPathUnfit:
            status = NagiosStatus.WARNING
        else:
            status = NagiosStatus.CRITICAL
        avg = statistics.avg
        text = f"{statistics.answered} of {statistics.sent} answered by {self._target}"
        if avg is not None:
            text += f", avg {milliseconds(avg)} ms"
        reasons = [untimed(statistics)] if statistics.untimed else []
        reasons += [str(statistics.failure)] if statistics.failure else []
        reasons += [f"{statistics.unsent} not sent: {statistics.trouble}"] if statistics.trouble else []
        reasons += [judgement(each, statistics) for each in unmet]
        data = [
            f"time={'U' if avg is None else f'{avg:.6f}s'};;;0",  # U: there is no value
            f"loss={percent(statistics.loss)}%;;;0;100",
            f"wrong={statistics.wrong};;;0",
            f"outage={statistics.outage.seconds if statistics.outage else 0:.3f}s;;;0",
        ]
        # A `|` would begin the performance data.
        text = shown("; ".join([text, *reasons])).replace("|", "/")
        self._write(f"ECHOUP {status.name} - {text} | {' '.join(data)}\n")
        self.status = status
