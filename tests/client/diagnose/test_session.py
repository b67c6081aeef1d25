"""The course of a diagnosis."""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose import session
from echoup.client.diagnose.checklist import STAGES, PathCheck
from echoup.client.diagnose.conclusion import Conclusion
from echoup.client.diagnose.finding import Finding, Problem, Status, skipped
from echoup.client.diagnose.firstreply import Silence
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.diagnose.reports.report import DiagnosisReport
from echoup.client.diagnose.scope import CHECKS, Scope
from echoup.client.diagnose.session import INTERRUPTED, diagnose
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.target.parse import parseTarget

FAULT = Problem(Status.FAIL, "cause", "it is broken", code=ExitCode.SHORT)


class Record(DiagnosisReport):
    """Records what it is told."""

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self.events: list[tuple[object, ...]] = []
        self.seconds: dict[str, float] = {}
        self.conclusion: Conclusion | None = None

    def begin(self, target: object, names: Sequence[str]) -> None:
        """Record it."""
        self.events.append(("begin", str(target), *names))

    def tell(self, name: str, words: str) -> None:
        """Record it."""
        self.events.append(("tell", name, words))

    def add(self, name: str, finding: Finding, seconds: float) -> None:
        """Record it."""
        self.events.append(("add", name, finding.status, finding.summary))
        self.seconds[name] = seconds

    def end(self, conclusion: Conclusion) -> None:
        """Record it."""
        self.events.append(("end",))
        self.conclusion = conclusion


