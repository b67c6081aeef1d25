"""Every file, folder, test, module and session of nox that the documents name exists."""

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.documents import CHECKOUT, Document, locate, readDocuments

_PATH = re.compile(r"(?:\./)?((?:\.ci|benchmarks|changelog\.d|docker|docs|echoup|tests|twisted)/[\w./+-]*)")
_PLACEHOLDER = re.compile(r"[A-Z]{4,}(?!\w)|…|\.\.\.")


def wordsOf(page: Document) -> Iterator[tuple[int, str]]:
    """Return the code of a page, inline and in the lines of blocks that aren't in a language of their own."""
    yield from page.codes
    for block in page.blocks:
        if block.language in {"", "sh", "bash", "console"}:
            for number, line in enumerate(block.text.splitlines()):
                yield block.line + number, line


def findMissingPaths(page: Document) -> list[str]:
    """Return the paths of the checkout in code that don't exist, with tests that their file doesn't have."""
    missing = []
    for line, code in wordsOf(page):
        for word in code.split():
            path, _, test = word.strip("()'\",;").partition("::")
            if not (found := _PATH.fullmatch(path)) or _PLACEHOLDER.search(path):
                continue
            where = locate(found[1])
            if not where.exists():
                missing.append(f"{page.name}:{line}: there is no {path}")
            elif test and not hasTest(where, *test.split("::")):
                missing.append(f"{page.name}:{line}: {path} has no {test}")
    return missing


def hasTest(path: Path, *names: str) -> bool:
    """Return whether a module has a test, or a test case and in it a test."""
    body: list[ast.stmt] = ast.parse(path.read_text()).body
    for name in names:
        found = [each for each in body if isinstance(each, ast.ClassDef | ast.FunctionDef) and each.name == name]
        if not found:
            return False
        body = found[0].body
    return True


def findMissingTests(page: Document) -> Iterator[str]:
    """Return the test modules that the page names without their folder and that are in none; so for test functions."""
    for line, code in page.codes:
        for name in re.findall(r"(?<![\w/])test_\w+\.py\b", code):
            if not any((CHECKOUT / "tests").rglob(name)):
                yield f"{page.name}:{line}: there is no {name}"
        for path, word in re.findall(r"(tests/\S+\.py) -k (\w+)", code):
            if not re.search(rf"def test_\w*{word}", locate(path).read_text(), re.IGNORECASE):
                yield f"{page.name}:{line}: {path} has no test with {word}"


def findMissingSettings(page: Document) -> Iterator[str]:
    """Return the markers of pytest, and the variables of the tests, that there aren't."""
    settings = (CHECKOUT / "pyproject.toml").read_text()
    sources = "".join(path.read_text() for path in (CHECKOUT / "tests").rglob("*.py") if path != Path(__file__))
    for line, code in page.codes:
        for marker in re.findall(r"pytest\b.* -m (\w+)", code):
            if f'"{marker}: ' not in settings:
                yield f"{page.name}:{line}: there is no marker {marker}"
        for name in re.findall(r"\b(?:IMAGE|SOAK|TEST)_[A-Z]+\b", code):
            if f'"{name}"' not in sources:
                yield f"{page.name}:{line}: no test knows {name}"


def findMissingModules(page: Document) -> Iterator[str]:
    """Return what `python -m` can't run, and the dotted names of echoup and the benchmarks that mean nothing."""
    for line, code in [*page.codes, *((block.line, block.text) for block in page.blocks)]:
        for name in re.findall(r"python[0-9.]* +-m +([\w.]+)", code):
            if not isModule(f"{name}.__main__" if isPackage(name) else name):
                yield f"{page.name}:{line}: there is no module {name} to run"
        for name in re.findall(r"(?<![\w/.-])((?:echoup|benchmarks)(?:\.\w+){2,})", code):
            if isModule(".".join(name.split(".")[:2])) and not isDefined(name):
                yield f"{page.name}:{line}: there is no {name}"


def isModule(name: str) -> bool:
    """Return whether a module can be imported, without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def isPackage(name: str) -> bool:
    """Return whether a name is that of a package."""
    found = importlib.util.find_spec(name) if isModule(name) else None
    return found is not None and found.submodule_search_locations is not None


def isDefined(name: str) -> bool:
    """Return whether a dotted name is that of a module, or of something in one."""
    module, names = name, list[str]()
    while not isModule(module):
        module, _, last = module.rpartition(".")
        names.insert(0, last)
    value: object = importlib.import_module(module)
    for each in names:
        if not hasattr(value, each):
            return False
        value = getattr(value, each)
    return True


def sessions() -> set[str]:
    """Return the names of the sessions in noxfile.py, which needs nox to be imported."""
    found = set()
    body = ast.parse((CHECKOUT / "noxfile.py").read_text()).body
    for each in (each for each in body if isinstance(each, ast.FunctionDef)):
        for written in map(ast.unparse, each.decorator_list):
            if re.match(r"nox\.session\b", written):
                named = re.search(r"\bname='([^']*)'", written)
                found.add(named[1] if named else each.name)
    return found


def findMissingSessions(page: Document) -> list[str]:
    """Return the sessions of nox that noxfile.py doesn't have."""
    named = [(line, name) for line, code in wordsOf(page) for name in re.findall(r"nox (?:-s|--session) (\w+)", code)]
    return [f"{page.name}:{line}: there is no session {name}" for line, name in named if name not in sessions()]


