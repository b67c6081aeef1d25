"""The report that a person reads."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import click

from echoup.client.connect.trace import Phase, Step
from echoup.client.exitcodes import ExitCode
from echoup.client.ping.reports.report import (
    PERCENTILES,
    Report,
    counts,
    judgement,
    milliseconds,
    outages,
    soFar,
    untimed,
)
from echoup.client.ping.requirement import Requirement
from echoup.client.ping.result import Result
from echoup.client.ping.statistics import Statistics
from echoup.escaping import shown
from echoup.plurals import counted

ERASE = "\r\x1b[K"
"""Goes to the start of the line and clears it (ECMA-48, 8.3.41: EL)."""

PATIENCE = (ExitCode.TIMED_OUT, ExitCode.INTERRUPTED)  # shown in yellow, not red: the answer may just be late
WIDTH = max(len(step.value) for step in Step)


class TextReport(Report):
    """Prints a line for each probe, and the statistics at the end, as ping(8) does."""

    def __init__(self, write: Callable[[str], None], quiet: bool, verbose: bool, isTerminal: bool) -> None:
        """`quiet`: only the statistics. `verbose`: the phases, too. `isTerminal`: with colours and a live last line."""
        super().__init__(write)
        self._quiet = quiet
        self._verbose = verbose
        self._isTerminal = isTerminal
        self._live = ""

    def begin(self, target: object, size: int) -> None:
        """Print the heading."""
        self._target = shown(target)
        if not self._quiet:
            self._print(f"ECHOUP {self._target}: {counted(size, 'byte')}")

    def add(self, result: Result) -> None:
        """Print the outcome of a probe."""
        if not self._quiet:
            self._print(*self._lines(result))

    def tick(self, statistics: Statistics, now: float) -> None:
        """Update the live line."""
        if self._quiet or not self._isTerminal:
            return
        live = counts(statistics)
        if statistics.current:
            live += f", down for {now - statistics.current.began:.0f} s"
        live = live[: shutil.get_terminal_size().columns - 1]  # a line of the full width may wrap
        if live != self._live:
            self._write(ERASE + live)
            self._live = live

    def showSoFar(self, statistics: Statistics) -> None:
        """Print the statistics so far in one line, on a terminal in place of the live one and of what was typed."""
        if self._isTerminal:
            self._write(f"{ERASE}{soFar(statistics)}\n")
            self._live = ""
        else:
            super().showSoFar(statistics)

    def end(self, statistics: Statistics, requirements: Sequence[Requirement], code: ExitCode) -> None:
        """Print the statistics, and which requirements are met."""
        lines = []
        if not self._quiet:
            lines += [*(self._lines(statistics.waiting) if statistics.waiting else ()), ""]
        unfinished = f", {statistics.unfinished} unfinished" if statistics.unfinished else ""
        lines += [f"--- {self._target} statistics ---", counts(statistics) + unfinished]
        if statistics.times:
            names = ("min", "avg", "max", "stddev")
            values = "/".join(milliseconds(getattr(statistics, name)) for name in names)
            percentiles = "/".join(milliseconds(statistics.percentile(p) or 0) for p in PERCENTILES)
            lines.append(f"time {'/'.join(names)} = {values} ms")
            lines.append(f"     {'/'.join(f'p{p}' for p in PERCENTILES)} = {percentiles} ms")
        if statistics.untimed:
            lines.append(untimed(statistics))
        lines += outages(statistics)
        lines += [judgement(requirement, statistics) for requirement in requirements]
        self._print(*lines)

    def _print(self, *lines: str) -> None:
        """Write whole lines in place of the live one."""
        self._write((ERASE if self._live else "") + "".join(f"{line}\n" for line in lines))
        self._live = ""

    def _lines(self, result: Result) -> list[str]:
        return [self._probe(result), *(_phases(result) if self._verbose else ())]

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


def _phases(result: Result) -> Iterator[str]:
    """Yield a line for each step: its name, how long it took, and what is known of it."""
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
