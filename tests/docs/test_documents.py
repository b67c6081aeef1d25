"""The parser of the documents: what is code, what is prose, and what is a table."""

from twisted.trial.unittest import SynchronousTestCase

from tests.support.documents import Block, Document, codesIn

PAGE = """\
# Title

Some `code` and `code over
two lines`, ``one with ` in it``, and
    not a block.

    $ first \\
      second
    output

    $ third

- an item

    of a list, not a block

A paragraph.

    block

```sh
# not a heading
`not code`
```

## Deep

### Deeper

text

## Last #
"""


class DocumentTests(SynchronousTestCase):
    """The parts of a page."""

    page = Document("x.md", PAGE)

    def test_blocksAreFencedOrIndented(self) -> None:
        """A block is fenced, or indented after an empty line, outside of a list; an empty line doesn't end it."""
        first, second, third = self.page.blocks
        assert (first.line, first.language) == (7, "")
        assert first.text == "$ first \\\n  second\noutput\n\n$ third"
        assert (second, third) == (Block(19, "", "block"), Block(22, "sh", "# not a heading\n`not code`"))

    def test_commandsFollowPrompts(self) -> None:
        """The commands of a block are what follows its prompts, joined; without a prompt each line may be one."""
        assert self.page.blocks[0].commands == ["first    second", "third"]
        assert Block(1, "sh", "a \\\n b\n\nc").commands == ["a   b", "c"]
        assert Block(1, "python", "a").commands == []

    def test_codeIsInProse(self) -> None:
        """Inline code is found over the end of a line and between any number of backquotes, and not in blocks."""
        assert [*self.page.codes] == [(3, "code"), (3, "code over two lines"), (4, "one with ` in it")]

    def test_proseKeepsLines(self) -> None:
        """The prose has as many lines as the page; those of the blocks are empty."""
        lines, written = self.page.prose.splitlines(), PAGE.splitlines()
        for line in "# Title", "    of a list, not a block", "## Deep", "## Last #":
            assert lines.index(line) == written.index(line)
        assert lines[6:11] == [""] * 5

    def test_headingsAreAnchors(self) -> None:
        """Each heading is an anchor; a line of a block isn't."""
        assert self.page.anchors == {"title", "deep", "deeper", "last"}

    def test_sectionHasItsSections(self) -> None:
        """A section ends where another one of its level begins; one that isn't there is empty."""
        assert self.page.section("Deep") == "\n### Deeper\n\ntext\n\n"
        assert (self.page.section("Last"), self.page.section("not a heading"), self.page.section("Dee")) == ("", "", "")

    def test_tableHasCells(self) -> None:
        """A table has heads and rows; an escaped bar is no border."""
        page = Document("x.md", "text\n\n| a | b |\n|---|---:|\n| `x\\|y` | 2 |\n| | |\n\ntext")
        (table,) = page.tables
        assert (table.line, table.heads, table.rows) == (3, ("a", "b"), (("`x\\|y`", "2"), ("", "")))
        assert codesIn(table.rows[0][0]) == ["x|y"]
