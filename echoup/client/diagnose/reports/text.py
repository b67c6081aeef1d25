"""The report that a person reads."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from textwrap import wrap

import click

from echoup.client.diagnose.conclusion import Conclusion
from echoup.client.diagnose.finding import Finding, Problem, Status
from echoup.client.diagnose.reports.report import DiagnosisReport
from echoup.escaping import shown

COLOURS = {Status.OK: "green", Status.NOTE: "cyan", Status.WARN: "yellow", Status.FAIL: "red"}

WIDTH = 100
"""The most columns of an explanation, and fewer on a narrow terminal; a summary is one line, however long it is."""

_STATUS, _NAME, _LABEL = 8, 11, 7
"""The columns of the first words of a line."""

_ERASE_BELOW = "\x1b[J"
"""Clears from the cursor to the end of the screen (ECMA-48, 8.3.39: ED)."""


class DiagnosisText(DiagnosisReport):
    """Prints a line for each check, what is behind its problems, and the most probable cause.

    The checks come in their order, so one that ends early waits for those before it. Those that follow each other and
    are skipped for the same reason share a line. On a terminal, each check that is under way has a line below that says
    what it is doing.
    """

    def __init__(self, write: Callable[[str], None], isTerminal: bool) -> None:
        """`isTerminal`: with colours and live lines."""
        super().__init__(write)
        self._isTerminal = isTerminal
        self._waiting: list[str] = []
        self._found: dict[str, Finding] = {}
        self._underway: dict[str, str] = {}
        self._skipped: list[str] = []
        self._why = ""
        self._counts = dict.fromkeys(Status, 0)
        self._live = 0

    def begin(self, target: object, names: Sequence[str]) -> None:
        """Print the heading."""
        self._waiting = [*names]
        self._print(f"ECHOUP {shown(target)}: diagnosis")

    def tell(self, name: str, words: str) -> None:
        """Update the live line of a check."""
        self._underway[name] = words
        self._print()

    def add(self, name: str, finding: Finding, seconds: float) -> None:
        """Print what a check found, unless one before it is under way, and what waited for it."""
        self._underway.pop(name, None)
        self._counts[finding.status] += 1
        self._found[name] = finding
        if name not in self._waiting:
            self._waiting.insert(0, name)
        lines: list[str] = []
        while self._waiting and (found := self._found.get(self._waiting[0])):
            if not (found.isSkipped and found.summary == self._why):
                lines += self._describeSkipped()
            if found.isSkipped:
                self._skipped.append(self._waiting.pop(0))
                self._why = found.summary
            else:
                lines += self._describe(self._waiting.pop(0), found)
        self._print(*lines)

    def end(self, conclusion: Conclusion) -> None:
        """Print the counts and the most probable cause."""
        self._underway.clear()
        counts = ", ".join(f"{count} {status.value}" for status, count in self._counts.items() if count)
        if cause := conclusion.cause:
            colour = COLOURS[cause.status]
            words = f"most probable cause: {shown(cause.text)} ({conclusion.check})"
            first, *rest = self._wrap(words, 0)
            last = [first.replace("most probable cause", self._colour("most probable cause", colour), 1), *rest]
        elif conclusion.isInterrupted and self._counts[Status.OK]:
            last = ["no fault found so far"]
        elif conclusion.code:
            last = ["no fault found, but --strict counts notes"]
        elif conclusion.problem or self._counts[Status.OK]:
            last = [self._colour("no fault found", "green")]
        else:
            last = ["nothing was measured"]
        self._print(*self._describeSkipped(), "", counts, *last)

    def _describeSkipped(self) -> Iterator[str]:
        """Yield the line of the checks that were skipped for the same reason, if there are any, and forget them."""
        if self._skipped:
            names = ", ".join(self._skipped) + ":" * (len(self._skipped) > 1)
            yield from self._wrap(f"{Status.SKIPPED.value:{_STATUS}} {names:{_NAME}} {shown(self._why)}")
        self._skipped, self._why = [], ""

    def _describe(self, name: str, finding: Finding) -> Iterator[str]:
        status = f"{finding.status.value:{_STATUS}}"
        first, *rest = self._wrap(f"{status} {name:{_NAME}} {shown(finding.summary)}")
        yield self._colour(status, COLOURS.get(finding.status)) + first.removeprefix(status)
        yield from rest
        for problem in finding.problems:
            if len(finding.problems) > 1 or problem.text not in finding.summary:
                yield f"{'':{_STATUS}} - {self._colour(shown(problem.text), COLOURS[problem.status])}"
            yield from _explain(problem, min(self._columns, WIDTH))

    def _wrap(self, line: str, indent: int = _STATUS + _NAME + 2) -> list[str]:
        """Return `line` in lines that fit the terminal, the following ones with an `indent`; as it is elsewhere."""
        if not self._isTerminal:
            return [line]
        return wrap(line, max(self._columns, 2 * indent, 1), subsequent_indent=" " * indent, break_on_hyphens=False)

    @property
    def _columns(self) -> int:
        """The columns that a line may have on the terminal: in its last one it may wrap."""
        return shutil.get_terminal_size().columns - 1 if self._isTerminal else WIDTH

    def _print(self, *lines: str) -> None:
        """Write whole lines in place of the live ones, and these below."""
        live = []
        if self._isTerminal:
            live = [
                shown(f"{'...':{_STATUS}} {name:{_NAME}} {words}")[: self._columns]
                for name, words in self._underway.items()
            ]
        back = f"\x1b[{self._live}A\r{_ERASE_BELOW}" if self._live else ""
        if text := back + "".join(f"{line}\n" for line in [*lines, *live]):
            self._write(text)
        self._live = len(live)

    def _colour(self, words: str, colour: str | None) -> str:
        return click.style(words, fg=colour) if self._isTerminal and not os.environ.get("NO_COLOR") else words


def _explain(problem: Problem, columns: int) -> Iterator[str]:
    """Yield the lines of what was seen, what it means, and what to try, of so many `columns` at most."""
    explanations = [*(("seen", each) for each in problem.seen), ("means", problem.meaning), ("try", problem.advice)]
    before = ""
    indent = " " * (_STATUS + 1)
    for label, words in explanations:
        if words:
            start = f"{indent}{label if label != before else '':{_LABEL}} "
            following = indent + " " * (_LABEL + 1)
            width = max(columns, 2 * len(following))
            yield from wrap(
                shown(words), width, initial_indent=start, subsequent_indent=following, break_on_hyphens=False
            )
            before = label
