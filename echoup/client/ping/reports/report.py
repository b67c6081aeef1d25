"""What the reports of probes have in common, and the words that they share."""

from collections.abc import Callable, Sequence

from echoup.client.exitcodes import ExitCode
from echoup.client.ping.requirement import COUNTS, Requirement
from echoup.client.ping.result import Result
from echoup.client.ping.statistics import Statistics

PERCENTILES = (50, 90, 95, 99)
"""The percentiles that every report shows."""


class Report:
    """Gets each event of a run as it happens; a subclass writes those that its format has."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def begin(self, target: object, size: int) -> None:
        """Begin the report of probes of `size` bytes to `target`."""
        self._target = str(target)

    def add(self, result: Result) -> None:
        """Report a probe that is over."""

    def tick(self, statistics: Statistics, now: float) -> None:
        """Show the counts, `now` by the reactor's clock; called when a probe has begun and when one is over."""

    def end(self, statistics: Statistics, requirements: Sequence[Requirement], code: ExitCode) -> None:
        """End the report; `code` is the exit code."""


def untimed(statistics: Statistics) -> str:
    """Say how many answers have no time, and why."""
    answers = "answer" if statistics.untimed == 1 else "answers"
    return f"{statistics.untimed} {answers} without a time: this process was paused meanwhile"


def downSince(statistics: Statistics) -> str:
    """Say since when nothing is answered; an outage that isn't over has no known length."""
    return f"down since seq {statistics.current.first}" if statistics.current else "unknown"


def milliseconds(seconds: float) -> str:
    """Return a time in milliseconds, without the unit, with the decimals that ping(8) shows."""
    time = seconds * 1000
    decimals = next((decimals for limit, decimals in ((1, 3), (10, 2), (100, 1)) if time < limit), 0)
    return f"{time:.{decimals}f}"


def percent(share: float) -> str:
    """Return a share, 0 to 1, in percent, without the sign."""
    return f"{100 * share:.3g}"


def judgement(requirement: Requirement, statistics: Statistics) -> str:
    """Return whether `requirement` is met, and the value: `p99<5ms: met (3.20 ms)`."""
    value = requirement.value(statistics)
    if value is None:
        found = downSince(statistics) if requirement.metric == "outage" else "unknown"
    elif requirement.metric == "loss":
        found = f"{percent(value)} %"
    elif requirement.metric in COUNTS:
        found = str(value)
    else:
        found = f"{milliseconds(value)} ms"
    return f"{requirement.text}: {'met' if requirement.isMet(statistics) else 'not met'} ({found})"
