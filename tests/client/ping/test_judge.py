"""What the outcome of probes means."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.connect.trace import Phase, Step
from echoup.client.exitcodes import ExitCode
from echoup.client.ping.judge import describeLate, judge, judgeAll
from echoup.client.ping.requirement import parseRequirement
from echoup.client.ping.result import Result
from echoup.client.ping.schedule import Schedule
from echoup.client.ping.statistics import Outcome
from tests.support.doubles import raised
from tests.support.samples import UNMET, interruptedAt, probe, summed


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

    def test_missedDeadlineIsTimeout(self) -> None:
        """A deadline that came too early is a timeout where nothing is known, or nothing else is wrong."""
        assert judge(summed(), [], "late") == (ExitCode.TIMED_OUT, "late")
        assert judge(summed(), [UNMET], "late") == (ExitCode.TIMED_OUT, "late")
        assert judge(summed(probe()), [], "late") == (ExitCode.TIMED_OUT, "late")
        assert judge(summed(probe()), [UNMET], "late")[0] is ExitCode.WRONG
        assert judge(summed(probe(code=ExitCode.SHORT)), [], "late")[0] is ExitCode.SHORT
        assert judge(summed(probe(code=ExitCode.LOCAL)), [], "late")[0] is ExitCode.LOCAL

    def test_missedDeadlineIsDescribed(self) -> None:
        """The description has the probes that were over, and what the first of the others waited for."""
        statistics = summed(probe(1))
        any_, three = Schedule(None, 1, 1, 1, deadline=2.0), Schedule(3, 1, 1, 1, deadline=2.0)
        assert describeLate("a:1", statistics, any_) == ""
        assert describeLate("a:1", statistics, three) == "a:1: timed out: 1 of 3 probes were over after 2 s"
        statistics = summed()
        assert describeLate("a:1", statistics, any_) == "a:1: timed out: no probe was over after 2 s"
        statistics.interrupt(interruptedAt(2, Phase(Step.TLS, 0.0, {})))
        statistics.interrupt(interruptedAt(1, Phase(Step.RESOLVE, 0.0, {}), remote=None))
        why = "a:1: timed out: no probe was over after 2 s; seq 1, resolve: still waiting after 2.000 s"
        assert describeLate("a:1", statistics, any_) == why
        statistics.waiting = interruptedAt(2, Phase(Step.TLS, 0.0, {}))
        assert describeLate("a:1", statistics, any_).endswith(
            "; seq 2, TLS at 127.0.0.1:1: still waiting after 2.000 s"
        )


class JudgeAllTests(SynchronousTestCase):
    """`judgeAll` returns the exit code of a run with several targets, and the reason."""

    def test_oneTargetSpeaksForItself(self) -> None:
        """The code and the reason of the only target are those of the run."""
        assert judgeAll([Outcome("a:1", summed(), ExitCode.OK)]) == (ExitCode.OK, "")
        assert judgeAll([Outcome("a:1", summed(), ExitCode.SHORT, "cut")]) == (ExitCode.SHORT, "cut")

    def test_firstFailureOfTheTargetsCounts(self) -> None:
        """The first target that failed counts; one with a wrong reply more, one with unsent probes less."""
        good = Outcome("a:1", summed(probe()), ExitCode.OK)
        local = Outcome("b:1", summed(), ExitCode.LOCAL, "no descriptors")
        refused = Outcome("c:1", summed(), ExitCode.UNREACHABLE, "cannot connect to c:1: refused")
        unmet = Outcome("d:1", summed(probe()), ExitCode.WRONG, "avg<0us: not met")
        wrong = Outcome("e:1", summed(probe(code=ExitCode.WRONG)), ExitCode.WRONG, "e:1: corrupted")
        for outcomes, code, message in (
            ([good, good], ExitCode.OK, ""),
            ([good, local], ExitCode.LOCAL, "1 of 2 targets failed: b:1: no descriptors"),
            ([local, refused, unmet], ExitCode.UNREACHABLE, "3 of 3 targets failed: cannot connect to c:1: refused"),
            ([unmet, refused], ExitCode.WRONG, "2 of 2 targets failed: d:1: avg<0us: not met"),
            ([refused, unmet, wrong], ExitCode.WRONG, "3 of 3 targets failed: e:1: corrupted"),
        ):
            assert judgeAll(outcomes) == (code, message)
