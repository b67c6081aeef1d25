"""When probes are made, and what follows from them."""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.ping import session as module
from echoup.client.ping.datagram import DatagramProbes
from echoup.client.ping.requirement import parseRequirement
from echoup.client.ping.result import Result
from echoup.client.ping.schedule import Schedule
from echoup.client.ping.session import MAXIMUM, judge, makeProbes, ping
from echoup.client.ping.statistics import Statistics
from echoup.client.ping.stream import StreamProbes
from echoup.client.target.datagram import DatagramTarget
from echoup.client.target.security import Security
from echoup.client.target.stream import StreamTarget
from tests.support.doubles import ReactorTestCase, raised
from tests.support.samples import UNMET, interruptedAt, probe, summed

TARGET = StreamTarget("", "there", 1)


class Probes:
    """Makes probes that are over when the test says so, or at once."""

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
        """Let one be over."""
        self.waiting.pop(seq).callback(probe(seq, **changes))

    async def linger(self) -> None:
        """Wait until the test says so."""
        assert not self.waiting
        assert not self.closed
        await self.lingering

    async def close(self) -> None:
        """Note it."""
        self.closed = True


class Report:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.ticks: list[tuple[float, int, int]] = []
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

    def end(self, statistics: Statistics, requirements: Any, code: ExitCode) -> None:
        """Note the code."""
        self.statistics = statistics
        self.told.append(code)


