"""The log lines in the documents are lines that the daemon can write."""

import re
from collections.abc import Iterable, Iterator

from twisted.trial.unittest import SynchronousTestCase

from tests.support.documents import PACKAGE, Document, literalsIn, readDocuments

PAGE, SECTION = "docs/operating.md", "The log"

LEAST = 6
"""Letters that a format must have beside its fields, to say anything about a line."""


def linesIn(page: Document, title: str) -> list[str]:
    """Return the lines of the code blocks in a section, without those of commands."""
    section = Document(page.name, page.section(title))
    lines = [line for block in section.blocks for line in block.text.splitlines() if line.strip()]
    return [line for line in lines if not re.match(r"\$ |twistd? |echoup |python ", line)]


def patternsIn(sources: Iterable[str]) -> Iterator[re.Pattern[str]]:
    """Return a pattern for each string in sources that can be the format of a line; a field matches anything."""
    for source in sources:
        for _, text in literalsIn(source):
            parts = re.split(r"\{[^{}]*\}", text)
            if sum(map(str.isalpha, "".join(parts))) >= LEAST:
                yield re.compile(".*".join(map(re.escape, parts)))


def findStrangeLines(lines: Iterable[str], sources: Iterable[str]) -> list[str]:
    """Return the lines that no string in the sources can have made."""
    patterns = [*patternsIn(sources)]
    return [line for line in lines if not any(pattern.fullmatch(line) for pattern in patterns)]


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
    )

    def test_strangeLineIsFound(self) -> None:
        """A line with other words is found; one with other values passes."""
        right = ["served 3 things, 5 bytes", "one slow 0.5 line of 'x'"]
        wrong = ["serves 3 things, 5 bytes", "Stranger: 3 things.", "a"]
        assert findStrangeLines(right + wrong, [self.source]) == wrong

    def test_linesOfTheSectionAreRead(self) -> None:
        """The lines are those of the section and of the sections in it, without commands."""
        page = Document(
            "x", "    a\n\n## The log\n\n    b\n    c\n\n### D\n\n    $ d\n    twistd e\n    f\n\n## G\n\n    g\n"
        )
        assert linesIn(page, SECTION) == ["b", "c", "f"]
