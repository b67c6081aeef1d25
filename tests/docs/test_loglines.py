"""The log lines in the documents are lines that the daemon can write."""

import re
from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from tests.support.documents import PACKAGE, Document, literalsIn, readDocuments

PAGE, SECTION = "docs/operating.md", "The log"

LEAST = 6
"""Letters that a format must have besides its fields, to say anything about a line."""


def linesIn(page: Document, title: str) -> list[str]:
    """Return the lines of the code blocks in a section, without those of commands.

    Nor are the lines of connections among them, whose formats are built of the names of their fields; test_tables.py
    holds these to the code.
    """
    section = Document(page.name, page.section(title))
    lines = [line for block in section.blocks for line in block.text.splitlines() if line.strip()]
    return [line for line in lines if not re.match(r"\$ |twistd? |echoup |python |connection id=", line)]


def patternOf(text: str) -> re.Pattern[str] | None:
    """Return a pattern for the lines that a string can be the format of; None if it says too little about a line."""
    parts = re.split(r"\{[^{}]*\}", text)
    letters = sum(map(str.isalpha, "".join(parts)))
    return re.compile("(.*)".join(map(re.escape, parts))) if letters >= LEAST else None


def findStrangeLines(lines: Iterable[str], sources: Iterable[str]) -> list[str]:
    """Return the lines that no string in the sources can have made; the noun of a counted field is a string as well."""
    literals = {text for source in sources for _, text in literalsIn(source)}
    patterns = [pattern for text in literals if (pattern := patternOf(text))]

    def isField(value: str) -> bool:
        counted = re.fullmatch("[0-9]+ ([a-z]+?)s?", value)
        return not counted or counted[1] in literals

    found = {line: [match for pattern in patterns if (match := pattern.fullmatch(line))] for line in lines}
    return [line for line, matches in found.items() if not any(all(map(isField, each.groups())) for each in matches)]


class LineTests(SynchronousTestCase):
    """The log lines in the documents."""

    def test_everyLineCanBeWritten(self) -> None:
        """Every line that docs/operating.md shows of the log is one that the code has the words of."""
        lines = linesIn(readDocuments()[PAGE], SECTION)
        assert len(lines) >= 4
        sources = [path.read_text() for path in (PACKAGE / "echoup/server").rglob("*.py")]
        assert findStrangeLines(lines, sources) == []


class CheckerTests(SynchronousTestCase):
    """The checks find what is wrong."""

    source = (
        '"""Stranger: 3 things."""\n'
        'log("served {number} {noun}, {bytes} bytes")\n'
        'f"one slow {b:.1f} line of {c!r}"\n'
        '"{x}"\n'
        '"a {y}"\n'
        '"each of all {counted}", "thing"\n'
    )

    def test_strangeLineIsFound(self) -> None:
        """A line with other words is found; one with other values passes."""
        right = ["served 3 beings, 5 bytes", "one slow 0.5 line of 'x'", "each of all 3 things", "each of all 1 thing"]
        wrong = ["serves 3 beings, 5 bytes", "Stranger: 3 things.", "a", "each of all 3 beings"]
        assert findStrangeLines(right + wrong, [self.source]) == wrong

    def test_linesOfTheSectionAreRead(self) -> None:
        """The lines are those of the section and of the sections in it, without commands."""
        page = Document(
            "x", "    a\n\n## The log\n\n    b\n    c\n\n### D\n\n    $ d\n    twistd e\n    f\n\n## G\n\n    g\n"
        )
        assert linesIn(page, SECTION) == ["b", "c", "f"]
