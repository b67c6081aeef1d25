"""The tables of options in the documents are complete, and state the real defaults and choices."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import click
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.cli import cli
from tests.support.documents import Document, Table, codesIn, readDocuments
from tests.support.invocations import CLIENT, DAEMON, daemonIn, optionsOf

CLIENT_PAGES = ("README.md", "docs/client.md", "docs/ping.md", "docs/diagnose.md")
"""Where the options of the client are described."""

UNITS = {"us": 1e-6, "ms": 1e-3, "": 1.0, "s": 1.0, "seconds": 1.0, "m": 60.0, "min": 60.0, "minutes": 60.0}


def optionRows(page: Document) -> Iterator[tuple[Table, tuple[str, ...], list[str]]]:
    """Return the tables, rows and options of all tables of options on a page."""
    for table in page.tables:
        if table.heads[0] in {"option", "options"}:
            for row in table.rows:
                yield table, row, [code.split()[0] for code in codesIn(row[0]) if code.startswith("-")]


def quantities(cell: str) -> set[float]:
    """Return the numbers in a cell, in seconds where they are durations."""
    found = re.findall(r"(?<![\w.:])([0-9]+(?:\.[0-9]+)?) ?(us|ms|s|m|min|minutes|seconds)?(?![\w:])", cell)
    return {float(number) * UNITS[unit] for number, unit in found}


def findWrongDefaults(page: Document, defaults: Mapping[str, list[Any]]) -> list[str]:
    """Return the options whose row in a table states none of the values that `defaults` has for them."""
    wrong = []
    for table, row, names in optionRows(page):
        if "default" not in table.heads:
            continue
        said = row[table.heads.index("default")]
        known = [value for name in names for value in defaults.get(name, [])]
        if known and not any(_states(said, value) for value in known):
            wrong.append(f"{page.name}:{table.line}: {', '.join(names)}: the default is {known[0]!r}, not {said!r}")
    return wrong


def _states(cell: str, default: Any) -> bool:
    """Return whether a cell states a default; where there is none, it says in words what happens then."""
    if default is None or default is False or default == []:
        return not quantities(cell)
    if isinstance(default, str):
        return default in cell or bool(quantities(default) & quantities(cell))
    return default in quantities(cell)


def findWrongChoices(page: Document, choices: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return the options that take one of a few words, and whose row has others than these as code."""
    rows = [
        (table, name, {word for cell in row for code in codesIn(cell) for word in code.split() if word[0] != "-"})
        for table, row, names in optionRows(page)
        for name in names
        if name in choices
    ]
    return [
        f"{page.name}:{table.line}: {name}: {sorted(said ^ {*choices[name]})}"
        for table, name, said in rows
        if said != {*choices[name]}
    ]


def daemonDefaults() -> dict[str, list[Any]]:
    """Return the default of each option of the daemon."""
    options = daemonIn({})
    defaults = {f"--{name}": [value] for name, value in options.items()}
    return defaults | {"--listen": [options["listen"][0].description]}


def clientDefaults(*commands: str) -> dict[str, list[Any]]:
    """Return the defaults of each option of some commands of the client; None for a flag."""
    defaults: dict[str, list[Any]] = {}
    for each in (each for command in commands for each in cli.commands[command].params):
        for name in each.opts:
            defaults.setdefault(name, []).append(each.default if isinstance(each.default, int | float | str) else None)
    return defaults


def clientChoices() -> dict[str, tuple[str, ...]]:
    """Return the words that options of the client may be, by the options' names."""
    options = [each for command in cli.commands.values() for each in command.params]
    return {
        name: (*each.type.choices,) for each in options if isinstance(each.type, click.Choice) for name in each.opts
    }


class OptionTests(SynchronousTestCase):
    """The tables of options, and the options that must be described."""

    def setUp(self) -> None:
        """Read the documents."""
        self.pages = readDocuments()

    def test_everyOptionOfTheDaemonIsInTheTable(self) -> None:
        """README.md's table of the daemon's options has each of them, and no other, and their short names."""
        described = [{*names} for _, _, names in optionRows(self.pages["README.md"]) if DAEMON & {*names}]
        assert set().union(*described) == DAEMON - {"--help", "--version"}

    def test_everyOptionOfTheClientIsDescribed(self) -> None:
        """The pages of the client describe every option, by each of its names."""
        text = "\n".join(self.pages[name].text for name in CLIENT_PAGES if name in self.pages)
        described = set(re.findall(r"(?<![\w-])--?[a-zA-Z0-9][\w-]*", text))
        assert CLIENT - described - {"-h", "--help"} == set()

    def test_everyOptionOfConnectIsOnTheClientsPage(self) -> None:
        """docs/client.md names every option of `connect`, most of which all commands share, and only real ones."""
        named = set(re.findall(r"`(-[a-zA-Z0-9]|--[a-z-]+)\b", self.pages["docs/client.md"].text))
        assert optionsOf("connect") - {"-h", "--help"} <= named <= CLIENT

    def test_everyDefaultIsReal(self) -> None:
        """Every table of options states the real defaults: the page of a command those of that command."""
        wrong = []
        for name, page in self.pages.items():
            own = name.removeprefix("docs/").removesuffix(".md")
            commands = [own] if own in cli.commands else [*cli.commands]
            wrong += findWrongDefaults(page, daemonDefaults() | clientDefaults(*commands))
        assert wrong == []

    def test_everyChoiceIsInTheTable(self) -> None:
        """The row of an option that takes one of a few words names them all, and no other."""
        assert [wrong for page in self.pages.values() for wrong in findWrongChoices(page, clientChoices())] == []


class CheckerTests(SynchronousTestCase):
    """The checks find what is wrong."""

    page = Document(
        "x.md",
        "| option | meaning | default |\n|---|---|---|\n"
        "| `--a`, `-a` | | 2 |\n| `--b` | | `10m` |\n| `--c` | | never |\n"
        "| `--d` | `text`, or `json` (`--json`) | `text` |\n",
    )

    def test_rowsAreRead(self) -> None:
        """The rows of a table of options have the names of one option each."""
        assert [names for _, _, names in optionRows(self.page)] == [["--a", "-a"], ["--b"], ["--c"], ["--d"]]

    def test_realDefaultPasses(self) -> None:
        """A row that states the real default passes, in any unit, or in words; or that of one of the commands."""
        assert findWrongDefaults(self.page, {"-a": [2.0], "--b": [600], "--c": [None], "--d": ["text"]}) == []
        assert findWrongDefaults(self.page, {"-a": [3, 2], "--b": ["10m"], "--c": [False]}) == []

    def test_wrongDefaultIsFound(self) -> None:
        """A row that states another default is found, also where there is none, or where none is stated."""
        assert len(findWrongDefaults(self.page, {"--a": [3], "--b": [10], "--c": [5], "--d": ["json"]})) == 4
        assert findWrongDefaults(self.page, {"--a": [None]}) == ["x.md:1: --a, -a: the default is None, not '2'"]

    def test_wrongChoiceIsFound(self) -> None:
        """A row that lacks a word, or has one that isn't taken, is found."""
        assert findWrongChoices(self.page, {"--d": ("text", "json")}) == []
        assert findWrongChoices(Document("x", "| option |\n|---|\n| `--a v1`, `v2` |\n"), {"--a": ("v1", "v2")}) == []
        assert findWrongChoices(self.page, {"--d": ("text", "nagios")}) == ["x.md:1: --d: ['json', 'nagios']"]