class SessionTests(SynchronousTestCase):
    """`diagnose` with checks that end when the test says so."""

    def setUp(self) -> None:
        """Make the checks."""
        self.clock = Clock()
        self.report = Record()
        self.pending: dict[str, Deferred[Finding]] = {}
        self.cancelled: list[str] = []
        self.tells: dict[str, Tell] = {}

    def make(self, name: str, **keywords: Any) -> PathCheck:
        """Return a check that ends when its Deferred fires."""

        async def check(path: PathUnderTest, tell: Tell) -> Finding:
            self.tells[name] = tell
            self.pending[name] = Deferred(lambda _: self.cancelled.append(name))
            return await self.pending[name]

        return PathCheck(name, check, **keywords)

    def quick(self, name: str, act: Callable[[PathUnderTest], Finding], **keywords: Any) -> PathCheck:
        """Return a check that does `act` at once."""

        async def check(path: PathUnderTest, tell: Tell) -> Finding:
            return act(path)

        return PathCheck(name, check, **keywords)

    def start(
        self, *stages: Sequence[PathCheck], target: str = "127.0.0.1:1", isStrict: bool = False, **scope: Any
    ) -> "Deferred[None]":
        """Start a diagnosis."""
        work = diagnose(self.clock, parseTarget(target), Scope(**scope), self.report, isStrict, stages)  # type: ignore[arg-type]
        return Deferred.fromCoroutine(work)

    def test_stagesFollowEachOther(self) -> None:
        """The checks of a stage are made at the same time, and those of the next when all of them have ended."""
        running = self.start([self.make("reach"), self.make("tls")], [self.make("mtu")])
        assert [*self.pending] == ["reach", "tls"]
        self.pending["tls"].callback(Finding("first"))
        assert "mtu" not in self.pending
        self.clock.advance(2)
        self.pending["reach"].callback(Finding("second"))
        self.pending["mtu"].callback(Finding("third"))
        self.successResultOf(running)
        assert self.report.events == [
            ("begin", "127.0.0.1:1", "reach", "tls", "mtu"),
            ("tell", "reach", ""),
            ("tell", "tls", ""),
            ("add", "tls", Status.OK, "first"),
            ("add", "reach", Status.OK, "second"),
            ("tell", "mtu", ""),
            ("add", "mtu", Status.OK, "third"),
            ("end",),
        ]
        assert self.report.seconds == {"tls": 0, "reach": 2, "mtu": 0}

    def test_failureSetsExitCode(self) -> None:
        """A failure raises an error that names the check, the target and the cause, when all checks have ended."""
        running = self.start([self.quick("exact", lambda _: Finding("bad", (FAULT,)))], [self.make("mtu")])
        self.assertNoResult(running)
        self.pending["mtu"].callback(Finding("fine"))
        error = self.failureResultOf(running, PathError).value
        assert (error.code, str(error)) == (ExitCode.SHORT, "127.0.0.1:1: exact: it is broken")

    def test_strictFailsForNotes(self) -> None:
        """A note fails a strict diagnosis only."""
        note = Finding("hm", (Problem(Status.NOTE, "cause", "it is odd"),))
        self.successResultOf(self.start([self.quick("proxy", lambda _: note)]))
        error = self.failureResultOf(self.start([self.quick("proxy", lambda _: note)], isStrict=True), PathError).value
        assert error.code == ExitCode.WRONG

    def test_obstacleSkipsTheRest(self) -> None:
        """Where nothing more can be measured, the other checks are skipped, with the reason."""

        def fail(path: PathUnderTest) -> Finding:
            path.obstacle = "nothing answers"
            return Finding("silent", (FAULT,))

        self.failureResultOf(self.start([self.quick("reach", fail)], [self.make("mtu")]), PathError)
        assert ("add", "mtu", Status.SKIPPED, "nothing answers") in self.report.events
        assert self.pending == {}

    def silent(self, silence: Silence | None) -> None:
        """Let the first connection stay without a reply."""

        async def find(path: PathUnderTest) -> Silence | None:
            self.tried += 1
            return silence

        self.tried = 0
        self.patch(session, "findSilence", find)

    def test_silenceIsExplainedOnce(self) -> None:
        """Where no connection is answered, a check that needs a reply is skipped for the one that says why."""
        proxy = self.quick("proxy", lambda _: Finding("far"), spoiledBy=frozenset({Silence.CLOSED}))
        exact = self.quick("exact", lambda _: Finding("bad", (FAULT,)), spoiledBy=frozenset({Silence.REFUSED}))
        self.silent(Silence.CLOSED)
        self.failureResultOf(self.start([proxy], [exact]), PathError)
        assert ("add", "proxy", Status.SKIPPED, Silence.CLOSED.value) in self.report.events
        assert ("add", "exact", Status.FAIL, "bad") in self.report.events
        assert self.tried == 1

    def test_nothingIsSkippedForACheckThatIsNotMade(self) -> None:
        """Without the check that says why no connection is answered, the others are made, and fail."""
        proxy = self.quick("proxy", lambda _: Finding("bad", (FAULT,)), spoiledBy=frozenset(Silence))
        for silence, other in ((Silence.CLOSED, "exact"), (Silence.HANGING, "tls")):
            self.silent(silence)
            self.failureResultOf(self.start([proxy], skip=frozenset({other})), PathError)

    def test_replyIsAwaitedOnlyWhereItMatters(self) -> None:
        """Nothing is tried for datagrams, beyond an obstacle, or for checks that need no reply."""
        self.silent(Silence.CLOSED)
        needy = self.quick("mtu", lambda _: Finding("fine"), spoiledBy=frozenset(Silence))
        self.successResultOf(self.start([needy], target="udp:127.0.0.1:1"))
        self.successResultOf(self.start([self.quick("udp", lambda _: Finding("fine"))]))

        def fail(path: PathUnderTest) -> Finding:
            path.obstacle = "nothing answers"
            return Finding("silent", (FAULT,))

        self.failureResultOf(self.start([self.quick("reach", fail)], [needy]), PathError)
        assert self.tried == 0

    def test_consequencesAreSkipped(self) -> None:
        """A check that would only fail because of what another one found is skipped, and names that."""
        exact = self.quick("exact", lambda _: Finding("fine"), followsFrom=frozenset({"cause"}))
        self.failureResultOf(self.start([self.quick("mtu", lambda _: Finding("bad", (FAULT,)))], [exact]), PathError)
        assert ("add", "exact", Status.SKIPPED, "it would only fail because of what mtu found") in self.report.events

    def test_basisIsMadeAnyway(self) -> None:
        """What the other checks build on is made where it isn't asked for, too, and reported only if it failed."""
        basis = self.quick("reach", lambda _: Finding("fine"), isBasis=True)
        self.successResultOf(self.start([basis, self.make("tls")], only=frozenset({"mtu"})))
        assert self.report.events == [("begin", "127.0.0.1:1"), ("end",)]
        broken = self.quick("reach", lambda _: Finding("bad", (FAULT,)), isBasis=True)
        self.failureResultOf(self.start([broken], only=frozenset({"mtu"})), PathError)
        assert ("add", "reach", Status.FAIL, "bad") in self.report.events

    def test_leftOutChecksAreNotReported(self) -> None:
        """A check that --only or --skip leaves out isn't in the report."""
        checks = [self.quick(name, lambda _: Finding("fine")) for name in ("exact", "mtu", "udp")]
        self.successResultOf(self.start(checks, skip=frozenset({"mtu"})))
        assert self.report.events[0] == ("begin", "127.0.0.1:1", "exact", "udp")
        assert len(self.report.events) == 6

    def test_onDemandIsSkippedOtherwise(self) -> None:
        """A check on demand is made only with its option."""
        many = self.quick("many", lambda path: Finding(f"{path.scope.many} held"), option="many")
        self.successResultOf(self.start([many]))
        assert ("add", "many", Status.SKIPPED, "made only with the option of that name") in self.report.events
        self.successResultOf(self.start([many], many=7))
        assert ("add", "many", Status.OK, "7 held") in self.report.events

    def test_errorOfThePathIsAFinding(self) -> None:
        """A check that a PathError ends has failed, with the error's exit code; local trouble only skips it."""

        def fail(code: ExitCode) -> Callable[[PathUnderTest], Finding]:
            def act(path: PathUnderTest) -> Finding:
                raise PathError(code, "no luck")

            return act

        checks = [self.quick("exact", fail(ExitCode.TIMED_OUT)), self.quick("mtu", fail(ExitCode.LOCAL))]
        error = self.failureResultOf(self.start(checks), PathError).value
        assert error.code == ExitCode.TIMED_OUT
        assert ("add", "exact", Status.FAIL, "the path failed during this check: no luck") in self.report.events
        assert ("add", "mtu", Status.SKIPPED, "this machine can't make it: no luck") in self.report.events

    def test_brokenOffIsMadeAgain(self) -> None:
        """A check that breaks off is made once more, when those beside it have ended; the first time is a note."""
        running = self.start([self.make("exact"), self.make("mtu")], [self.make("udp")])
        self.clock.advance(1)
        self.pending["exact"].errback(PathError(ExitCode.SHORT, "reset"))
        first = self.pending["exact"]
        self.pending["mtu"].callback(Finding("fine"))
        assert self.pending["exact"] is not first
        assert "udp" not in self.pending
        self.clock.advance(1)
        self.pending["exact"].callback(Finding("good"))
        self.pending["udp"].callback(Finding("good"))
        self.successResultOf(running)
        assert [event for event in self.report.events if event[:2] == ("add", "exact")] == [
            ("add", "exact", Status.NOTE, "good")
        ]
        assert self.report.seconds["exact"] == 2

    def test_faultOfTheProgramEndsTheRest(self) -> None:
        """Any other error ends the other checks, and is raised."""
        running = self.start([self.make("tls"), self.make("mtu")])
        self.pending["mtu"].errback(ZeroDivisionError())
        self.failureResultOf(running, ZeroDivisionError)
        assert self.cancelled == ["tls"]

    def test_brokenOutputEndsIt(self) -> None:
        """Output that can't be written is no fault of the path."""

        def fail(*_: object) -> None:
            raise PathError(ExitCode.BROKEN_PIPE, "the output can't be written")

        self.patch(self.report, "tell", fail)
        error = self.failureResultOf(self.start([self.make("mtu")]), PathError).value
        assert error.code == ExitCode.BROKEN_PIPE

    def test_cancelEndsChecks(self) -> None:
        """Cancelling ends the checks under way; those that have not ended are skipped, and the rest is reported."""
        running = self.start(
            [self.quick("reach", lambda _: Finding("fine"))], [self.make("tls"), self.make("mtu")], [self.make("udp")]
        )
        running.cancel()
        self.failureResultOf(running, CancelledError)
        assert self.cancelled == ["tls", "mtu"]
        assert self.report.events[-4:] == [
            *(("add", name, Status.SKIPPED, INTERRUPTED) for name in ("tls", "mtu", "udp")),
            ("end",),
        ]
        assert self.report.conclusion
        assert self.report.conclusion.isInterrupted

    def test_tellReachesTheReport(self) -> None:
        """What a check says of its progress is reported."""
        running = self.start([self.make("mtu")])
        self.tells["mtu"]("1200 bytes")
        assert self.report.events[-1] == ("tell", "mtu", "1200 bytes")
        self.pending["mtu"].callback(Finding("fine"))
        self.successResultOf(running)


