"""When probes are made, and how `ping` ends."""

import signal
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.ping import session as module
from echoup.client.ping.datagram import DatagramProbes
from echoup.client.ping.reports.report import Report
from echoup.client.ping.result import Result
from echoup.client.ping.schedule import Schedule
from echoup.client.ping.session import MAXIMUM, makeProbes, ping
from echoup.client.ping.statistics import Outcome, Statistics
from echoup.client.ping.stream import StreamProbes
from echoup.client.target.datagram import DatagramTarget
from echoup.client.target.security import Security
from echoup.client.target.stream import StreamTarget
from echoup.clock import RunningTime
from tests.support.doubles import ReactorTestCase
from tests.support.samples import interruptedAt, probe

TARGET = StreamTarget("", "there", 1)
NAME = "there:1"


class Probes:
    """Makes probes that end when the test says so, or at once."""

    def __init__(self) -> None:
        self.begun: list[float] = []
        self.immediate: Any = None
        self.waiting: dict[int, Deferred[Result]] = {}
        self.closed = False
        self.lingering: Deferred[None] = succeed(None)
        self.isSequential = False
        self.seconds: Any = None

    async def probe(self, seq: int) -> Result:
        """Begin one."""
        self.begun.append(self.seconds())
        if self.immediate:
            return self.immediate(seq)  # type: ignore[no-any-return]  # it's a result
        self.waiting[seq] = Deferred()
        try:
            return await self.waiting[seq]
        except CancelledError:
            return interruptedAt(seq)

    def end(self, seq: int, **changes: Any) -> None:
        """End one."""
        self.waiting.pop(seq).callback(probe(seq, **changes))

    async def linger(self) -> None:
        """Wait until the test says so."""
        assert not self.waiting
        assert not self.closed
        await self.lingering

    async def close(self) -> None:
        """Note it."""
        self.closed = True


