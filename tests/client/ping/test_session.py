"""When probes are made, and how `ping` ends."""

import signal
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.ping import session as module
from echoup.client.ping.datagram import DatagramProbes
from echoup.client.ping.reports.report import Report
from echoup.client.ping.requirement import parseRequirement
from echoup.client.ping.result import Result
from echoup.client.ping.schedule import Schedule
from echoup.client.ping.session import MAXIMUM, judge, makeProbes, ping
from echoup.client.ping.statistics import Statistics
from echoup.client.ping.stream import StreamProbes
from echoup.client.target.datagram import DatagramTarget
from echoup.client.target.security import Security
from echoup.client.target.stream import StreamTarget
from echoup.clock import RunningTime
from tests.support.doubles import ReactorTestCase, raised
from tests.support.samples import UNMET, interruptedAt, probe, summed

TARGET = StreamTarget("", "there", 1)


class Probes:
    """Makes probes that end when the test says so, or at once."""

    def __init__(self) -> None:
        self.begun: list[float] = []
        self.waiting: dict[int, Deferred[Result]] = {}
        self.immediate: Any = None
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

    def begin(self, target: object, size: int) -> None:
        """Note it."""
        self.told.append((target, size))

    def add(self, result: Result) -> None:
        """Note the number."""
        if self.error:
            raise self.error
        self.told.append(result.seq)

    def tick(self, statistics: Statistics, now: float) -> None:
        """Note the time, and how many were sent and over."""
        if self.tickError:
            raise self.tickError
        self.ticks.append((now, statistics.sent, statistics.over))

    def showSoFar(self, statistics: Statistics) -> None:
        """Note how many were sent and over."""
        if self.tickError:
            raise self.tickError
        self.shown.append((statistics.sent, statistics.over))

    def end(self, statistics: Statistics, requirements: Any, code: ExitCode) -> None:
        """Note the code."""
        self.statistics = statistics
        self.told.append(code)


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
            ping(self.reactor, TARGET, Schedule(count, interval, 5.0, 56), self.report, [])
        )
        self.addCleanup(pinging.cancel)
        return pinging

    def assertEnds(self, pinging: "Deferred[None]", *told: object) -> None:
        """Check that it ended without an error, and what the report was told."""
        self.successResultOf(pinging)
        assert self.report.told == [(TARGET, 56), *told, ExitCode.OK]
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
        assert self.report.told == [(TARGET, 56)]

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
        pinging = Deferred.fromCoroutine(ping(self.reactor, target, Schedule(1, 1, 1, 1), self.report, []))
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


