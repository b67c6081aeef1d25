"""The most probable cause of what the checks found, and the exit code."""

from collections.abc import Mapping
from dataclasses import dataclass

from echoup.client.diagnose.finding import Finding, Problem, Status
from echoup.client.exitcodes import ExitCode

PRECEDENCE = (
    "resolve",
    "reach",
    "tls",
    "mtu",
    "exact",
    "half-close",
    "buffering",
    "idle",
    "many",
    "flows",
    "load",
    "proxy",
    "udp",
)
"""The checks by how much their problems explain those of the others: causes before their consequences."""


@dataclass(frozen=True)
class Conclusion:
    """What a diagnosis says as a whole."""

    check: str
    """The check that found the cause; empty if nothing is wrong."""
    problem: Problem | None
    """The most probable cause; None if nothing is wrong."""
    code: ExitCode


def conclude(findings: Mapping[str, Finding], isStrict: bool) -> Conclusion:
    """Return the most probable cause among the `findings` by the names of their checks.

    Of the worst problems it is the one that explains the most others. With `isStrict`, notes and warnings set the exit
    code, too.
    """
    ranked = [
        (-problem.status.rank, PRECEDENCE.index(name), number, name, problem)
        for name, finding in findings.items()
        for number, problem in enumerate(finding.problems)
    ]
    if not ranked:
        return Conclusion("", None, ExitCode.OK)
    *_, name, problem = min(ranked)
    if problem.status is Status.FAIL:
        return Conclusion(name, problem, problem.code)
    return Conclusion(name, problem, ExitCode.WRONG if isStrict else ExitCode.OK)