class SessionTests(ReactorTestCase):
    """`ping` makes probes in their time."""

    def setUp(self) -> None:
        """Make a report, and what makes probes."""
        super().setUp()
        self.report = Report()
        self.probes = Probes()
        self.probes.seconds = self.reactor.seconds
        self.patch(module, "makeProbes", lambda *_: self.probes)

    def ping(self, count: int | None, interval: float = 1.0) -> "Deferred[None]":
        """Begin."""
        pinging = Deferred.fromCoroutine(
            ping(self.reactor, TARGET, Schedule(count, interval, 5.0, 56), self.report, [])
        )
        self.addCleanup(pinging.cancel)
        return pinging

    def assertEnds(self, pinging: "Deferred[None]", *told: object) -> None:
        """Check that it's over, without an error, and what the report was told."""
        self.successResultOf(pinging)
        assert self.report.told == [(TARGET, 56), *told, ExitCode.OK]
        assert self.probes.closed
        assert self.reactor.getDelayedCalls() == []

    def test_schedule(self) -> None:
        """A probe begins when it's due, whatever became of those before; the results come as they come."""
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

    def test_noDrift(self) -> None:
        """Late timers make no difference to later ones."""
        self.ping(None, 0.1)
        self.reactor.advance(10, 0.03)
        assert len(self.probes.begun) in (100, 101)

    def test_sequential(self) -> None:
        """Where probes are sequential each waits for the one before; the time that it lost isn't made up for."""
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

    def test_flood(self) -> None:
        """With an interval of 0 a probe begins as soon as the one before is over, one turn of the reactor later."""
        pinging = self.ping(1000, 0)
        self.reactor.advance(1)
        assert len(self.probes.begun) == 1
        self.probes.immediate = probe
        self.probes.end(1)
        self.reactor.turn(2)
        assert len(self.probes.begun) < 10
        self.reactor.turn(3000)
        self.assertEnds(pinging, *range(1, 1001))

    def test_maximum(self) -> None:
        """No more than so many are under way at once."""
        self.ping(None, 0.001)
        self.reactor.advance(2 * MAXIMUM / 1000, 0.001)
        assert len(self.probes.waiting) == MAXIMUM
        self.probes.end(7)
        self.reactor.advance(0.1)
        assert len(self.probes.waiting) == MAXIMUM
        assert len(self.probes.begun) == MAXIMUM + 1

    def test_cancelled(self) -> None:
        """When the user has enough, what is under way is unfinished and no failure, and the rest is reported."""
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

    def test_lingers(self) -> None:
        """After the last probe it waits as long as its kind has to, and only then reports."""
        self.probes.lingering = Deferred()
        pinging = self.ping(1)
        self.probes.end(1)
        self.assertNoResult(pinging)
        assert not self.probes.closed
        self.probes.lingering.callback(None)
        self.assertEnds(pinging, 1)

    def test_impatient(self) -> None:
        """When the user has enough it waits for nothing more, and reports all the same."""
        self.probes.lingering = Deferred()
        pinging = self.ping(1)
        self.probes.end(1)
        pinging.cancel()
        self.assertEnds(pinging, 1)

    def test_impatientBefore(self) -> None:
        """Also when there is nothing under way just then."""
        self.probes.lingering = Deferred()
        pinging = self.ping(None)
        self.probes.end(1)
        pinging.cancel()
        self.assertEnds(pinging, 1)

    def test_noTerminal(self) -> None:
        """When the live line can't be written that is the end, also while nothing is under way."""
        pinging = self.ping(None)
        self.probes.end(1)
        self.report.tickError = PathError(ExitCode.BROKEN_PIPE, "the output can't be written")
        self.reactor.advance(1.1)
        self.assertFails(pinging, ExitCode.BROKEN_PIPE, "the output can't be written")
        assert not self.flushLoggedErrors()

    def assertFails(self, pinging: "Deferred[None]", code: ExitCode, message: str) -> None:
        """Check how it fails."""
        error = self.failureResultOf(pinging, PathError).value
        assert (error.code, str(error)) == (code, message)
        assert self.probes.closed

    def test_failed(self) -> None:
        """It fails as the probes do."""
        pinging = self.ping(2)
        self.probes.end(1)
        self.reactor.advance(1.1)
        self.probes.end(2, code=ExitCode.TIMED_OUT)
        self.assertFails(pinging, ExitCode.TIMED_OUT, "1 of 2 failed: there:1: timed out 2")
        assert self.report.told[-1] is ExitCode.TIMED_OUT

    def test_unusable(self) -> None:
        """A target that can't be used is the end at once."""
        pinging = self.ping(None)
        self.reactor.advance(1.1)
        self.probes.end(1, error=PathError(ExitCode.USAGE, "no such file"))
        self.assertFails(pinging, ExitCode.USAGE, "no such file")
        assert self.report.told == [(TARGET, 56)]

    def test_unusableAtOnce(self) -> None:
        """Also if that is known before there was anything to wait for."""
        self.probes.immediate = lambda seq: probe(seq, error=PathError(ExitCode.USAGE, "no such file"))
        pinging = self.ping(None)
        self.reactor.advance(0.1)
        self.assertFails(pinging, ExitCode.USAGE, "no such file")

    def test_lastUnusable(self) -> None:
        """Or if it was the only probe."""
        self.probes.immediate = lambda seq: probe(seq, error=PathError(ExitCode.USAGE, "no such file"))
        self.assertFails(self.ping(1), ExitCode.USAGE, "no such file")

    def test_noFile(self) -> None:
        """A file of TLS that isn't there is told before anything else."""
        target = StreamTarget("", "there", 1, Security("/nonexistent"))
        pinging = Deferred.fromCoroutine(ping(self.reactor, target, Schedule(1, 1, 1, 1), self.report, []))
        error = self.failureResultOf(pinging, PathError).value
        assert (error.code, self.report.told) == (ExitCode.USAGE, [])
        assert str(error) == "cannot speak TLS with there:1: /nonexistent: No such file or directory"

    def test_brokenPipe(self) -> None:
        """When the report can't be written that is the end, too."""
        pinging = self.ping(None)
        self.reactor.advance(1.1)
        self.report.error = PathError(ExitCode.BROKEN_PIPE, "the output can't be written")
        self.probes.end(2)
        self.assertFails(pinging, ExitCode.BROKEN_PIPE, "the output can't be written")
        assert not self.flushLoggedErrors()

    def test_bug(self) -> None:
        """An error that nobody expected isn't swallowed."""
        pinging = self.ping(None)
        self.probes.waiting.pop(1).errback(Failure(ZeroDivisionError()))
        self.failureResultOf(pinging, ZeroDivisionError)

    def test_kinds(self) -> None:
        """Streams and datagrams have their own kind of probes."""
        plan = Schedule(1, 1, 1, 1)
        for target, kind in ((TARGET, StreamProbes), (DatagramTarget("there", 1), DatagramProbes)):
            assert isinstance(makeProbes(self.reactor, target, plan, Statistics()), kind)


