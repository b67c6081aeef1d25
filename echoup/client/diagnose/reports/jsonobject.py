"""The report that programs read: one JSON object."""

import json
from collections.abc import Mapping
from typing import Any

from echoup.client.diagnose.conclusion import Conclusion
from echoup.client.diagnose.finding import Finding, Problem
from echoup.client.diagnose.reports.report import Report

SCHEMA = 1
"""The version of the JSON; it increases when a member changes or is removed, not when one is added."""


class DiagnosisJSON(Report):
    """Writes one JSON object at the end."""

    def begin(self, target: object) -> None:
        """Begin the report."""
        super().begin(target)
        self._checks: list[dict[str, Any]] = []

    def add(self, name: str, finding: Finding, seconds: float) -> None:
        """Note what a check found."""
        self._checks.append(
            {
                "name": name,
                "status": finding.status.value,
                "summary": finding.summary,
                "seconds": seconds,
                "figures": finding.figures,
                "problems": [_problem(each) for each in finding.problems],
            }
        )

    def end(self, findings: Mapping[str, Finding], conclusion: Conclusion) -> None:
        """Write the object."""
        cause = conclusion.problem and {"check": conclusion.check, **_problem(conclusion.problem)}
        members = {"target": self._target, "checks": self._checks, "cause": cause, "code": int(conclusion.code)}
        self._write(json.dumps({"schema": SCHEMA, "type": "diagnosis", **members}, default=str) + "\n")


def _problem(problem: Problem) -> dict[str, Any]:
    return {
        "status": problem.status.value,
        "cause": problem.cause,
        "text": problem.text,
        "seen": problem.seen,
        "meaning": problem.meaning,
        "advice": problem.advice,
    }
