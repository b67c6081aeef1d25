"""Run one check of a diagnosis in this process, against servers outside of it."""

import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from time import monotonic
from typing import Any, cast

from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from echoup.client.diagnose.finding import Finding
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.diagnose.scope import Scope
from echoup.client.target.parse import Target, parseTarget
from tests.support.doubles import HandReactor

REPETITIONS = int(os.environ.get("DIAGNOSE_RUNS", "1"))
"""How many times a healthy path is checked; CONTRIBUTING has the number for a release."""

LONGEST_WAIT = 0.05
"""Seconds that one turn waits."""

LONGEST = 60
"""Seconds that a check may take."""


@dataclass(frozen=True)
class Checked:
    """What a check found, or why it broke off."""

    finding: Finding | None
    error: BaseException | None
    seconds: float

    @property
    def causes(self) -> list[str]:
        """The causes of the problems; none of a check that broke off."""
        assert self.finding, self.error
        return [problem.cause for problem in self.finding.problems]


class RealReactor(HandReactor):
    """A reactor that a test runs, whose clock is the real one."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = monotonic

    def turnOnce(self) -> None:
        """Wait for an event, or until a call is due, and process it."""
        due = self.timeout()
        self.iterate(LONGEST_WAIT if due is None else min(due, LONGEST_WAIT))


def checked(
    target: str | Target,
    check: Callable[[PathUnderTest, Tell], Coroutine[Any, Any, Finding]],
    timeout: float = 5.0,
) -> Checked:
    """Run `check` for the target until it ends; nothing of it may be left in the reactor."""
    reactor = RealReactor()
    path = PathUnderTest(
        cast("ReactorBase", reactor), parseTarget(target) if isinstance(target, str) else target, Scope(timeout=timeout)
    )
    began = monotonic()
    outcome: list[Finding | Failure] = []
    try:
        checking = Deferred.fromCoroutine(check(path, lambda _: None))
        checking.addBoth(outcome.append)
        while not outcome:
            assert monotonic() < began + LONGEST, "the check takes too long"
            reactor.turnOnce()
        took = monotonic() - began
        closing = Deferred.fromCoroutine(path.close())
        while not closing.called:
            reactor.turnOnce()
        reactor.iterate(0)
        assert not reactor.getDelayedCalls(), reactor.getDelayedCalls()
    finally:
        reactor.close()
    found = outcome[0]
    return Checked(None, found.value, took) if isinstance(found, Failure) else Checked(found, None, took)
