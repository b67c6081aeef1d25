"""What users read is short, and in plain English."""

import re
from collections.abc import Mapping

import click
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.cli import cli
from echoup.server.tap import Options
from tests.support.documents import CHECKOUT, PACKAGE, literalsIn, readDocuments

LONGEST = {"README.md": 150, "docs/client.md": 150}
"""How many lines a page may have at most."""

ACCENT = {
    r"so many\b": "name the number: COUNT probes, SECONDS",
    r"for ever\b": "forever, without limit",
    r"whoever\b": "a client that, a user who",
    r"(?:it|this|that) is no (?!longer|more|less|fewer|worse|better)[a-z]": "it is not a",
    r"for want of\b": "for lack of",
    r"mended\b": "fixed",
    r"all the same,": "nevertheless; or leave it out",
    r"in plain\b(?! text| English| words)": "without TLS",
    r"in vain\b": "without a reply",
    r"nobody knows\b": "is not known",
    r"unjustly\b": "without need",
    r"not over after\b": "still waiting after",
    r"has enough and\b": "name what the user does: Ctrl-C",
    r"counts most\b": "decides",
    r"answers nothing\b": "does not answer",
    r"needs no right\b": "needs no privileges",
    r"unless it's so\b": "unless the limit is met",
    r"ends? our side\b": "half-closes",
    r"who is in\b": "queued clients",
    r"more of it is\b": "scale by adding",
    r"another one starts\b": "starting a replacement",
    r"exclude each other\b": "are mutually exclusive",
}
"""What is never plain English here, and what is: the style of the project is the one of the best man pages."""


def findAccent(texts: Mapping[str, str]) -> list[str]:
    """Return the phrases of ACCENT in texts, over the ends of lines and in any case, with what to write instead."""
    found = []
    for name, text in texts.items():
        said = " ".join(text.split())
        for phrase, better in ACCENT.items():
            for each in re.finditer(rf"(?<!\w){phrase}", said, re.IGNORECASE):
                around = said[max(each.start() - 30, 0) : each.end() + 30]
                found.append(f"{name}: ...{around}...: {better}")
    return found


def helps() -> dict[str, str]:
    """Return what `--help` of each command says."""
    texts = {"twistd echoup --help": str(Options())}
    for command in (cli, *cli.commands.values()):
        name = f"echoup {'' if command is cli else command.name} --help"
        texts[name] = command.get_help(click.Context(command, info_name=name, max_content_width=80))
    return texts


class WordTests(SynchronousTestCase):
    """The words that users read."""

    def test_documentsHaveNoAccent(self) -> None:
        """The pages and the news are in plain English."""
        news = [*(CHECKOUT / "changelog.d").glob("*.md"), CHECKOUT / "CHANGELOG.md"]
        texts = {name: page.text for name, page in readDocuments().items()}
        assert findAccent(texts | {str(path.relative_to(CHECKOUT)): path.read_text() for path in news}) == []

    def test_filesForOperatorsHaveNoAccent(self) -> None:
        """The units of systemd, the man pages and the files in docker/ are in plain English."""
        paths = [each for folder in ("docker", "docs") for each in (CHECKOUT / folder).rglob("*")]
        others = [path for path in paths if path.is_file() and path.suffix not in {".md", ".svg", ".pyc"}]
        texts = {str(path.relative_to(CHECKOUT)): re.sub("(?m)^ *#", "", path.read_text()) for path in others}
        assert len(texts) > 5
        assert findAccent(texts) == []

    def test_helpHasNoAccent(self) -> None:
        """What `--help` says is in plain English."""
        assert len(helps()) == len(cli.commands) + 2
        assert findAccent(helps()) == []

    def test_messagesHaveNoAccent(self) -> None:
        """The messages and log lines are in plain English, and all other strings of the code."""
        texts = {
            f"{path.relative_to(PACKAGE)}:{line}": text
            for path in sorted((PACKAGE / "echoup").rglob("*.py"))
            for line, text in literalsIn(path.read_text())
        }
        assert len(texts) > 500
        assert findAccent(texts) == []

    def test_pagesAreShort(self) -> None:
        """The pages that a newcomer reads first are short."""
        pages = {name: page.text.count("\n") for name, page in readDocuments().items()}
        assert {name: pages[name] for name in LONGEST if pages.get(name, 0) > LONGEST[name]} == {}


class CheckerTests(SynchronousTestCase):
    """The checks find what is wrong."""

    def test_phraseIsFound(self) -> None:
        """A phrase is found over the end of a line and in any case, and not inside of another word."""
        (found,) = findAccent({"a": "Waits For\n ever.", "b": "before everything, commended, as many"})
        assert found == "a: ...Waits For ever....: forever, without limit"

    def test_plainEnglishPasses(self) -> None:
        """Phrases that only look like those pass."""
        plain = "It is no longer there, that is no more than one, in plain text; recommended, all the same as before"
        assert findAccent({"x": plain}) == []

    def test_messagesAreRead(self) -> None:
        """Strings are read with their values left out, and docstrings are not."""
        source = '"""Doc."""\ndef f():\n    """Doc."""\n    g("a", f"b {c} d", name="e")\n    "f"\n'
        assert sorted(text for _, text in literalsIn(source)) == ["a", "b {} d", "e"]
