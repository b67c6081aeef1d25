"""The saved results of a run: `python -m benchmarks.results` writes the reports again, without measuring."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from benchmarks.chart import draw
from benchmarks.machine import inWords
from benchmarks.measure import Figures, Record
from benchmarks.peer import Peer, peers
from benchmarks.report import reportOf, scenarioReport
from benchmarks.scenario import Scenario
from echoup.plurals import counted

FOLDER = Path(__file__).parent
"""The folder that keeps the results of a complete run."""

PAGE = FOLDER.parent / "docs" / "benchmarks.md"
"""The page with the tables of the scenarios in SHOWN."""

SHOWN = ("64b-100", "64k-8", "connect", "tls-64b-100", "tls-64k-8", "tls-connect", "udp-64b")
BEGIN, END = "<!-- results: begin -->\n", "<!-- results: end -->\n"


@dataclass(frozen=True)
class Results:
    """All records of a run, with the machine, the number of rounds, the seconds of each, and the scenarios."""

    machine: dict[str, str | int]
    rounds: int
    seconds: float
    scenarios: tuple[Scenario, ...]
    records: tuple[Record, ...]

    @classmethod
    def load(cls, folder: Path = FOLDER) -> Self:
        """Read `results.json` in `folder`."""
        fields = json.loads((folder / "results.json").read_text())
        records = [
            {**record, "figures": record["figures"] and Figures(**record["figures"])} for record in fields["records"]
        ]
        return cls(
            fields["machine"],
            fields["rounds"],
            fields["seconds"],
            tuple(Scenario(**scenario) for scenario in fields["scenarios"]),
            tuple(Record(**record) for record in records),
        )

    @property
    def origin(self) -> str:
        """Where the figures come from: the machine, the versions, and the rounds."""
        return f"{inWords(self.machine)} Medians of {counted(self.rounds, 'round')} of {self.seconds:g} s."

    def report(self, among: list[Peer]) -> str:
        """Return all tables, as Markdown."""
        return f"{self.origin}\n\n{reportOf(self.records, among, self.scenarios)}"

    def excerpt(self, among: list[Peer]) -> str:
        """Return the tables for the page, as Markdown."""
        shown = [scenario for scenario in self.scenarios if scenario.name in SHOWN]
        parts = [part for scenario in shown for part in scenarioReport(self.records, among, scenario)]
        return "\n\n".join([*parts, self.origin]) + "\n"

    def save(self, among: list[Peer], folder: Path) -> None:
        """Write `results.json` and `results.md` into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")
        (folder / "results.md").write_text(self.report(among))

    def draw(self, among: list[Peer], folder: Path) -> str:
        """Draw `results.svg` in `folder`; return an empty string, or why there is no chart."""
        try:
            draw(self.records, among, self.scenarios, folder / "results.svg")
        except ImportError as error:
            return f"no chart: {error}"
        return ""


def insert(page: str, excerpt: str) -> str:
    """Return `page` with `excerpt` between its two markers."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no {BEGIN.strip()} and {END.strip()}")
    return f"{before}{BEGIN}\n{excerpt}\n{END}{after}"


def main() -> None:
    """Write all reports of the saved results, and the tables of the page."""
    results, everyone = Results.load(), peers(Path())
    results.save(everyone, FOLDER)
    PAGE.write_text(insert(PAGE.read_text(), results.excerpt(everyone)))
    sys.exit(results.draw(everyone, FOLDER) or 0)


if __name__ == "__main__":
    main()
