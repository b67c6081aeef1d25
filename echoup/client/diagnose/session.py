"""One `echoup diagnose`: its checks, stage by stage, and how it ends."""

from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from echoup.client.diagnose.checklist import STAGES, Check
from echoup.client.diagnose.conclusion import conclude
from echoup.client.diagnose.finding import Finding, Problem, Status, skipped
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.diagnose.reports.report import Report
from echoup.client.diagnose.scope import Scope
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.target.parse import Target
from echoup.client.target.stream import StreamTarget


async def diagnose(reactor: ReactorBase, target: Target, scope: Scope, report: Report, isStrict: bool) -> None:
    """Make the checks of `target` that `scope` asks for, and report them.

    Raise PathError, with the exit code, if one of them failed, or, with `isStrict`, found anything. Raise it before the
    first check if the target's files can't be used. Cancelling ends the checks; what they found is still reported.
    """
    if isinstance(target, StreamTarget):
        target.prepare()
    path = PathUnderTest(reactor, target, scope)
    session = _Session(path, report)
    report.begin(target)
    try:
        for stage in STAGES:
            await gatherResults([Deferred.fromCoroutine(session.make(check)) for check in stage], consumeErrors=True)
    except CancelledError:
        session.interrupt()
        raise
    finally:
        await path.close()
        conclusion = conclude(session.findings, isStrict)
        report.end(session.findings, conclusion)
    if conclusion.code and conclusion.problem:
        raise PathError(conclusion.code, f"{conclusion.check}: {conclusion.problem.text}", target)


class _Session:
    """The checks of one run, and what they found."""

    def __init__(self, path: PathUnderTest, report: Report) -> None:
        self.findings: dict[str, Finding] = {}
        self._path, self._report = path, report

    async def make(self, check: Check) -> None:
        """Make `check`, unless there is a reason not to, and report what it found."""
        path, name = self._path, check.name
        began = path.clock.seconds()
        if why := check.whySkipped(path) or path.obstacle:
            finding = skipped(why)
        else:
            self._report.start(name)
            try:
                finding = await check.make(path, lambda words: self._report.tell(name, words))
            except PathError as error:
                finding = _explain(name, error)
        self.findings[name] = finding
        self._report.add(name, finding, path.clock.seconds() - began)

    def interrupt(self) -> None:
        """Report the checks that were not made, or not to their end, as skipped."""
        for check in (check for stage in STAGES for check in stage):
            if check.name not in self.findings:
                self.findings[check.name] = skipped("interrupted")
                self._report.add(check.name, self.findings[check.name], 0)


def _explain(name: str, error: PathError) -> Finding:
    """Return what `error`, which ended the check `name`, says of the path."""
    if error.code is ExitCode.LOCAL:
        return skipped(f"this machine can't make it: {error}")
    problem = Problem(
        Status.FAIL,
        f"{name}-broke-off",
        f"the check broke off: {error}",
        meaning="The path failed in a way that this check doesn't look for.",
        advice="See what the other checks found; repeat the diagnosis with a longer --timeout.",
        code=error.code,
    )
    return Finding(problem.text, (problem,))
