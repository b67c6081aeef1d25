"""What the reports of probes have in common, and the words that they share."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from echoup.client.exitcodes import PathError
from echoup.client.ping.requirement import CERTIFICATE, COUNTS, Requirement
from echoup.client.ping.result import Result
from echoup.client.ping.statistics import Outage, Outcome, Statistics
from echoup.escaping import shown

PERCENTILES = (50, 90, 95, 99)
"""The percentiles that every report shows."""


class Report:
    """Gets each event of a run as it happens; a subclass writes those that its format has."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def begin(self, targets: Sequence[str], size: int) -> None:
        """Begin the report of probes of `size` bytes to `targets`, by the names that messages have for them."""

    def add(self, result: Result, target: str) -> None:
        """Report a probe of `target` that is over."""

    def tick(self, everything: Mapping[str, Statistics], now: float) -> None:
        """Show the counts, `now` by the reactor's clock; called when a probe has begun and when one is over.

        `everything` has the statistics of each target by its name.
        """

    def showSoFar(self, everything: Mapping[str, Statistics]) -> None:
        """Show the statistics so far, a line for each target.

        They go to standard error, as those of ping(8) do: a program may read the output.
        """
        if sys.stderr:
            start = "\r" if sys.stderr.isatty() else ""  # over the ^\ that a terminal shows
            lines = [f"echoup: {shown(target)}: {soFar(statistics)}\n" for target, statistics in everything.items()]
            with suppress(PathError):
                sys.stderr.write(start + "".join(lines))

    def end(self, outcomes: Sequence[Outcome], requirements: Sequence[Requirement]) -> None:
        """End the report."""


def untimed(statistics: Statistics) -> str:
    """Say how many replies have no time, and why."""
    replies = "reply has" if statistics.untimed == 1 else "replies have"
    return f"{statistics.untimed} {replies} no time: echoup was paused meanwhile"


def counts(*several: Statistics) -> str:
    """Return the counts of one target, or the sums of several; those of UDP, and of the unsent, only if not 0."""

    def total(name: str) -> int:
        return sum(getattr(statistics, name) for statistics in several)

    over = total("over")
    loss = total("lost") / over if over else 0
    counted = [f"{total('sent')} sent", f"{total('answered')} answered"]
    counted += [f"{total('lost')} lost ({percent(loss)} %)", f"{total('wrong')} wrong"]
    rare = [*((name, total(name)) for name in COUNTS), ("not sent (local trouble)", total("unsent"))]
    return ", ".join(counted + [f"{count} {name}" for name, count in rare if count])


def soFar(statistics: Statistics) -> str:
    """Return the counts, times and outages in one line."""
    told = [counts(statistics)]
    if statistics.unfinished:
        told.append(f"{statistics.unfinished} under way")
    if statistics.times:
        values = "/".join(milliseconds(getattr(statistics, name)) for name in ("min", "avg", "max"))
        told.append(f"time min/avg/max = {values} ms")
    return ", ".join([*told, *outages(statistics)])


def outages(statistics: Statistics) -> list[str]:
    """Return what is known of the longest outage that is over, and of the one that isn't."""
    return [
        *([_longest(statistics.longest)] if statistics.longest else ()),
        *([downSince(statistics)] if statistics.current else ()),
    ]


def _longest(outage: Outage) -> str:
    seqs = f"at seq {outage.first}" if outage.first == outage.last else f"from seq {outage.first} to {outage.last}"
    return f"longest outage {outage.seconds:.3f} s, {seqs}"


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
    elif requirement.metric == CERTIFICATE:
        found = f"{value:.1f} days"
    else:
        found = f"{milliseconds(value)} ms"
    return f"{requirement.text}: {'met' if requirement.isMet(statistics) else 'not met'} ({found})"
