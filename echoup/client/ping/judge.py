"""What the outcome of the probes means: the exit code, and the reason for it."""

from collections.abc import Sequence

from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.ping.reports.report import judgement
from echoup.client.ping.requirement import Requirement
from echoup.client.ping.schedule import Schedule
from echoup.client.ping.statistics import Outcome, Statistics


def judge(statistics: Statistics, requirements: Sequence[Requirement], late: str = "") -> tuple[ExitCode, str]:
    """Return the exit code, and the reason for it; empty for OK.

    What is known of the path outranks a probe that couldn't be sent, which nothing forgives. `late` says that a
    deadline came too early, if it did; it counts where nothing else is wrong, or nothing else is known.
    """
    failure = statistics.failure
    begun = statistics.sent + statistics.unsent

    def some(count: int, what: str, error: PathError | None) -> list[str]:
        return [f"{count} of {begun} {what}: {error}" if begun > 1 else str(error)] if error else []

    unsent = some(statistics.unsent, "not sent", statistics.trouble)
    metrics = {requirement.metric for requirement in requirements}
    mayLose = "loss" in metrics or ("outage" in metrics and not statistics.current)
    if failure and (statistics.wrong or not mayLose):
        return failure.code, "; ".join([*some(statistics.failed, "failed", failure), *unsent])
    if late and not statistics.over and not unsent:
        return ExitCode.TIMED_OUT, late
    unmet = [requirement for requirement in requirements if not requirement.isMet(statistics)]
    if unmet and (statistics.over or not unsent):
        reasons = [judgement(requirement, statistics) for requirement in unmet]
        return ExitCode.WRONG, "; ".join([*reasons, *([str(failure)] if failure else []), *unsent])
    if unsent:
        return ExitCode.LOCAL, unsent[0]
    return (ExitCode.TIMED_OUT, late) if late else (ExitCode.OK, "")


def describeLate(target: str, statistics: Statistics, schedule: Schedule) -> str:
    """Say that the deadline came before the probes that were asked for, or before any; empty if it didn't."""
    done = statistics.over + statistics.unsent
    if done >= (schedule.count or 1):
        return ""
    over = f"{done} of {schedule.count} probes were over" if schedule.count else "no probe was over"
    why = f"timed out: {over} after {schedule.deadline:g} s"
    if (waiting := statistics.waiting) and waiting.error and waiting.step:
        address = waiting.error.address or waiting.remote
        why += f"; seq {waiting.seq}, {waiting.step.value}{f' at {address}' if address else ''}: {waiting.error.reason}"
    return str(PathError(ExitCode.TIMED_OUT, why, target))


def judgeAll(outcomes: Sequence[Outcome]) -> tuple[ExitCode, str]:
    """Return the exit code of a run with these targets, and the reason, which names the target; empty for OK.

    That is the first target with a wrong reply; else the first that failed; else the first with probes that this
    machine couldn't send.
    """

    def rank(outcome: Outcome) -> int:
        return 0 if outcome.statistics.wrong else 2 if outcome.code is ExitCode.LOCAL else 1

    failed = sorted((each for each in outcomes if each.code), key=rank)
    if not failed:
        return ExitCode.OK, ""
    worst = failed[0]
    if len(outcomes) == 1:
        return worst.code, worst.reason
    why = worst.reason if worst.target in worst.reason else f"{worst.target}: {worst.reason}"
    return worst.code, f"{len(failed)} of {len(outcomes)} targets failed: {why}"
