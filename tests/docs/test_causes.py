"""The causes that docs/diagnose.md lists are those that the checks report."""

import re
from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.scope import CHECKS
from tests.support.documents import PACKAGE, Document, codesIn, readDocuments

FOLDER = PACKAGE / "echoup/client/diagnose"

OTHERS = {*CHECKS, "utf-8", "latin-1", "look-alike"}
"""Words with a hyphen in the code that are no causes."""

COMPOSED = ("filter-", "held-until-", "udp-")
"""The beginnings of causes to which the code adds the end."""


def causesIn(page: Document) -> set[str]:
    """Return the causes in the tables of a page."""
    return {
        cause for table in page.tables if table.heads[0] == "cause" for row in table.rows for cause in codesIn(row[0])
    }


def wordsIn(texts: Iterable[str]) -> set[str]:
    """Return the strings of the code that look like causes: lowercase words, most with hyphens."""
    return {word for text in texts for word in re.findall(r'"([a-z0-9]+(?:[.-][a-z0-9.]+)*)"', text)}


class CauseTests(SynchronousTestCase):
    """Every cause is documented, and every documented cause is one."""

    def setUp(self) -> None:
        """Read the documents and the code."""
        page = readDocuments()["docs/diagnose.md"]
        self.page = page
        self.words = wordsIn(path.read_text() for path in FOLDER.rglob("*.py"))
        self.causes = causesIn(page)

    def test_everyCauseIsDocumented(self) -> None:
        """Each word with a hyphen that the code has is a documented cause, or one of the known others."""
        assert {word for word in self.words if "-" in word} - self.causes - OTHERS == set()

    def test_everyDocumentedCauseIsReal(self) -> None:
        """Each documented cause is a word of the code."""
        assert [cause for cause in self.causes - self.words if not cause.startswith(COMPOSED)] == []

    def test_everyCheckHasItsSection(self) -> None:
        """Each check has a section of its own, in the order in which they run, with a table of its causes."""
        headings = re.findall(r"(?m)^### (\S+)$", self.page.text.partition("## The checks")[2])
        assert tuple(headings) == CHECKS
        sections = re.split(r"(?m)^### \S+$", self.page.text.partition("## The checks")[2])[1:]
        assert [name for name, text in zip(CHECKS, sections, strict=True) if "\n| cause |" not in text] == []