class JudgeTests(SynchronousTestCase):
    """`judge` tells how it ends."""

    def assertJudged(self, results: list[Result], requirements: list[str], code: ExitCode, message: str) -> None:
        """Check the judgement of `results`."""
        assert judge(summed(*results), [*map(parseRequirement, requirements)]) == (code, message)

    def test_right(self) -> None:
        """All were answered, and all that was required is so; nothing is wrong where nothing was sent."""
        self.assertJudged([probe(1), probe(2)], ["p99<5ms", "loss<1%", "late<1"], ExitCode.OK, "")
        self.assertJudged([], [], ExitCode.OK, "")

    def test_failed(self) -> None:
        """It's the first failure that counts, but a wrong reply more than any other."""
        lost, refused, wrong = ExitCode.TIMED_OUT, ExitCode.UNREACHABLE, ExitCode.WRONG
        self.assertJudged([probe(1, code=lost)], [], lost, "there:1: timed out 1")
        results = [probe(1), probe(2, code=lost), probe(3, code=refused)]
        self.assertJudged(results, [], lost, "2 of 3 failed: there:1: timed out 2")
        results.append(probe(4, code=wrong))
        self.assertJudged(results, [], wrong, "3 of 4 failed: there:1: corrupted 4")

    def test_required(self) -> None:
        """Every requirement that isn't met is told, with what it was instead."""
        message = "max<1us: not met (1.00 ms); p50<0.5ms: not met (1.00 ms)"
        self.assertJudged([probe(1)], ["max<1us", "avg<1s", "p50<0.5ms"], ExitCode.WRONG, message)
        assert judge(summed(probe(1, code=ExitCode.SHORT)), [UNMET])[0] is ExitCode.SHORT

    def test_loss(self) -> None:
        """Whoever says how many may be lost doesn't mind those; but wrong replies."""
        lost = [probe(1), probe(2, code=ExitCode.TIMED_OUT)]
        self.assertJudged(lost, ["loss<=50%"], ExitCode.OK, "")
        self.assertJudged(lost, ["loss<50%"], ExitCode.WRONG, "loss<50%: not met (50 %); there:1: timed out 2")
        unmet = "loss<50%: not met (50 %); avg<1us: not met (1.00 ms); there:1: timed out 2"
        self.assertJudged(lost, ["loss<50%", "avg<1us"], ExitCode.WRONG, unmet)
        wrong = [probe(1, code=ExitCode.WRONG)]
        self.assertJudged(wrong, ["loss<50%"], ExitCode.WRONG, "there:1: corrupted 1")
        assert raised(ValueError, parseRequirement, "loss<50") is not None

    def test_outage(self) -> None:
        """Whoever says how long nothing may be answered minds an outage that isn't over, and wrong replies."""
        lost, answered = probe(1, code=ExitCode.TIMED_OUT), probe(2)
        self.assertJudged([lost, answered], ["outage<=2s"], ExitCode.OK, "")
        unmet = "outage<1s: not met (1001 ms); there:1: timed out 1"
        self.assertJudged([lost, answered], ["outage<1s"], ExitCode.WRONG, unmet)
        again = probe(3, code=ExitCode.UNREACHABLE)
        failed = "2 of 3 failed: there:1: timed out 1"
        self.assertJudged([lost, answered, again], ["outage<=2s"], ExitCode.TIMED_OUT, failed)
        self.assertJudged([lost, answered, again], ["outage<=2s", "loss<90%"], ExitCode.OK, "")
        self.assertJudged([lost, answered], ["max<9s"], ExitCode.TIMED_OUT, "1 of 2 failed: there:1: timed out 1")
        wrong = [probe(1, code=ExitCode.WRONG), answered]
        self.assertJudged(wrong, ["outage<=2s"], ExitCode.WRONG, "1 of 2 failed: there:1: corrupted 1")
