"""The report that a person reads."""

from collections.abc import Mapping

from echoup.client.diagnose.conclusion import Conclusion
from echoup.client.diagnose.finding import Finding
from echoup.client.diagnose.reports.report import Report
from echoup.escaping import shown


class DiagnosisText(Report):
    """Prints a line for each check, what is behind its warnings, and the most probable cause."""

    def add(self, name: str, finding: Finding, seconds: float) -> None:
        """Print the line of a check, and what is behind it."""
        lines = [f"{finding.status.value:8} {name:10} {finding.summary}"]
        for problem in finding.problems:
            lines += [f"         seen    {each}" for each in problem.seen]
            lines += [f"         means   {problem.meaning}", f"         try     {problem.advice}"]
        self._write("".join(f"{shown(line)}\n" for line in lines))

    def end(self, findings: Mapping[str, Finding], conclusion: Conclusion) -> None:
        """Print the most probable cause."""
        cause = conclusion.problem.text if conclusion.problem else "nothing is wrong, as far as these checks can tell"
        self._write(shown(f"most probable cause: {cause}") + "\n")
