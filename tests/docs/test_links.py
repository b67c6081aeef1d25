"""Every link of the documents leads somewhere, and every page can be found."""

import posixpath
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from twisted.trial.unittest import SynchronousTestCase

from tests.support.documents import CHECKOUT, Document, locate, readDocuments, slugOf


def resolve(page: str, link: str) -> tuple[str, str]:
    """Return the path from the checkout, and the anchor, that a relative link on `page` leads to."""
    path, _, anchor = link.partition("#")
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page, anchor


def isExternal(link: str) -> bool:
    """Return whether a link leads out of the checkout."""
    return bool(re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//", link))


def findBrokenLinks(page: Document) -> list[str]:
    """Return the links of a page that lead to no file or no heading, out of the checkout, or outside without https."""
    broken = []
    for line, link in page.links:
        where = f"{page.name}:{line}: {link}"
        if isExternal(link):
            if not isWellFormed(link):
                broken.append(f"{where} is not a well-formed https address")
            continue
        path, anchor = resolve(page.name, link)
        if path.startswith(("../", "/")) or not (path == page.name or locate(path).exists()):
            broken.append(f"{where}: there is no file {path}")
        elif anchor and path.endswith(".md"):
            target = page if path == page.name else Document(path, locate(path).read_text())
            if anchor not in target.anchors:
                broken.append(f"{where}: {path} has no heading #{anchor}")
    return broken


def isWellFormed(link: str) -> bool:
    """Return whether an external link is an https address with a host, or a mail address."""
    if link.startswith("mailto:"):
        return bool(re.fullmatch(r"mailto:[\w.+-]+@[\w-]+(\.[\w-]+)+", link))
    parts = urlsplit(link)
    return parts.scheme == "https" and bool(re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.hostname or ""))


def findUnreachable(pages: Mapping[str, Document], first: str = "README.md") -> list[str]:
    """Return the pages that no chain of links from `first` leads to."""
    reached, open_ = {first}, [first]
    while open_:
        name = open_.pop()
        for _, link in pages[name].links:
            path, _ = resolve(name, link)
            if not isExternal(link) and path in pages.keys() - reached:
                reached.add(path)
                open_.append(path)
    return sorted(pages.keys() - reached)


class LinkTests(SynchronousTestCase):
    """The links of the documents."""

    def test_everyLinkResolves(self) -> None:
        """Every link leads to a file and a heading that exist, or to a well-formed https address."""
        assert [broken for page in readDocuments().values() for broken in findBrokenLinks(page)] == []

    def test_everyPageIsReachable(self) -> None:
        """A chain of links leads from README.md to every page."""
        assert findUnreachable(readDocuments()) == []


class CheckerTests(SynchronousTestCase):
    """The checks find what is wrong."""

    def broken(self, text: str) -> list[str]:
        """Return what is wrong with the links of a page, without where it is."""
        return [each.partition(": ")[2] for each in findBrokenLinks(Document("docs/page.md", text))]

    def test_goodLinksPass(self) -> None:
        """Files, folders, headings of this page and of others, images, references and https addresses exist."""
        assert (
            self.broken(
                "# A heading: `--keep`\n\n[a](../README.md) ![b](../benchmarks/results.svg) [c](#a-heading---keep)\n"
                "[d](../echoup/upper.py) [e](../tests) [f](../README.md#echoup) https://example.org/x.\n"
                "`[no](link)`\n\n    [no](link)\n\n```\n[no](link)\n```\n\n[g]: ../LICENSE\n"
            )
            == []
        )

    def test_wrongFileIsFound(self) -> None:
        """A file that doesn't exist is found, in a link, an image, a reference and HTML, and outside the checkout."""
        for text in (
            "[a](none.md)",
            "![a](none.md)",
            "[![a](none.md)](../LICENSE)",
            "[a]: none.md",
            '<a href="none.md">',
        ):
            assert self.broken(text) == ["none.md: there is no file docs/none.md"]
        assert self.broken("[a](../../x)") == ["../../x: there is no file ../x"]

    def test_wrongAnchorIsFound(self) -> None:
        """A heading that doesn't exist is found; one inside of code is none."""
        assert self.broken("[a](#none)\n\n```\n# None\n```\n") == ["#none: docs/page.md has no heading #none"]
        assert self.broken("[a](../README.md#none)") == ["../README.md#none: README.md has no heading #none"]

    def test_wrongAddressIsFound(self) -> None:
        """An address without https, or without a host, is found, also a bare one."""
        for link in "http://example.org", "https://localhost/", "https://exa_mple.org", "ftp://x.org":
            assert self.broken(f"[a]({link})") == [f"{link} is not a well-formed https address"]
        assert self.broken("see http://example.org.") == ["http://example.org is not a well-formed https address"]

    def test_lineIsNamed(self) -> None:
        """The fault names the page and the line."""
        page = Document("README.md", "text\n\n    code\n\n[a](none)")
        assert findBrokenLinks(page) == ["README.md:5: none: there is no file none"]

    def test_slugsAreGitHubs(self) -> None:
        """A heading's anchor is GitHub's, and that of a second one like it has a number."""
        assert slugOf("The *log*, `--log` & [more](x.md)!") == "the-log---log--more"
        assert slugOf("Größe_2") == "größe_2"
        assert Document("x", "# A b\n## A b\n### A b\n").anchors == {"a-b", "a-b-1", "a-b-2"}

    def test_lonelyPageIsFound(self) -> None:
        """A page that only another lonely page links is unreachable."""
        texts = {"README.md": "[a](docs/a.md)", "docs/a.md": "[b](b.md#x)", "docs/b.md": "", "docs/c.md": "[d](d.md)"}
        pages = {name: Document(name, text) for name, text in {**texts, "docs/d.md": ""}.items()}
        assert findUnreachable(pages) == ["docs/c.md", "docs/d.md"]

    def test_documentsAreThose(self) -> None:
        """The documents are the three pages of the checkout and those in docs/."""
        names = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "docs").glob("**/*.md")}
        assert set(readDocuments()) == {"README.md", "SECURITY.md", "CONTRIBUTING.md"} | names
