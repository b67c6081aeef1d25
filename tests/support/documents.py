"""The documents of the checkout: their headings, links, tables, code, and the commands in it.

The parser knows as much of GitHub's Markdown as the documents use: ATX headings, fenced and indented code, inline
code, links, images and tables.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import echoup

CHECKOUT = Path(__file__).parents[2]

PACKAGE = Path(echoup.__file__).parents[1]
"""The folder of the package under test, which is not the checkout where an installed package is tested."""

_CODE = re.compile(r"(?<!`)(`+)(?!`)((?:(?!\n\s*\n).)+?)(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"\]\(\s*<?([^)>\s]+)>?[^)]*\)|(?:href|src|srcset)=\"([^\"]+)\"|^\[[^]^]+\]: +(\S+)", re.MULTILINE)
_URL = re.compile(r"\bhttps?:[^\s)\"'>|]*[^\s)\"'>|.,;:]")
_HEADING = re.compile(r"^#{1,6} +(.+?)[ #]*$", re.MULTILINE)
_ITEM = re.compile(r"\s*([-*+]|[0-9]+[.)]) ")
_TABLE = re.compile(r"(?:^\|.*\n){2,}", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A code block."""

    line: int
    language: str
    """Empty for an indented block."""
    text: str

    @property
    def commands(self) -> list[str]:
        """Its command lines, without prompts, output and continuations; all lines if the language doesn't tell."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if any(line.startswith("$ ") for line in lines):
            return [line[2:] for line in lines if line.startswith("$ ")]
        return [line for line in lines if line.strip()] if self.language in {"", "sh", "bash"} else []


@dataclass(frozen=True)
class Table:
    """A table; each cell is the Markdown in it."""

    line: int
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text: str


@dataclass(frozen=True)
class Document:
    """A page of Markdown."""

    name: str
    """Its path from the checkout."""
    text: str

    @cached_property
    def _parts(self) -> tuple[str, list[Block]]:
        """The text with all code blocks left blank, so that its lines keep their numbers; and the blocks."""
        prose: list[str] = []
        blocks: list[Block] = []
        code: list[str] | None = None
        fence = ""
        inList = False
        for number, line in enumerate([*self.text.splitlines(), ""], 1):
            blank = not line.strip()
            if fence:
                if line.strip() == fence:
                    fence, code = "", None
                elif code is not None:
                    code.append(line)
                    blocks[-1] = Block(blocks[-1].line, blocks[-1].language, "\n".join(code))
            elif opening := re.match(r" *(```+|~~~+)(\S*)", line):
                fence, code = opening[1], []
                blocks.append(Block(number + 1, opening[2], ""))
            elif code is not None and (blank or line.startswith("    ")):
                code.append(line[4:])
                blocks[-1] = Block(blocks[-1].line, "", "\n".join(code).rstrip())
            elif line.startswith("    ") and not blank and not inList and not "".join(prose[-1:]).strip():
                code = [line[4:]]
                blocks.append(Block(number, "", line[4:]))
            else:
                code = None
                afterBlank = not "".join(prose[-1:]).strip()
                inList = bool(_ITEM.match(line)) or (inList and (blank or line.startswith(" ") or not afterBlank))
                prose.append(line)
                continue
            prose.append("")
        return "\n".join(prose), blocks

    @property
    def prose(self) -> str:
        """The text without code blocks; its lines keep their numbers."""
        return self._parts[0]

    @property
    def blocks(self) -> list[Block]:
        """The code blocks."""
        return self._parts[1]

    @property
    def codes(self) -> Iterator[tuple[int, str]]:
        """The inline code, on one line each, with its line."""
        for found in _CODE.finditer(self.prose):
            yield self.lineAt(found.start()), " ".join(found[2].split())

    @property
    def links(self) -> Iterator[tuple[int, str]]:
        """The targets of all links and images, bare URLs too, with their lines."""
        text = _CODE.sub(lambda found: re.sub(r"\S", "x", found[0]), self.prose)
        for found in _LINK.finditer(text):
            yield self.lineAt(found.start()), found[1] or found[2] or found[3]
        rest = _LINK.sub(lambda found: "\n" * found[0].count("\n"), text)
        for found in _URL.finditer(rest):
            yield rest.count("\n", 0, found.start()) + 1, found[0]

    @property
    def anchors(self) -> set[str]:
        """The anchors that GitHub gives the headings, and those that the page names itself."""
        anchors = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", self.prose))
        for found in _HEADING.finditer(self.prose):
            slug = slugOf(found[1])
            number = sum(1 for anchor in anchors if re.fullmatch(re.escape(slug) + "(-[0-9]+)?", anchor))
            anchors.add(f"{slug}-{number}" if number else slug)
        return anchors

    @property
    def tables(self) -> Iterator[Table]:
        """The tables."""
        for found in _TABLE.finditer(self.prose + "\n"):
            heads, _, *rows = [
                tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|")))
                for line in found[0].splitlines()
            ]
            yield Table(self.lineAt(found.start()), heads, tuple(rows), found[0].strip())

    def lineAt(self, offset: int) -> int:
        """Return the number of the line of `prose` that has an offset."""
        return self.prose.count("\n", 0, offset) + 1

    def section(self, title: str) -> str:
        """Return the text of a section, with all sections in it; empty if there is none with this title."""
        lines = self.text.splitlines(keepends=True)
        headings = [(number, re.match("#+ ", line)) for number, line in enumerate(self.prose.split("\n"))]
        levels = [(number, len(found[0])) for number, found in headings if found]
        for number, level in levels:
            if lines[number].strip("# \n") == title:
                end = next((later for later, other in levels if later > number and other <= level), len(lines))
                return "".join(lines[number + 1 : end])
        return ""


def slugOf(heading: str) -> str:
    """Return the anchor that GitHub makes of the first heading with this text."""
    text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def codesIn(cell: str) -> list[str]:
    """Return the pieces of inline code in a cell of a table."""
    return [found[2].replace("\\|", "|") for found in _CODE.finditer(cell)]


def readDocuments() -> dict[str, Document]:
    """Return all pages: README, SECURITY, CONTRIBUTING and docs/, by their paths from the checkout."""
    paths = [CHECKOUT / f"{name}.md" for name in ("README", "SECURITY", "CONTRIBUTING")]
    paths += sorted((CHECKOUT / "docs").rglob("*.md"))
    names = [str(path.relative_to(CHECKOUT)) for path in paths]
    return {name: Document(name, path.read_text()) for name, path in zip(names, paths, strict=True)}


def locate(name: str) -> Path:
    """Return where the file or folder `name` of the checkout is; modules of echoup may be installed elsewhere."""
    return (PACKAGE if re.match("(echoup|twisted)(/|$)", name) else CHECKOUT) / name


def literalsIn(source: str) -> Iterator[tuple[int, str]]:
    """Return the strings of a module that users may read, with their lines: all that are not docstrings."""
    nodes = [*ast.walk(ast.parse(source))]
    formats = [each for each in nodes if isinstance(each, ast.JoinedStr)]
    parts = {id(part) for each in formats for part in each.values}
    documented = {id(each.value) for each in nodes if isinstance(each, ast.Expr)}
    for each in formats:
        yield each.lineno, "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in each.values)
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts | documented:
            yield node.lineno, node.value
