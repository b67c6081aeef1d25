"""Make a check of a diagnosis in this process, in real time: a command costs a hundred times as much to start."""

from collections.abc import Sequence
from time import monotonic
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from echoup.client.diagnose.checklist import Make
from echoup.client.diagnose.finding import Finding
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.diagnose.scope import Scope
from echoup.client.target.stream import StreamTarget
from tests.support.doubles import HandReactor


def make(
    check: Make, target: StreamTarget, addresses: Sequence[str] = (), timeout: float = 5
) -> tuple[PathUnderTest, Finding]:
    """Return the path to `target`, which has `addresses`, and what `check` finds on it."""
    reactor = HandReactor()
    reactor.seconds = monotonic  # as useMonotonicClock does
    try:
        path = PathUnderTest(reactor, target, Scope(timeout=timeout))
        path.addresses = [*addresses]
        path.address = path.addresses[0] if addresses else None
        made = Deferred.fromCoroutine(check(path, lambda _: None))
        while not made.called:
            reactor.iterate(0.05)
        closed = Deferred.fromCoroutine(path.close())
        while not closed.called:
            reactor.iterate(0.05)
        results: list[Any] = []
        made.addBoth(results.append)
        (finding,) = results
        if isinstance(finding, Failure):
            finding.raiseException()
        return path, finding
    finally:
        reactor.close()
