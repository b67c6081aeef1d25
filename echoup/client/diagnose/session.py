"""One `echoup diagnose`: its checks, stage by stage, and how it ends."""

from collections.abc import Sequence
from dataclasses import replace

from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError

from echoup.client.diagnose.checklist import STAGES, PathCheck
from echoup.client.diagnose.conclusion import BROKE_OFF, conclude
from echoup.client.diagnose.finding import Finding, Problem, Status, skipped
from echoup.client.diagnose.firstreply import Silence, findSilence
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.diagnose.reports.report import DiagnosisReport
from echoup.client.diagnose.scope import Scope
from echoup.client.diagnose.together import together
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.target.parse import Target
from echoup.client.target.stream import StreamTarget

INTERRUPTED = "interrupted"
"""Why a check was skipped that had not ended when the diagnosis was cancelled."""


async def diagnose(
    reactor: ReactorBase,
    target: Target,
    scope: Scope,
    report: DiagnosisReport,
    isStrict: bool = False,
    stages: Sequence[Sequence[PathCheck]] = STAGES,
) -> None:
    """Make the checks of `target` that `scope` asks for, and report them.

    Raise PathError, with the exit code, if one of them failed, or, with `isStrict`, found anything. Raise it before the
    first check if the target's files can't be used. Cancelling ends the checks; what they found is still reported.
    """
    if isinstance(target, StreamTarget):
        target.prepare()
    session = _Session(PathUnderTest(reactor, target, scope), report)
    asked = [check for stage in stages for check in stage if scope.includes(check.name)]
    report.begin(target, [check.name for check in asked])
    try:
        for stage in stages:
            await session.makeAll([check for check in stage if check in asked or check.isBasis])
    except CancelledError:
        for check in asked:
            if check.name not in session.findings:
                session.add(check, skipped(INTERRUPTED))
        report.end(replace(conclude(session.findings, isStrict), isInterrupted=True))
        raise
    finally:
        await session.path.close()
    conclusion = conclude(session.findings, isStrict)
    report.end(conclusion)
    if conclusion.code and conclusion.problem:
        raise PathError(conclusion.code, f"{conclusion.check}: {conclusion.problem.text}", target)


class _Session:
    """The checks of one run, and what they found."""

    def __init__(self, path: PathUnderTest, report: DiagnosisReport) -> None:
        self.path = path
        self.findings: dict[str, Finding] = {}
        """By the names of the checks."""
        self._report = report
        self._silence: Silence | None = None
        self._isTried = False
        self._broken: dict[PathCheck, tuple[float, PathError]] = {}
        """The checks that broke off and are to be made again: when they began, and why they broke off."""

    async def makeAll(self, checks: Sequence[PathCheck]) -> None:
        """Make the `checks` at the same time, and those that break off once more, each by itself.

        What limits the connections of one client, or a restart, may end some of those that are made at the same time.
        """
        await self._tryFirst(checks)
        await together(self._make(check) for check in checks)
        if self._broken:
            self.path.places.narrow()
        for check in [*self._broken]:
            await self._make(check)

    async def _tryFirst(self, checks: Sequence[PathCheck]) -> None:
        """Before the first of `checks` that needs to know, find out whether a connection is answered at all."""
        path = self.path
        needed = [check for check in checks if check.spoiledBy and not (check.whySkipped(path) or path.obstacle)]
        if path.isDatagram or self._isTried or not needed:
            return
        self._isTried = True
        silence = await findSilence(path)
        # Nothing is skipped for the sake of a check that isn't made.
        self._silence = silence if silence and path.scope.includes(silence.explainedBy) else None

    def _whySpoiled(self, check: PathCheck) -> str:
        """Return why `check` would only fail because of what is already known; empty if it may find something."""
        if self._silence in check.spoiledBy and self._silence:
            return self._silence.value
        for name, finding in self.findings.items():
            if any(problem.cause in check.followsFrom for problem in finding.problems):
                return f"it would only fail because of what {name} found"
        return ""

    async def _make(self, check: PathCheck) -> None:
        """Make `check`, unless there is a reason not to, and report what it found.

        Nothing is reported of a check that isn't asked for, unless it shows why the others can't be made.
        """
        path, isAsked = self.path, self.path.scope.includes(check.name)
        if why := path.obstacle or check.whySkipped(path) or self._whySpoiled(check):
            if isAsked:
                self.add(check, skipped(why))
            return
        began, before = self._broken.pop(check, (path.clock.seconds(), None))
        try:
            finding = await self._find(check, isAsked)
        except PathError as error:
            if error.code is ExitCode.BROKEN_PIPE:  # of the report
                raise
            if not before and error.code is not ExitCode.LOCAL:
                self._broken[check] = (began, error)
                return
            finding = _explain(error)
        else:
            if before:
                finding = replace(finding, problems=(*finding.problems, _remember(before)))
        if isAsked or finding.status is Status.FAIL:
            self.add(check, finding, path.clock.seconds() - began)

    async def _find(self, check: PathCheck, isAsked: bool) -> Finding:
        """Return what `check` finds; its progress is reported if it was asked for."""

        def tell(words: str) -> None:
            if isAsked:
                self._report.tell(check.name, words)

        tell("")
        finding = await check.make(self.path, tell)
        return finding if self.path.isDatagram else finding.asOfStream()

    def add(self, check: PathCheck, finding: Finding, seconds: float = 0) -> None:
        """Take what `check` found in so many `seconds`."""
        self.findings[check.name] = finding
        self._report.add(check.name, finding, seconds)


def _remember(error: PathError) -> Problem:
    """Return what to say of a check that `error` ended, and that was then made to its end."""
    return Problem(
        Status.NOTE,
        "broke-off-once",
        f"a first attempt at this check failed: {error}",
        meaning="The path failed once, or doesn't take the connections of several checks at the same time.",
        advice="Repeat the diagnosis; echoup ping shows how often it fails.",
    )


def _explain(error: PathError) -> Finding:
    """Return what `error`, which ended a check, says of the path."""
    if error.code is ExitCode.LOCAL:
        return skipped(f"this machine can't make it: {error}")
    problem = Problem(
        Status.FAIL,
        BROKE_OFF,
        f"the path failed during this check: {error}",
        advice="See what the other checks say, and repeat the diagnosis.",
        code=error.code,
    )
    return Finding(problem.text, (problem,))