class ChecklistTests(SynchronousTestCase):
    """Which checks there are, and what each needs."""

    def whyNot(self, target: str, **scope: Any) -> dict[str, str]:
        """Return why each check is skipped, of those that are."""
        path = PathUnderTest(Clock(), parseTarget(target), Scope(**scope))  # type: ignore[arg-type]
        reasons = {check.name: check.whySkipped(path) for stage in STAGES for check in stage}
        return {name: why for name, why in reasons.items() if why}

    def test_everyKindOfTargetHasItsChecks(self) -> None:
        """A target is spared the checks that need what it hasn't."""
        onDemand = {"flows", "load", "many", "idle"}
        everything = {"flows": 2, "load": 1, "many": 2, "idle": 1}
        assert {*self.whyNot("tls:a.example")} == onDemand
        assert self.whyNot("tls:a.example", **everything) == {}
        assert self.whyNot("a.example", **everything) == {"tls": "the target has no TLS"}
        withoutHost = {"resolve", "reach", "tls", "proxy", "mtu", "udp", "flows", "idle"}
        assert {*self.whyNot("unix:/a", **everything)} == withoutHost
        datagrams = {"reach", "tls", "half-close", "proxy", "buffering", "exact", "load", "many"}
        assert {*self.whyNot("udp:a.example", **everything)} == datagrams

    def test_everyNameIsACheck(self) -> None:
        """The names of the command line are those of the checks, in their order."""
        assert tuple(check.name for stage in STAGES for check in stage) == CHECKS

    def test_skippedHasAReason(self) -> None:
        """A skipped finding has nothing but its reason."""
        assert skipped("because") == Finding("because", (), {}, isSkipped=True)
