"""Run `echoup diagnose`, on a path of two hops or on any other."""

import json
import subprocess
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.posixbase import PosixReactorBase
from twisted.python.failure import Failure

from echoup.client.diagnose.checklist import Make
from echoup.client.diagnose.finding import Finding
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.diagnose.scope import Scope
from echoup.client.target.parse import parseTarget
from echoup.clock import useMonotonicClock
from tests.support.commands import COMMANDS
from tests.support.daemon import Daemon
from tests.support.doubles import HandReactor
from tests.support.routednetwork import RoutedNetwork, routedNetwork

T = TypeVar("T")

DIAGNOSE = [str(COMMANDS / "echoup"), "diagnose"]


@dataclass(frozen=True)
class Diagnosis:
    """What the command printed with --json, and how it exited."""

    code: int
    report: dict[str, Any]

    def check(self, name: str) -> dict[str, Any]:
        """Return the member of the check `name`."""
        (found,) = (each for each in self.report["checks"] if each["name"] == name)
        return dict(found)

    def causes(self, name: str) -> list[str]:
        """Return the causes of the problems that the check `name` found."""
        return [problem["cause"] for problem in self.check(name)["problems"]]

    @property
    def alarms(self) -> list[dict[str, Any]]:
        """The problems of all checks that are warnings or worse."""
        problems = (problem for check in self.report["checks"] for problem in check["problems"])
        return [problem for problem in problems if problem["status"] in ("warn", "fail")]


def diagnose(target: str, *options: str) -> Diagnosis:
    """Run the command for `target`, and return what it found; nothing but its one-line error may be on stderr."""
    done = subprocess.run(
        [*DIAGNOSE, "--json", *options, target], capture_output=True, text=True, timeout=240, check=False
    )
    assert len(done.stderr.splitlines()) <= 1, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return Diagnosis(done.returncode, json.loads(done.stdout))


def found(
    check: Callable[[PathUnderTest, Tell], Coroutine[Any, Any, Finding]],
    target: str,
    scope: Scope | None = None,
    prepare: Callable[[PosixReactorBase], object] = str,
) -> Finding:
    """Make one `check` of `target` in this process, which costs no start of the command, and return what it found.

    `prepare` is called with the reactor, which goes by the real time.
    """
    reactor = HandReactor()
    useMonotonicClock(reactor)
    try:
        prepare(reactor)
        before = {*reactor.getReaders()}
        path = PathUnderTest(reactor, parseTarget(target), scope or Scope())
        outcomes: list[Finding] = []
        done = Deferred.fromCoroutine(check(path, lambda _: None)).addCallback(outcomes.append)
        failures: list[object] = []
        done.addErrback(failures.append)
        while not (outcomes or failures):
            rest = reactor.timeout()
            # The poll cuts off what is less than a millisecond.
            reactor.iterate(0.05 if rest is None else min(rest and rest + 0.001, 0.05))
        assert not failures, failures
        assert not reactor.getDelayedCalls(), "the check left timers"
        assert {*reactor.getReaders()} == before, "the check left sockets"
        return outcomes[0]
    finally:
        reactor.close()


def examine(make: Make, target: str, scope: Scope | None = None) -> Finding:
    """Make a check in this process, which takes much less time than the command, and return what it found."""
    reactor = HandReactor()
    reactor.seconds = monotonic
    path = PathUnderTest(reactor, parseTarget(target), scope or Scope())
    try:
        finding = _await(reactor, make(path, lambda _: None))
        _await(reactor, path.close())
        reactor.turn()
        assert not reactor.getDelayedCalls()
    finally:
        reactor.close()
    return finding


def _await(reactor: HandReactor, coroutine: Coroutine[Any, Any, T]) -> T:
    results: list[T | Failure] = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    while not results:
        reactor.iterate(min(reactor.timeout() or 0, 0.05))
    (result,) = results
    if isinstance(result, Failure):
        result.raiseException()
    return result


@contextmanager
def servedNetwork(
    folder: Path, *options: str, listen: Sequence[str] = ("*:8081",), udp: str = "*:8081"
) -> Iterator[tuple[RoutedNetwork, Daemon]]:
    """Make a path of two hops with the daemon at its other end, and enter the client's end."""
    with routedNetwork() as network:
        with network.server.entered():
            daemon = Daemon.start(folder, f"--udp={udp}", *options, listen=listen)
        with daemon:
            yield network, daemon
