"""The report that programs read: one JSON object."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from echoup.client.diagnose.conclusion import Conclusion
from echoup.client.diagnose.finding import Finding, Problem
from echoup.client.diagnose.reports.report import DiagnosisReport

SCHEMA = 1
"""The version of the JSON; it increases when a member changes or is removed, not when one is added."""


class DiagnosisJSON(DiagnosisReport):
    """Writes one JSON object at the end, in one line.

    All times are in seconds, all shares 0 to 1; an unknown value is null.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__(write)
        self._checks: dict[str, dict[str, Any] | None] = {}

    def begin(self, target: object, names: Sequence[str]) -> None:
        """Begin the report."""
        self._target = str(target)
        self._checks = dict.fromkeys(names)

    def add(self, name: str, finding: Finding, seconds: float) -> None:
        """Note what a check found."""
        self._checks[name] = {
            "name": name,
            "status": finding.status.value,
            "summary": finding.summary,
            "seconds": seconds,
            "figures": finding.figures,
            "problems": [_describe(problem) for problem in finding.problems],
        }

    def end(self, conclusion: Conclusion) -> None:
        """Write the object."""
        found = {
            "schema": SCHEMA,
            "type": "diagnosis",
            "target": self._target,
            "checks": [check for check in self._checks.values() if check],
            "cause": conclusion.cause and {"check": conclusion.check, **_describe(conclusion.cause)},
            "code": int(conclusion.code),
        }
        text = json.dumps(found, default=str).replace("\x7f", "\\u007f")  # the only control character that it leaves
        self._write(text + "\n")


def _describe(problem: Problem) -> dict[str, Any]:
    known = asdict(problem)
    del known["isOfDatagrams"]  # the name of the check, or of the cause, says it
    return known | {"status": problem.status.value, "code": int(problem.code)}