def findUnpublished(name: str, text: str) -> list[str]:
    """Return what a text says to install by name: echoup is in no index, and all else comes with it."""
    commands = re.findall(r"\bpip install ((?:-\S+ )*)([^\s`]+)", " ".join(text.split()))
    return [f"{name}: pip install {what}" for _, what in commands if not what.strip("'\"").startswith(".")]


class NameTests(SynchronousTestCase):
    """The names in the documents."""

    def setUp(self) -> None:
        """Read the documents."""
        self.pages = readDocuments().values()

    def test_everyPathExists(self) -> None:
        """Every file and folder of the checkout exists, and every test in them."""
        assert [wrong for page in self.pages for wrong in findMissingPaths(page)] == []

    def test_everyTestExists(self) -> None:
        """Every module of tests that is named alone exists, and what `-k` selects."""
        assert [wrong for page in self.pages for wrong in findMissingTests(page)] == []

    def test_everySettingExists(self) -> None:
        """Every marker of pytest and every variable of the tests exists."""
        assert [wrong for page in self.pages for wrong in findMissingSettings(page)] == []

    def test_everyModuleExists(self) -> None:
        """Every `python -m` can run, and every name in echoup and the benchmarks means something."""
        assert [wrong for page in self.pages for wrong in findMissingModules(page)] == []

    def test_everySessionExists(self) -> None:
        """Every session of nox exists."""
        assert {"unit", "all", "readme"} <= sessions()
        assert [wrong for page in self.pages for wrong in findMissingSessions(page)] == []

    def test_nothingIsInstalledByName(self) -> None:
        """Every `pip install` takes the checkout: in the pages and in the units of systemd."""
        texts = {path.name: path.read_text() for path in (CHECKOUT / "docs/systemd").iterdir()}
        texts |= {page.name: page.text for page in self.pages}
        assert [wrong for name, text in texts.items() for wrong in findUnpublished(name, text)] == []


class CheckerTests(SynchronousTestCase):
    """The checks find what is wrong."""

    def test_missingPathIsFound(self) -> None:
        """A path that doesn't exist is found, in lines and blocks; placeholders and other machines' paths aren't."""
        page = Document(
            "x.md",
            "`echoup/upper.py` (`tests/system/`), `echoup/lower.py` `changelog.d/ISSUE.doc.md` `/opt/echoup/bin/x`\n\n"
            "    docker build -f docker/Dockerfile\n    cp docs/none/* /tmp\n    sh ./docker/none; cat /docker/none\n"
            "\n```python\nopen('docs/none')\n```\n",
        )
        assert findMissingPaths(page) == ["x.md:1: there is no echoup/lower.py", "x.md:5: there is no ./docker/none"]

    def test_missingTestIsFound(self) -> None:
        """A test that its module doesn't have, or a module of tests that is nowhere, is found."""
        here = "tests/docs/test_names.py"
        page = Document(
            "x.md",
            f"`{here}::CheckerTests::test_missingTestIsFound` `{here}::test_missingTestIsFound` "
            f"`{here}::CheckerTests::test_no` `test_names.py` `test_none.py` `pytest {here} -k missingtest` "
            f"`pytest {here} -k absent`",
        )
        assert findMissingPaths(page) == [
            f"x.md:1: {here} has no test_missingTestIsFound",
            f"x.md:1: {here} has no CheckerTests::test_no",
        ]
        assert [*findMissingTests(page)] == [
            "x.md:1: there is no test_none.py",
            f"x.md:1: {here} has no test with absent",
        ]

    def test_missingSettingIsFound(self) -> None:
        """A marker or a variable that doesn't exist is found."""
        page = Document("x.md", "`SOAK_SECONDS=1 pytest -n 4 -m soak` `pytest -m soap` `TEST_TEA=1` `TEST_SEED`")
        assert [*findMissingSettings(page)] == ["x.md:1: there is no marker soap", "x.md:1: no test knows TEST_TEA"]

    def test_missingModuleIsFound(self) -> None:
        """A module that doesn't exist or can't be run is found, and so is a name that isn't in its module."""
        good = "`python -m benchmarks` `.venv/bin/python -m benchmarks.ping` `python3 -m venv` `echoup.upper.upper`"
        assert [*findMissingModules(Document("x.md", good))] == []
        bad = "`python -m benchmarks.none` `python -m tests` `echoup.upper.lower()`\n\n    python -m nothing.at.all\n"
        assert [*findMissingModules(Document("x.md", bad))] == [
            "x.md:1: there is no module benchmarks.none to run",
            "x.md:1: there is no module tests to run",
            "x.md:1: there is no echoup.upper.lower",
            "x.md:3: there is no module nothing.at.all to run",
        ]

    def test_missingSessionIsFound(self) -> None:
        """A session of nox that doesn't exist is found."""
        page = Document("x.md", "`.venv/bin/nox -s lint` `nox -s portable-3.12`\n`nox -s none`")
        assert findMissingSessions(page) == ["x.md:2: there is no session none"]

    def test_nameToInstallIsFound(self) -> None:
        """A package that is installed by its name is found."""
        text = "`pip install .`, `x/pip install -e '.[test]'`, `pip install -q . --group dev`, `pip install\nechoup`"
        assert findUnpublished("x", text) == ["x: pip install echoup"]
