"""Make checks of a diagnosis in this process, in real time: a command costs a hundred times as much to start."""

import os
from collections.abc import Sequence
from time import monotonic
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from echoup.client.diagnose.checklist import Make
from echoup.client.diagnose.finding import Finding
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.diagnose.scope import Scope
from echoup.client.diagnose.together import together
from echoup.client.target.parse import Target, parseTarget
from echoup.clock import useMonotonicClock
from tests.support.doubles import HandReactor

T = TypeVar("T")

RUNS = int(os.environ.get("DIAGNOSE_RUNS", "1"))
"""How often a path without a fault is checked; CONTRIBUTING.md explains the variable."""

LONGEST_TURN = 0.05
"""Seconds that one turn of the reactor waits for events."""

LONGEST = 240
"""Seconds that a check may take."""


def alike(*cases: T) -> Sequence[T]:
    """Return all cases of a test if DIAGNOSE_RUNS asks for repetitions, otherwise the first, which shows as much."""
    return cases if RUNS > 1 else cases[:1]


def find(check: Make, target: str | Target, **scope: Any) -> Finding:
    """Return what `check` finds on the path to `target`, with the fields of its `scope`; as `findAll`."""
    (finding,) = findAll(check, target, **scope)
    return finding


def findAll(check: Make, *targets: str | Target, **scope: Any) -> list[Finding]:
    """Return what `check` finds for each of `targets`, made at the same time.

    Raise the error with which it broke off. Nothing of it may be left in the reactor.
    """
    reactor = HandReactor()
    useMonotonicClock(reactor)
    outcome: list[list[Finding] | Failure] = []
    try:
        before = {*reactor.getReaders()}
        parsed = [parseTarget(target) if isinstance(target, str) else target for target in targets]
        paths = [PathUnderTest(reactor, target, Scope(**scope)) for target in parsed]
        Deferred.fromCoroutine(together(_make(check, path) for path in paths)).addBoth(outcome.append)
        end = monotonic() + LONGEST
        while not outcome:
            assert monotonic() < end, "the check takes too long"
            rest = reactor.timeout()
            # The poll cuts off what is less than a millisecond.
            reactor.iterate(LONGEST_TURN if rest is None else min(rest and rest + 0.001, LONGEST_TURN))
        reactor.turn()
        assert not reactor.getDelayedCalls(), "the check left timers"
        assert {*reactor.getReaders()} == before, "the check left sockets"
    finally:
        reactor.close()
    (found,) = outcome
    if isinstance(found, Failure):
        found.raiseException()
    return found


async def _make(check: Make, path: PathUnderTest) -> Finding:
    try:
        return await check(path, lambda _: None)
    finally:
        await path.close()


def causesOf(finding: Finding) -> list[str]:
    """Return the causes of the problems that were found."""
    return [problem.cause for problem in finding.problems]
