"""What a check found."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from echoup.client.exitcodes import ExitCode


class Status(Enum):
    """How a check ended, from the best to the worst; the values are the words that users read."""

    OK = "ok"
    SKIPPED = "skipped"
    """Nothing was measured, and the summary says why."""
    NOTE = "note"
    """Worth knowing; it does no harm."""
    WARN = "warn"
    """Something is slower, or less reliable, than it could be, or will break."""
    FAIL = "fail"
    """The path doesn't carry what it should."""

    @property
    def rank(self) -> int:
        """The place in the order: the higher, the worse."""
        return [*Status].index(self)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the path."""

    status: Status
    """NOTE, WARN or FAIL."""
    cause: str
    """A short name of it for programs, such as `mtu-black-hole`; docs/diagnose.md lists them."""
    text: str
    """What is wrong, in a line that can stand alone."""
    seen: tuple[str, ...] = ()
    """The evidence: figures, offsets, what the kernel says; a line each."""
    meaning: str = ""
    """What that means, in a sentence or two."""
    advice: str = ""
    """What to try, likewise."""
    code: ExitCode = ExitCode.WRONG
    """The exit code where this fails the diagnosis."""
    isOfDatagrams: bool = False
    """Whether it is about UDP alone."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    summary: str
    """What was measured, in one line; of a skipped check, why it was."""
    problems: tuple[Problem, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    """What was measured, for programs: JSON values; times in seconds, shares 0 to 1."""
    isSkipped: bool = False

    @property
    def status(self) -> Status:
        """The worst status of the problems; OK without any."""
        if self.isSkipped:
            return Status.SKIPPED
        return worst(self.problems).status if self.problems else Status.OK

    def asOfStream(self) -> "Finding":
        """Return what it means for a target that is a stream: what is wrong with UDP alone is a warning at most."""
        problems = (
            replace(each, status=Status.WARN) if each.isOfDatagrams and each.status is Status.FAIL else each
            for each in self.problems
        )
        return replace(self, problems=tuple(problems))


def worst(problems: Collection[Problem]) -> Problem:
    """Return the worst of `problems`, the first of several; raise ValueError if there is none."""
    return max(problems, key=lambda problem: problem.status.rank)


def skipped(why: str) -> Finding:
    """Return the finding of a check that measured nothing."""
    return Finding(why, isSkipped=True)