class RecordingReport(Report):
    """Records what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.ticks: list[tuple[float, int, int]] = []
        self.shown: list[tuple[int, int]] = []
        self.error: Exception | None = None
        self.tickError: Exception | None = None

    def begin(self, targets: Sequence[str], size: int) -> None:
        """Note it."""
        self.told.append((*targets, size))

    def add(self, result: Result, target: str) -> None:
        """Note the number."""
        if self.error:
            raise self.error
        self.told.append(result.seq)

    def tick(self, everything: Mapping[str, Statistics], now: float) -> None:
        """Note the time, and how many were sent and over."""
        if self.tickError:
            raise self.tickError
        statistics = everything[NAME]
        self.ticks.append((now, statistics.sent, statistics.over))

    def showSoFar(self, everything: Mapping[str, Statistics]) -> None:
        """Note how many were sent and over."""
        if self.tickError:
            raise self.tickError
        statistics = everything[NAME]
        self.shown.append((statistics.sent, statistics.over))

    def end(self, outcomes: Sequence[Outcome], requirements: Any) -> None:
        """Note the codes."""
        self.statistics = outcomes[0].statistics
        self.told += [outcome.code for outcome in outcomes]


class SessionTests(ReactorTestCase):
    """`ping` makes each probe when it is due."""

    def setUp(self) -> None:
        """Make a report, and the probes."""
        super().setUp()
        self.report = RecordingReport()
        self.probes = Probes()
        self.probes.seconds = self.reactor.seconds
        self.patch(module, "makeProbes", lambda *_: self.probes)
        self.addCleanup(signal.signal, signal.SIGQUIT, signal.getsignal(signal.SIGQUIT))

    def ping(self, count: int | None, interval: float = 1.0) -> "Deferred[None]":
        """Begin."""
        pinging = Deferred.fromCoroutine(
            ping(self.reactor, [TARGET], Schedule(count, interval, 5.0, 56), self.report, [])
        )
        self.addCleanup(pinging.cancel)
        return pinging

    def assertEnds(self, pinging: "Deferred[None]", *told: object) -> None:
        """Check that it ended without an error, and what the report was told."""
        self.successResultOf(pinging)
        assert self.report.told == [(NAME, 56), *told, ExitCode.OK]
        assert self.probes.closed
        assert self.reactor.getDelayedCalls() == []

    def test_probesBeginWhenDue(self) -> None:
        """A probe begins when it is due, whether or not those before are over; results are reported as they come."""
        pinging = self.ping(3)
        self.reactor.advance(2.5)
        assert len(self.probes.waiting) == 3
        assert [round(begun, 1) for begun in self.probes.begun] == [0, 1, 2]
        for seq in (2, 1, 3):
            self.assertNoResult(pinging)
            self.probes.end(seq)
        self.assertEnds(pinging, 2, 1, 3)
        assert [(round(now, 1), *counts) for now, *counts in self.report.ticks] == [
            (0, 1, 0),
            (1, 2, 0),
            (2, 3, 0),
            (2.5, 3, 1),
            (2.5, 3, 2),
        ]

    def test_lateTimersDoNotAddUp(self) -> None:
        """Late timers don't delay later probes."""
        self.ping(None, 0.1)
        self.reactor.advance(10, 0.03)
        assert len(self.probes.begun) in (100, 101)

    def test_sequentialProbesWait(self) -> None:
        """A sequential probe waits for the one before; those that were missed meanwhile are left out."""
        self.probes.isSequential = True
        pinging = self.ping(3)
        self.reactor.advance(3.5)
        assert len(self.probes.begun) == 1
        self.probes.end(1)
        self.reactor.turn()
        assert len(self.probes.begun) == 2
        self.probes.end(2)
        self.reactor.advance(0.9)
        assert len(self.probes.begun) == 2
        self.reactor.advance(0.2)
        self.probes.end(3)
        self.assertEnds(pinging, 1, 2, 3)

    def test_intervalZeroFollowsAtOnce(self) -> None:
        """With an interval of 0 a probe begins when the one before is over, one turn of the reactor later."""
        pinging = self.ping(1000, 0)
        self.reactor.advance(1)
        assert len(self.probes.begun) == 1
        self.probes.immediate = probe
        self.probes.end(1)
        self.reactor.turn(2)
        assert len(self.probes.begun) < 10
        self.reactor.turn(3000)
        self.assertEnds(pinging, *range(1, 1001))

    def test_probesUnderWayAreBounded(self) -> None:
        """At most MAXIMUM probes are under way at once."""
        self.ping(None, 0.001)
        self.reactor.advance(2 * MAXIMUM / 1000, 0.001)
        assert len(self.probes.waiting) == MAXIMUM
        self.probes.end(7)
        self.reactor.advance(0.1)
        assert len(self.probes.waiting) == MAXIMUM
        assert len(self.probes.begun) == MAXIMUM + 1

    def test_cancelledReportsTheRest(self) -> None:
        """When it is cancelled, probes under way are unfinished and not failed, and the rest is reported."""
        pinging = self.ping(None)
        self.reactor.advance(3.5)
        self.probes.end(1)
        self.probes.end(3)
        pinging.cancel()
        self.successResultOf(pinging)
        assert self.report.told[1:] == [1, 3, ExitCode.OK]
        statistics = self.report.statistics
        assert (statistics.sent, statistics.answered, statistics.unfinished, statistics.failed) == (4, 2, 2, 0)
        assert statistics.waiting
        assert statistics.waiting.seq == 2
        assert self.probes.closed
        ticks = len(self.report.ticks)
        self.reactor.advance(2)
        assert len(self.report.ticks) == ticks

    def test_lingersBeforeReport(self) -> None:
        """After the last probe it lingers as its probes do, and only then ends the report."""
        self.probes.lingering = Deferred()
        pinging = self.ping(1)
        self.probes.end(1)
        self.assertNoResult(pinging)
        assert not self.probes.closed
        self.probes.lingering.callback(None)
        self.assertEnds(pinging, 1)

    def test_cancelledWhileLingering(self) -> None:
        """When it is cancelled while it lingers, it ends the report at once."""
        self.probes.lingering = Deferred()
        pinging = self.ping(1)
        self.probes.end(1)
        pinging.cancel()
        self.assertEnds(pinging, 1)

    def test_cancelledBetweenProbes(self) -> None:
        """The same holds when no probe is under way."""
        self.probes.lingering = Deferred()
        pinging = self.ping(None)
        self.probes.end(1)
        pinging.cancel()
        self.assertEnds(pinging, 1)

    def test_unwritableLiveLineEndsIt(self) -> None:
        """When the live line can't be written it ends, also while no probe is under way."""
        pinging = self.ping(None)
        self.probes.end(1)
        self.report.tickError = PathError(ExitCode.BROKEN_PIPE, "the output can't be written")
        self.reactor.advance(1.1)
        self.assertFails(pinging, ExitCode.BROKEN_PIPE, "the output can't be written")
        assert not self.flushLoggedErrors()

    def test_quitShowsStatisticsSoFar(self) -> None:
        """SIGQUIT shows the statistics so far, and the probes go on; the live line comes back after it."""
        pinging = self.ping(2)
        for _ in range(3):
            self.quit()
            self.reactor.turn()
        assert self.report.shown == [(1, 0)] * 3
        assert [counts for _, *counts in self.report.ticks] == [[1, 0]] * 4
        self.reactor.advance(1.1)
        self.probes.end(1)
        self.quit()
        self.reactor.turn()
        assert self.report.shown[3:] == [(2, 1)]
        self.probes.end(2)
        self.assertEnds(pinging, 1, 2)

    def quit(self) -> None:
        """Get the signal that a terminal sends for Ctrl-Backslash."""
        signal.raise_signal(signal.SIGQUIT)

    def test_manyQuitsAreOne(self) -> None:
        """Signals that come before the reactor gets to the first are one."""
        self.ping(None)
        for _ in range(100):
            self.quit()
        self.reactor.turn()
        assert self.report.shown == [(1, 0)]

    def test_quitWhileLingering(self) -> None:
        """SIGQUIT shows the statistics also while late answers are awaited, and the end waits for these."""
        self.probes.lingering = Deferred()
        pinging = self.ping(1)
        self.probes.end(1)
        self.quit()
        self.reactor.turn()
        assert self.report.shown == [(1, 1)]
        self.assertNoResult(pinging)
        self.probes.lingering.callback(None)
        self.assertEnds(pinging, 1)

    def test_quitAfterTheEndIsIgnored(self) -> None:
        """After the report SIGQUIT shows nothing more, and is ignored, because Python would restore its default."""
        pinging = self.ping(1)
        self.quit()
        self.probes.end(1)
        self.assertEnds(pinging, 1)
        self.reactor.turn()
        assert self.report.shown == []
        assert signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN

    def test_unwritableStatisticsEndIt(self) -> None:
        """When the statistics so far can't be written it ends."""
        pinging = self.ping(None)
        self.probes.end(1)
        self.report.tickError = PathError(ExitCode.BROKEN_PIPE, "the output can't be written")
        self.quit()
        self.reactor.turn()
        self.assertFails(pinging, ExitCode.BROKEN_PIPE, "the output can't be written")
        assert not self.flushLoggedErrors()

    def assertFails(self, pinging: "Deferred[None]", code: ExitCode, message: str) -> None:
        """Check how it fails."""
        error = self.failureResultOf(pinging, PathError).value
        assert (error.code, str(error)) == (code, message)
        assert self.probes.closed

    def test_failedProbeSetsError(self) -> None:
        """It fails with the error of the probes."""
        pinging = self.ping(2)
        self.probes.end(1)
        self.reactor.advance(1.1)
        self.probes.end(2, code=ExitCode.TIMED_OUT)
        self.assertFails(pinging, ExitCode.TIMED_OUT, "1 of 2 failed: there:1: timed out 2")
        assert self.report.told[-1] is ExitCode.TIMED_OUT

    def test_unusableTargetEndsIt(self) -> None:
        """A target that can't be used ends it at once."""
        pinging = self.ping(None)
        self.reactor.advance(1.1)
        self.probes.end(1, error=PathError(ExitCode.USAGE, "no such file"))
        self.assertFails(pinging, ExitCode.USAGE, "no such file")
        assert self.report.told == [(NAME, 56)]

    def test_unusableTargetAtFirstProbe(self) -> None:
        """The same holds when the first probe ends at once with that error."""
        self.probes.immediate = lambda seq: probe(seq, error=PathError(ExitCode.USAGE, "no such file"))
        pinging = self.ping(None)
        self.reactor.advance(0.1)
        self.assertFails(pinging, ExitCode.USAGE, "no such file")

    def test_unusableTargetAtOnlyProbe(self) -> None:
        """The same holds when that was the only probe."""
        self.probes.immediate = lambda seq: probe(seq, error=PathError(ExitCode.USAGE, "no such file"))
        self.assertFails(self.ping(1), ExitCode.USAGE, "no such file")

    def test_missingFileIsReportedFirst(self) -> None:
        """A TLS file that doesn't exist is reported before anything else."""
        target = StreamTarget("", "there", 1, Security("/nonexistent"))
        pinging = Deferred.fromCoroutine(ping(self.reactor, [target], Schedule(1, 1, 1, 1), self.report, []))
        error = self.failureResultOf(pinging, PathError).value
        assert (error.code, self.report.told) == (ExitCode.USAGE, [])
        assert str(error) == "cannot speak TLS with there:1: /nonexistent: No such file or directory"

    def test_unwritableReportEndsIt(self) -> None:
        """When the report can't be written it ends."""
        pinging = self.ping(None)
        self.reactor.advance(1.1)
        self.report.error = PathError(ExitCode.BROKEN_PIPE, "the output can't be written")
        self.probes.end(2)
        self.assertFails(pinging, ExitCode.BROKEN_PIPE, "the output can't be written")
        assert not self.flushLoggedErrors()

    def test_unexpectedErrorIsRaised(self) -> None:
        """An unexpected error isn't swallowed."""
        pinging = self.ping(None)
        self.probes.waiting.pop(1).errback(Failure(ZeroDivisionError()))
        self.failureResultOf(pinging, ZeroDivisionError)

    def test_targetChoosesProbes(self) -> None:
        """Streams and datagrams have their own kind of probes."""
        schedule = Schedule(1, 1, 1, 1)
        for target, kind in ((TARGET, StreamProbes), (DatagramTarget("there", 1), DatagramProbes)):
            assert isinstance(makeProbes(self.reactor, RunningTime(self.reactor), target, schedule, Statistics()), kind)


