"""What follows from the findings."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.conclusion import BROKE_OFF, PRECEDENCE, conclude
from echoup.client.diagnose.finding import Finding, Problem, Status, skipped
from echoup.client.diagnose.scope import CHECKS
from echoup.client.exitcodes import ExitCode


def found(status: Status, text: str = "broken", code: ExitCode = ExitCode.WRONG) -> Finding:
    """Return a finding with one problem."""
    return Finding(text, (Problem(status, "cause", text, code=code),))


class ConclusionTests(SynchronousTestCase):
    """The most probable cause, and the exit code."""

    def test_nothingFoundIsOk(self) -> None:
        """Without a problem there is no cause, and the exit code is 0, whatever was skipped."""
        for isStrict in (False, True):
            done = conclude({"exact": Finding("fine"), "udp": skipped("refused")}, isStrict)
            assert (done.check, done.problem, done.cause, done.code) == ("", None, None, ExitCode.OK)

    def test_worstIsTheCause(self) -> None:
        """A failure outranks a warning, which outranks a note, whatever their checks explain."""
        findings = {"resolve": found(Status.NOTE), "reach": found(Status.WARN), "udp": found(Status.FAIL, "lost")}
        assert conclude(findings, isStrict=False).check == "udp"
        del findings["udp"]
        assert conclude(findings, isStrict=False).check == "reach"

    def test_causeComesBeforeItsConsequences(self) -> None:
        """Of two failures, the one that explains the other is the cause: the MTU explains what hangs."""
        findings = {
            "exact": found(Status.FAIL, "hangs", ExitCode.TIMED_OUT),
            "mtu": found(Status.FAIL, "black hole", ExitCode.SHORT),
        }
        done = conclude(findings, isStrict=False)
        assert done.cause
        assert (done.check, done.cause.text, done.code) == ("mtu", "black hole", ExitCode.SHORT)

    def test_unexplainedFailureComesLast(self) -> None:
        """A failure that its check can't explain is the cause only if there is no other."""
        broken = Problem(Status.FAIL, BROKE_OFF, "the path failed")
        findings = {"mtu": Finding("", (broken,)), "exact": found(Status.FAIL, "cut")}
        assert conclude(findings, isStrict=False).check == "exact"
        findings["exact"] = found(Status.WARN)
        assert conclude(findings, isStrict=False).check == "mtu"

    def test_firstOfACheckIsTheCause(self) -> None:
        """Of several problems of a check that are as bad, the first is the cause."""
        two = found(Status.WARN, "first").problems + found(Status.WARN, "second").problems
        done = conclude({"tls": Finding("two", two)}, isStrict=False)
        assert done.cause
        assert done.cause.text == "first"

    def test_noteIsNoCause(self) -> None:
        """A note says nothing against the path; only a strict diagnosis exits with 1 for it."""
        findings = {"proxy": found(Status.NOTE)}
        done = conclude(findings, isStrict=False)
        assert done.problem
        assert (done.check, done.cause, done.code) == ("proxy", None, ExitCode.OK)
        assert conclude(findings, isStrict=True).code == ExitCode.WRONG

    def test_strictCountsWarnings(self) -> None:
        """A warning sets the exit code only of a strict diagnosis; a failure keeps its own."""
        assert conclude({"idle": found(Status.WARN)}, isStrict=False).code == ExitCode.OK
        assert conclude({"idle": found(Status.WARN)}, isStrict=True).code == ExitCode.WRONG
        assert conclude({"idle": found(Status.FAIL, code=ExitCode.SHORT)}, isStrict=True).code == ExitCode.SHORT

    def test_everyCheckHasItsPlace(self) -> None:
        """Each check has one place in the order of causes."""
        assert sorted(PRECEDENCE) == sorted(CHECKS)


class FindingTests(SynchronousTestCase):
    """The status of a finding."""

    def test_statusIsTheWorst(self) -> None:
        """The worst problem gives a finding its status."""
        problems = found(Status.NOTE).problems + found(Status.FAIL).problems + found(Status.WARN).problems
        assert Finding("three", problems).status is Status.FAIL
        assert Finding("none").status is Status.OK
        assert skipped("by hand").status is Status.SKIPPED
