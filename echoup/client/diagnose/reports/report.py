"""What the reports of a diagnosis have in common."""

from collections.abc import Callable, Mapping

from echoup.client.diagnose.conclusion import Conclusion
from echoup.client.diagnose.finding import Finding


class Report:
    """Gets each event of a diagnosis as it happens; a subclass writes those that its format has."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def begin(self, target: object) -> None:
        """Begin the report."""
        self._target = str(target)

    def start(self, name: str) -> None:
        """Note that the check `name` begins."""

    def tell(self, name: str, words: str) -> None:
        """Note what the check `name` is doing."""

    def add(self, name: str, finding: Finding, seconds: float) -> None:
        """Note what the check `name` found, and how long it took."""

    def end(self, findings: Mapping[str, Finding], conclusion: Conclusion) -> None:
        """End the report."""