class SeveralTests(ReactorTestCase):
    """`ping` probes several targets side by side, and ends with the deadline."""

    def setUp(self) -> None:
        """Make a report, and the probes of three targets."""
        super().setUp()
        self.report = SeveralReport()
        self.probes: dict[str, Probes] = {}
        self.immediate: Any = None
        self.patch(module, "makeProbes", self.makeProbes)
        self.addCleanup(signal.signal, signal.SIGQUIT, signal.getsignal(signal.SIGQUIT))

    def makeProbes(self, reactor: object, clock: object, target: StreamTarget, *_: object) -> Probes:
        """Make the probes of a target."""
        probes = self.probes[target.host] = Probes()
        probes.seconds = self.reactor.seconds
        probes.immediate = self.immediate
        return probes

    def ping(
        self, hosts: str, count: int | None = None, deadline: float | None = None, interval: float = 1.0
    ) -> "Deferred[None]":
        """Begin to probe targets with names of one letter."""
        targets = [StreamTarget("", host, 1) for host in hosts]
        schedule = Schedule(count, interval, 5.0, 56, deadline=deadline)
        pinging = Deferred.fromCoroutine(ping(self.reactor, targets, schedule, self.report, []))
        self.addCleanup(pinging.cancel)
        return pinging

    def assertFails(self, pinging: "Deferred[None]", code: ExitCode, message: str) -> None:
        """Check how it fails, and that nothing is left."""
        error = self.failureResultOf(pinging, PathError).value
        assert (error.code, str(error)) == (code, message)
        assert all(probes.closed for probes in self.probes.values())
        assert self.reactor.getDelayedCalls() == []

    def test_targetsAreSideBySide(self) -> None:
        """Each target has its own schedule, which no other delays; the summaries come in the order given."""
        pinging = self.ping("cab", 2)
        self.probes["a"].immediate = probe
        self.reactor.advance(1.1)
        assert [len(self.probes[host].begun) for host in "cab"] == [2, 2, 2]
        for host in "bca":
            for seq in [*self.probes[host].waiting]:
                self.assertNoResult(pinging)
                self.probes[host].end(seq)
        self.successResultOf(pinging)
        assert self.report.told[0] == ("c:1", "a:1", "b:1", 56)
        assert [told for told in self.report.told if told[0] == "c:1"][1:] == [("c:1", 1), ("c:1", 2)]
        assert self.report.ended == [("c:1", ExitCode.OK), ("a:1", ExitCode.OK), ("b:1", ExitCode.OK)]

    def test_probesUnderWayAreShared(self) -> None:
        """Each target has an equal share of the probes that may be under way."""
        self.ping("abc", interval=0.001)
        self.reactor.advance(2 * MAXIMUM / 1000, 0.001)
        assert [len(self.probes[host].waiting) for host in "abc"] == [MAXIMUM // 3] * 3

    def test_cancelledEndsAll(self) -> None:
        """When it is cancelled all targets end, and each is reported."""
        pinging = self.ping("ab")
        self.probes["a"].end(1)
        pinging.cancel()
        self.successResultOf(pinging)
        assert self.report.ended == [("a:1", ExitCode.OK), ("b:1", ExitCode.OK)]
        assert self.report.counts == {"a:1": (1, 0), "b:1": (1, 1)}

    def test_errorEndsAll(self) -> None:
        """An output that can't be written, and a target that can't be used, end all, also at the start."""
        pinging = self.ping("ab")
        self.report.error = PathError(ExitCode.BROKEN_PIPE, "the output can't be written")
        self.probes["b"].end(1)
        self.assertFails(pinging, ExitCode.BROKEN_PIPE, "the output can't be written")
        assert self.report.ended == []
        self.report.error = None
        pinging = self.ping("ab")
        self.probes["a"].end(1, error=PathError(ExitCode.USAGE, "no such file"))
        self.assertFails(pinging, ExitCode.USAGE, "no such file")
        self.probes.clear()
        self.immediate = lambda seq: probe(seq, error=PathError(ExitCode.USAGE, "no"))
        self.assertFails(self.ping("ab"), ExitCode.USAGE, "no")
        assert [*self.probes] == ["a"]
        assert not self.flushLoggedErrors()

    def test_quitShowsAll(self) -> None:
        """SIGQUIT shows the statistics of all so far, once."""
        self.ping("ab")
        self.probes["a"].end(1)
        signal.raise_signal(signal.SIGQUIT)
        self.reactor.turn()
        assert self.report.shown == [["a:1", "b:1"]]

    def test_oneFailureFailsAll(self) -> None:
        """One target that fails sets the exit code, and the message names it."""
        pinging = self.ping("ab", 1)
        self.probes["a"].end(1)
        self.probes["b"].end(1, code=ExitCode.UNREACHABLE)
        self.assertFails(pinging, ExitCode.UNREACHABLE, "1 of 2 targets failed: b:1: there:1: UNREACHABLE 1")

    def test_deadlineEndsAll(self) -> None:
        """At the deadline all end, and if every finished probe was answered that is no failure."""
        pinging = self.ping("ab", deadline=2.5)
        for host in "ab":
            self.probes[host].end(1)
        self.reactor.advance(2.4)
        self.assertNoResult(pinging)
        self.reactor.advance(0.2)
        self.successResultOf(pinging)
        assert self.report.counts == {"a:1": (3, 2), "b:1": (3, 2)}
        assert self.reactor.getDelayedCalls() == []

    def test_deadlineWithoutResultIsTimeout(self) -> None:
        """A target without a result at the deadline timed out."""
        pinging = self.ping("ab", deadline=2.5)
        self.probes["a"].end(1)
        self.reactor.advance(2.6)
        why = "b:1: timed out: no probe was over after 2.5 s"
        self.assertFails(pinging, ExitCode.TIMED_OUT, f"1 of 2 targets failed: {why}")

    def test_deadlineBeforeCountIsTimeout(self) -> None:
        """The same holds for a target whose probes aren't all over, as with ping(8); a probe that failed says more."""
        pinging = self.ping("a", 5, deadline=1.5)
        self.probes["a"].end(1)
        self.reactor.advance(1.6)
        self.assertFails(pinging, ExitCode.TIMED_OUT, "a:1: timed out: 1 of 5 probes were over after 1.5 s")
        pinging = self.ping("a", 5, deadline=1.5)
        self.probes["a"].end(1, code=ExitCode.UNREACHABLE)
        self.reactor.advance(1.6)
        self.assertFails(pinging, ExitCode.UNREACHABLE, "1 of 2 failed: there:1: UNREACHABLE 1")

    def test_deadlineAfterTheLastIsNone(self) -> None:
        """When the last probe is over before the deadline it ends at once; late answers aren't awaited after it."""
        pinging = self.ping("a", 1, deadline=2.5)
        self.probes["a"].end(1)
        self.successResultOf(pinging)
        pinging = self.ping("a", 1, deadline=2.5)
        self.probes["a"].lingering = Deferred()
        self.probes["a"].end(1)
        self.reactor.advance(2.6)
        self.successResultOf(pinging)
        assert self.reactor.getDelayedCalls() == []


class SeveralReport(Report):
    """Records what it is told of several targets."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.shown: list[list[str]] = []
        self.ended: list[tuple[str, ExitCode]] = []
        self.counts: dict[str, tuple[int, int]] = {}
        self.error: Exception | None = None

    def begin(self, targets: Sequence[str], size: int) -> None:
        """Note it."""
        self.told.append((*targets, size))

    def add(self, result: Result, target: str) -> None:
        """Note the number."""
        if self.error:
            raise self.error
        self.told.append((target, result.seq))

    def showSoFar(self, everything: Mapping[str, Statistics]) -> None:
        """Note the targets."""
        self.shown.append([*everything])

    def end(self, outcomes: Sequence[Outcome], requirements: Any) -> None:
        """Note the codes, and how many were sent and unfinished."""
        self.ended = [(each.target, each.code) for each in outcomes]
        self.counts = {each.target: (each.statistics.sent, each.statistics.unfinished) for each in outcomes}
