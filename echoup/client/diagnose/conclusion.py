"""The most probable cause of what the checks found, and the exit code."""

from collections.abc import Mapping
from dataclasses import dataclass

from echoup.client.diagnose.finding import Finding, Problem, Status
from echoup.client.exitcodes import ExitCode

PRECEDENCE = (
    "resolve",
    "reach",
    "mtu",
    "tls",
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

BROKE_OFF = "broke-off"
"""The cause of a problem that a check doesn't look for, and can't explain: any other explains more."""


@dataclass(frozen=True)
class Conclusion:
    """What a diagnosis says as a whole."""

    check: str
    """The check that found `problem`; empty without one."""
    problem: Problem | None
    """The worst problem, and of several the one that explains the others best; None without any."""
    code: ExitCode
    isInterrupted: bool = False
    """Whether the diagnosis ended before all checks were made."""

    @property
    def cause(self) -> Problem | None:
        """The most probable cause of what is wrong; None if nothing is: a note says nothing against the path."""
        return None if self.problem is None or self.problem.status is Status.NOTE else self.problem


def conclude(findings: Mapping[str, Finding], isStrict: bool) -> Conclusion:
    """Return what follows from the `findings`, by the names of their checks.

    A failure sets the exit code; with `isStrict`, notes and warnings do, too.
    """
    ranked = [
        (-problem.status.rank, problem.cause == BROKE_OFF, PRECEDENCE.index(name), number)
        for name, finding in findings.items()
        for number, problem in enumerate(finding.problems)
    ]
    if not ranked:
        return Conclusion("", None, ExitCode.OK)
    *_, place, number = min(ranked)
    name = PRECEDENCE[place]
    problem = findings[name].problems[number]
    otherwise = ExitCode.WRONG if isStrict else ExitCode.OK
    return Conclusion(name, problem, problem.code if problem.status is Status.FAIL else otherwise)
