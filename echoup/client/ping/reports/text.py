"""The report that a person reads."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import click

from echoup.client.connect.trace import Phase, Step
from echoup.client.exitcodes import ExitCode
from echoup.client.ping.reports.report import (
    PERCENTILES,
    Report,
    counts,
    downSince,
    judgement,
    milliseconds,
    outages,
    soFar,
    untimed,
)
from echoup.client.ping.requirement import Requirement
from echoup.client.ping.result import Result
from echoup.client.ping.statistics import Outcome, Statistics
from echoup.escaping import shown
from echoup.plurals import counted

ERASE = "\r\x1b[K"
"""Goes to the start of the line and clears it (ECMA-48, 8.3.41: EL)."""

PATIENCE = (ExitCode.TIMED_OUT, ExitCode.INTERRUPTED)  # shown in yellow, not red: the answer may just be late
WIDTH = max(len(step.value) for step in Step)


class TextReport(Report):
    """Prints a line for each probe, and the statistics at the end, as ping(8) does."""

    def __init__(
        self,
        write: Callable[[str], None],
        quiet: bool = False,
        verbose: bool = False,
        isTerminal: bool = False,
        hasTimestamps: bool = False,
    ) -> None:
        """`quiet`: only the statistics. `verbose`: the phases, too. `isTerminal`: with colours and a live last line.

        `hasTimestamps`: the line of a probe begins with the time at which it is written, as with ping(8)'s option -D.
        """
        super().__init__(write)
        self._quiet = quiet
        self._verbose = verbose
        self._isTerminal = isTerminal
        self._hasTimestamps = hasTimestamps
        self._hasSeveral = False
        self._live = ""

    def begin(self, targets: Sequence[str], size: int) -> None:
        """Print the heading."""
        self._hasSeveral = len(targets) > 1
        if not self._quiet:
            self._print(f"ECHOUP {shown(', '.join(targets))}: {counted(size, 'byte')}")

    def add(self, result: Result, target: str) -> None:
        """Print the outcome of a probe."""
        if not self._quiet:
            self._print(*self._lines(result, target))

    def tick(self, everything: Mapping[str, Statistics], now: float) -> None:
        """Update the live line."""
        if self._quiet or not self._isTerminal:
            return
        live = counts(*everything.values())
        for target, statistics in everything.items():
            if statistics.current:
                began = f"{downSince(statistics)}, {now - statistics.current.began:.0f} s ago"
                live += f", {self._of(target)}{began}"
        live = live[: shutil.get_terminal_size().columns - 1]  # a line of the full width may wrap
        if live != self._live:
            self._write(ERASE + live)
            self._live = live

    def showSoFar(self, everything: Mapping[str, Statistics]) -> None:
        """Print the statistics so far, on a terminal in place of the live line and of what was typed."""
        if self._isTerminal:
            lines = [f"{self._of(target)}{soFar(statistics)}\n" for target, statistics in everything.items()]
            self._write(ERASE + "".join(lines))
            self._live = ""
        else:
            super().showSoFar(everything)

    def end(self, outcomes: Sequence[Outcome], requirements: Sequence[Requirement]) -> None:
        """Print the statistics of each target, and which requirements are met."""
        lines = []
        for outcome in outcomes:
            if outcome.statistics.waiting and not self._quiet:
                lines += self._lines(outcome.statistics.waiting, outcome.target)
        for outcome in outcomes:
            lines += [] if self._quiet else [""]
            lines += [f"--- {shown(outcome.target)} statistics ---", *_summary(outcome.statistics)]
            lines += [judgement(requirement, outcome.statistics) for requirement in requirements]
        self._print(*lines)

    def _print(self, *lines: str) -> None:
        """Write whole lines in place of the live one."""
        self._write((ERASE if self._live else "") + "".join(f"{line}\n" for line in lines))
        self._live = ""

    def _of(self, target: str) -> str:
        """Return how a line about `target` begins: with its name, where there are several."""
        return f"{shown(target)}: " if self._hasSeveral else ""

    def _lines(self, result: Result, target: str) -> list[str]:
        now = f"[{datetime.now(UTC).timestamp():.6f}] " if self._hasTimestamps else ""
        return [f"{now}{self._of(target)}{self._probe(result)}", *(_phases(result) if self._verbose else ())]

    def _probe(self, result: Result) -> str:
        seq, error, verdict = f"seq={result.seq}", result.error, result.verdict
        time = "time unknown" if result.seconds is None else f"time={milliseconds(result.seconds)} ms"
        here = f" to {shown(result.local)}" if self._verbose and result.local else ""
        address = (error and error.address) or result.remote
        between = f" from {shown(address)}{here}" if address else ""
        if error is None:
            size = counted(result.reply.received, "byte")
            return f"{size} {self._colour('uppercased', 'green')}{between}: {seq} {time}"
        if verdict is None:
            word = result.step.value if result.step else "failed"
            where = f"{' ' if result.step is Step.RESOLVE else ' at '}{shown(address)}" if address else ""
            word = self._colour(word, "yellow" if error.code in PATIENCE else "red")
            return f"{seq} {word}{where}: {shown(error.reason)}"
        why = result.reply.evidence if result.isWrong else shown(error.reason)
        return f"{seq} {self._colour(verdict.value, 'red')}{between}: {why}, {time}"

    def _colour(self, word: str, colour: str) -> str:
        return click.style(word, fg=colour) if self._isTerminal and not os.environ.get("NO_COLOR") else word


def _summary(statistics: Statistics) -> Iterator[str]:
    """Yield the lines of the statistics."""
    yield counts(statistics) + (f", {statistics.unfinished} unfinished" if statistics.unfinished else "")
    if statistics.times:
        names = ("min", "avg", "max", "stddev")
        values = "/".join(milliseconds(getattr(statistics, name)) for name in names)
        percentiles = "/".join(milliseconds(statistics.percentile(p) or 0) for p in PERCENTILES)
        yield f"time {'/'.join(names)} = {values} ms"
        yield f"     {'/'.join(f'p{p}' for p in PERCENTILES)} = {percentiles} ms"
    if statistics.untimed:
        yield untimed(statistics)
    yield from outages(statistics)


def _phases(result: Result) -> Iterator[str]:
    """Yield a line for each step: its name, how long it time, and what is known of it."""
    for phase in result.trace.phases:
        time = "-" if phase.seconds is None or result.seconds is None else f"{milliseconds(phase.seconds)} ms"
        yield shown(f"    {phase.step.value:{WIDTH}} {time:>9}  {', '.join(_details(phase, result))}".rstrip())


def _details(phase: Phase, result: Result) -> Iterator[str]:
    for name, value in phase.details.items():
        if name == "addresses":
            yield from value
        else:
            yield f"from {value}" if name == "local" else value
    if phase.step is Step.TLS and result.trace.certificate:
        yield _certificate(result.trace.certificate, result.at)
    if phase.tcp:
        yield phase.tcp.state
        if phase.tcp.rtt:
            yield f"rtt {milliseconds(phase.tcp.rtt)} ms"
        yield f"retransmits {phase.tcp.retransmits}"
    if phase.error:
        yield phase.error


def _certificate(der: bytes, at: float) -> str:
    """Return a certificate's names, and how long it is valid, at `at` seconds since the epoch."""
    from echoup.tls.certificateinfo import parseCertificate

    certificate = parseCertificate(der)
    if certificate is None:
        return "certificate unreadable"
    now = datetime.fromtimestamp(at, UTC)
    days = certificate.daysLeft(now)
    left = counted(round(-days) if days < 0 else int(days), "day")
    left = f"expired {left} ago" if days < 0 else f"{left} left"
    if now < certificate.notBefore:
        left = f"not valid before {certificate.notBefore:%Y-%m-%d %H:%M:%S} UTC"
    return f"certificate {certificate.subject}, issuer {certificate.issuer}, {left}"
