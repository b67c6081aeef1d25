"""What the reports of a diagnosis have in common."""

from collections.abc import Callable, Sequence

from echoup.client.diagnose.conclusion import Conclusion
from echoup.client.diagnose.finding import Finding


class DiagnosisReport:
    """Gets each event of a diagnosis as it happens; a subclass writes those that its format has."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def begin(self, target: object, names: Sequence[str]) -> None:
        """Begin the report of the checks `names`, in their order."""

    def tell(self, name: str, words: str) -> None:
        """Note that the check `name` is under way, and, in a few words, what it is doing."""

    def add(self, name: str, finding: Finding, seconds: float) -> None:
        """Note what the check `name` found, and how long it took.

        A check of which `begin` wasn't told is added where it shows why the others can't be made.
        """

    def end(self, conclusion: Conclusion) -> None:
        """End the report."""
