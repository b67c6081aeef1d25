"""The measured figures in the documents are those of benchmarks/results.md."""

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.support.documents import CHECKOUT, Document, readDocuments

RESULTS = Document("benchmarks/results.md", (CHECKOUT / "benchmarks/results.md").read_text())


def cellsOf(results: Document) -> set[str]:
    """Return the numbers in the tables of the results."""
    return {cell for table in results.tables for row in table.rows for cell in row[1:]}


def findUnknownFigures(page: Document, results: Document) -> list[str]:
    """Return the figures in microseconds that no cell of the results has."""
    said = re.findall(r"(?<![\w.])([0-9]+(?: [0-9]{3})*(?:\.[0-9]+)?) ?µs\b", page.text)
    return [f"{page.name}: {figure} µs" for figure in said if figure not in cellsOf(results)]


def findOtherTables(page: Document, results: Document) -> list[str]:
    """Return the tables of servers that aren't tables of the results, letter by letter."""
    known = {table.text for table in results.tables}
    servers = [table for table in page.tables if table.heads[0] == "server"]
    return [f"{page.name}:{table.line}" for table in servers if table.text not in known]


class FigureTests(SynchronousTestCase):
    """The figures in the documents."""

    def test_figuresAreMeasured(self) -> None:
        """Every time in microseconds is one of the results."""
        assert [wrong for page in readDocuments().values() for wrong in findUnknownFigures(page, RESULTS)] == []

    def test_tablesAreThoseOfTheResults(self) -> None:
        """The tables of servers are tables of the results; there is at least one."""
        pages = readDocuments().values()
        assert any(table.heads[0] == "server" for page in pages for table in page.tables)
        assert [wrong for page in pages for wrong in findOtherTables(page, RESULTS)] == []


class CheckerTests(SynchronousTestCase):
    """The checks find what is wrong."""

    table = "| server | CPU |\n|---|---|\n| C | 1 234 |\n| Go | 5.6 |\n"

    def test_otherFigureIsFound(self) -> None:
        """A figure that isn't in the results is found."""
        page = Document("x.md", "5.6 µs, 1 234 µs and 5.60 µs; 7 µs/message, in 9 ms")
        assert findUnknownFigures(page, Document("r.md", self.table)) == ["x.md: 5.60 µs", "x.md: 7 µs"]

    def test_otherTableIsFound(self) -> None:
        """A table of servers with another figure is found; other tables pass."""
        page = Document("x.md", f"{self.table}\n{self.table.replace('5.6', '5.5')}\n| a |\n|---|\n| b |\n")
        assert findOtherTables(page, Document("r.md", self.table)) == ["x.md:6"]