class JudgeTests(SynchronousTestCase):
    """`judge` returns the exit code, and the reason."""

    def assertJudged(self, results: list[Result], requirements: list[str], code: ExitCode, message: str) -> None:
        """Check the judgement of `results`."""
        assert judge(summed(*results), [*map(parseRequirement, requirements)]) == (code, message)

    def test_answeredAndMetIsOK(self) -> None:
        """It's OK when all were answered and all requirements are met, and when no probe was made."""
        self.assertJudged([probe(1), probe(2)], ["p99<5ms", "loss<1%", "late<1"], ExitCode.OK, "")
        self.assertJudged([], [], ExitCode.OK, "")

    def test_firstFailureCounts(self) -> None:
        """The first failure counts, but a wrong reply more than any other."""
        lost, refused, wrong = ExitCode.TIMED_OUT, ExitCode.UNREACHABLE, ExitCode.WRONG
        self.assertJudged([probe(1, code=lost)], [], lost, "there:1: timed out 1")
        results = [probe(1), probe(2, code=lost), probe(3, code=refused)]
        self.assertJudged(results, [], lost, "2 of 3 failed: there:1: timed out 2")
        results.append(probe(4, code=wrong))
        self.assertJudged(results, [], wrong, "3 of 4 failed: there:1: corrupted 4")

    def test_unmetRequirementsAreListed(self) -> None:
        """Every requirement that isn't met is listed, with its value."""
        message = "max<1us: not met (1.00 ms); p50<0.5ms: not met (1.00 ms)"
        self.assertJudged([probe(1)], ["max<1us", "avg<1s", "p50<0.5ms"], ExitCode.WRONG, message)
        assert judge(summed(probe(1, code=ExitCode.SHORT)), [UNMET])[0] is ExitCode.SHORT

    def test_lossRequirementForgivesLosses(self) -> None:
        """A requirement of the loss forgives lost probes, but no wrong reply."""
        lost = [probe(1), probe(2, code=ExitCode.TIMED_OUT)]
        self.assertJudged(lost, ["loss<=50%"], ExitCode.OK, "")
        self.assertJudged(lost, ["loss<50%"], ExitCode.WRONG, "loss<50%: not met (50 %); there:1: timed out 2")
        unmet = "loss<50%: not met (50 %); avg<1us: not met (1.00 ms); there:1: timed out 2"
        self.assertJudged(lost, ["loss<50%", "avg<1us"], ExitCode.WRONG, unmet)
        wrong = [probe(1, code=ExitCode.WRONG)]
        self.assertJudged(wrong, ["loss<50%"], ExitCode.WRONG, "there:1: corrupted 1")
        assert raised(ValueError, parseRequirement, "loss<50") is not None

    def test_outageRequirementForgivesPastLosses(self) -> None:
        """A requirement of the outage forgives lost probes, but no outage that isn't over, and no wrong reply."""
        lost, answered = probe(1, code=ExitCode.TIMED_OUT), probe(2)
        self.assertJudged([lost, answered], ["outage<=2s"], ExitCode.OK, "")
        unmet = "outage<1s: not met (1001 ms); there:1: timed out 1"
        self.assertJudged([lost, answered], ["outage<1s"], ExitCode.WRONG, unmet)
        again = probe(3, code=ExitCode.UNREACHABLE)
        failed = "2 of 3 failed: there:1: timed out 1"
        self.assertJudged([lost, answered, again], ["outage<=2s"], ExitCode.TIMED_OUT, failed)
        unmet = "outage<=2s: not met (down since seq 3); there:1: timed out 1"
        self.assertJudged([lost, answered, again], ["outage<=2s", "loss<90%"], ExitCode.WRONG, unmet)
        self.assertJudged([lost, answered, again], ["loss<90%"], ExitCode.OK, "")
        self.assertJudged([lost, answered], ["max<9s"], ExitCode.TIMED_OUT, "1 of 2 failed: there:1: timed out 1")
        wrong = [probe(1, code=ExitCode.WRONG), answered]
        self.assertJudged(wrong, ["outage<=2s"], ExitCode.WRONG, "1 of 2 failed: there:1: corrupted 1")

    def test_unsentProbesAreLocal(self) -> None:
        """Probes that weren't sent have an exit code of their own, whatever the requirements."""
        mine = [probe(1, code=ExitCode.LOCAL), probe(2, code=ExitCode.LOCAL)]
        self.assertJudged(mine[:1], [], ExitCode.LOCAL, "there:1: LOCAL 1")
        for requirements in ([], ["loss<50%"], ["p99<5ms", "outage<1s"]):
            self.assertJudged(mine, requirements, ExitCode.LOCAL, "2 of 2 not sent: there:1: LOCAL 1")
        message = "2 of 3 not sent: there:1: LOCAL 1"
        self.assertJudged([*mine, probe(3)], ["loss<50%", "p99<5ms"], ExitCode.LOCAL, message)

    def test_pathCountsMoreThanLocal(self) -> None:
        """What is known of the path counts more than that probes weren't sent: a failure, and an unmet requirement."""
        mine, lost, wrong = (
            probe(1, code=ExitCode.LOCAL),
            probe(2, code=ExitCode.TIMED_OUT),
            probe(3, code=ExitCode.WRONG),
        )
        unsent = "1 of 2 not sent: there:1: LOCAL 1"
        self.assertJudged([mine, lost], [], ExitCode.TIMED_OUT, f"1 of 2 failed: there:1: timed out 2; {unsent}")
        self.assertJudged([mine, wrong], ["loss<9%"], ExitCode.WRONG, f"1 of 2 failed: there:1: corrupted 3; {unsent}")
        self.assertJudged([mine, lost], ["loss<=100%"], ExitCode.LOCAL, unsent)
        unmet = f"max<1us: not met (1.00 ms); {unsent}"
        self.assertJudged([mine, probe(2)], ["max<1us"], ExitCode.WRONG, unmet)
