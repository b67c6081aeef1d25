"""Every command, option and variable in the documents is accepted by the commands' own parsers, which aren't run."""

import contextlib
import io
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from echoup.server.tap import Options
from tests.support.documents import Document, readDocuments
from tests.support.invocations import (
    CLIENT,
    DAEMON,
    TWISTED,
    Invocation,
    daemonIn,
    invocationsIn,
    withStandIns,
    writePEM,
)

FOREIGN = {
    "--cpus": "docker",
    "--health-cmd": "docker",
    "--stop-timeout": "docker",
    "--ulimit": "docker",
}
"""Options of other programs that the documents name alone, without their command."""

NOT_OURS = {
    "LISTN": "an example of a misspelt one",
    "PORT": "a variable that Kubernetes makes for a Service",
    "STATUS_SERVICE_HOST": "another one",
}
"""Variables that begin with ECHOUP_ and aren't the daemon's."""


def commandsIn(page: Document) -> Iterator[tuple[int, Invocation]]:
    """Return the commands of echoup on a page, with their lines or that where their block begins."""
    lines = [(block.line, line) for block in page.blocks for line in block.commands]
    for number, line in [*lines, *page.codes]:
        with contextlib.suppress(ValueError):  # not a command: an apostrophe in the output of one, for example
            for each in invocationsIn(line):
                yield number, each


def findWrongCommands(page: Document, pem: str) -> list[str]:
    """Return the commands of echoup in code that their own parsers refuse."""
    return [
        f"{page.name}:{line}: {' '.join([each.program, *each.before, *each.arguments])}: {wrong}"
        for line, each in commandsIn(page)
        if (wrong := each.check(pem))
    ]


def findUnknownOptions(page: Document, known: set[str]) -> list[str]:
    """Return the options that inline code begins with, alone or after twistd, and that no command has."""
    pattern = r"^(?:twistd? )?(--?[a-zA-Z0-9][\w-]*)"
    named = [(line, name) for line, code in page.codes for name in re.findall(pattern, code)]
    return [f"{page.name}:{line}: there is no option {name}" for line, name in named if name not in known]


def environmentsOf(page: Document) -> Iterator[dict[str, str]]:
    """Return the variables of the daemon that a block of code, or inline code, sets together."""
    for text in [*("\n".join(block.commands) for block in page.blocks), *(code for _, code in page.codes)]:
        with contextlib.suppress(ValueError):  # as above
            set_ = [re.search(r"(?:^|=)(ECHOUP_\w+)=(.+)", word) for word in shlex.split(text)]
            yield {found[1]: found[2] for found in set_ if found}


def findWrongVariables(page: Document, pem: str) -> list[str]:
    """Return the variables of the daemon that it doesn't have, and those that it refuses with their values."""
    known = {name.upper().replace("-", "_") for name in Options()} | NOT_OURS.keys()
    names = set(re.findall(r"(?<!\w)ECHOUP_(\w+)", page.text))
    wrong = [f"{page.name}: there is no variable ECHOUP_{name}" for name in sorted(names - known)]
    for environment in environmentsOf(page):
        try:
            daemonIn({name: withStandIns(value, pem) for name, value in environment.items()})
        except UsageError as error:
            wrong.append(f"{page.name}: {environment}: {error}")
    return wrong


def benchmarkOptions() -> set[str]:
    """Return the options of `python -m benchmarks`."""
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.suppress(SystemExit):
        runpy.run_module("benchmarks", run_name="__main__", alter_sys=True)
    return set(re.findall(r"^ +(--[\w-]+)", output.getvalue(), re.MULTILINE))


class CommandTests(SynchronousTestCase):
    """The commands, options and variables in the documents."""

    def setUp(self) -> None:
        """Read the documents, and make a file for every key and certificate that they name."""
        self.pages = readDocuments().values()
        self.pem = writePEM(Path(self.enterContext(TemporaryDirectory()), "pem"))

    def test_everyCommandIsAccepted(self) -> None:
        """The parsers of the commands accept every command of echoup, in blocks of code and in lines."""
        assert sum(len(list(commandsIn(page))) for page in self.pages) > 20
        assert [wrong for page in self.pages for wrong in findWrongCommands(page, self.pem)] == []

    def test_everyOptionExists(self) -> None:
        """Every option that stands alone is one of a command of echoup or Twisted, or a known one of another."""
        self.patch(sys, "argv", ["benchmarks", "--help"])
        known = CLIENT | DAEMON | TWISTED | {"--version"} | FOREIGN.keys() | benchmarkOptions()
        assert [wrong for page in self.pages for wrong in findUnknownOptions(page, known)] == []

    def test_everyExceptionIsNeeded(self) -> None:
        """The documents have the options and variables of others that are exceptions here."""
        assert FOREIGN.keys() <= {code.split()[0] for page in self.pages for _, code in page.codes}
        text = "".join(page.text for page in self.pages)
        assert [name for name in NOT_OURS if f"ECHOUP_{name}" not in text] == []

    def test_everyVariableIsAccepted(self) -> None:
        """Every ECHOUP_ variable is the daemon's, and it accepts the values."""
        assert [wrong for page in self.pages for wrong in findWrongVariables(page, self.pem)] == []


class CheckerTests(SynchronousTestCase):
    """The checks find what is wrong."""

    def setUp(self) -> None:
        """Make a file for every key and certificate."""
        self.pem = writePEM(Path(self.enterContext(TemporaryDirectory()), "pem"))

    def test_wrongCommandIsFound(self) -> None:
        """A command, an option, a value or a reactor that doesn't exist is found, wherever a command is written."""
        for text, said in (
            ("`echoup pnig`", "No such command 'pnig'"),
            ("`echoup ping --colour`", "--colour"),
            ("`echoup ping -c 0`", "'-c'"),
            ("`echoup ping [--colour] HOST:PORT`", "no such option: --colour"),
            ("`echoup ping --require 'loss<1'`", "--require"),
            ("`.venv/bin/echoup connect 127.0.0.1:99999`", "99999"),
            ("`echoup ping --cafile ca.pem`", "--tls"),
            ("```console\n$ true | echoup ping \\\n    --colour\nsome output\n```", "--colour"),
            ("    docker run echoup echoup ping --colour", "--colour"),
            ("    --health-cmd 'echoup ping --colour'", "--colour"),
            ('    HEALTHCHECK CMD ["echoup", "ping", "--colour"]', "--colour"),
            ("`twistd --colour echoup`", "--colour"),
            ("`twistd -n --reactor=fast echoup`", "no such reactor: fast"),
            ("`twistd -n echoup --colour`", "--colour"),
            ("`python -m twisted echoup --workers many`", "--workers"),
            ("`twistd echoup --listen systemd:domain=INET7:name=echoup`", "--listen"),
        ):
            (message,) = (each.check(self.pem) for _, each in commandsIn(Document("x.md", text)))
            assert said in message, (text, message)

    def test_placeIsNamed(self) -> None:
        """A wrong command is named with its page and line."""
        page = Document("x.md", "text\n\n`echoup ping --colour [TARGET]`")
        assert findWrongCommands(page, self.pem) == ["x.md:3: echoup ping --colour [TARGET]: no such option: --colour"]

    def test_goodCommandPasses(self) -> None:
        """Files of keys, sockets of systemd, synopses and prompts are accepted."""
        text = (
            "`echoup ping [-c COUNT] TARGET` `echoup ping --tls --cafile /x/ca.pem a:1`\n\n"
            "```console\n$ twistd echoup --listen ssl:1:privateKey=key.pem --tls-client-ca ca.pem\nechoup pnig\n```\n"
            "\n    twistd --reactor=uvloop echoup --listen systemd:domain=INET6:name=echoup >log; echo 'it is up'\n"
        )
        assert findWrongCommands(Document("x.md", text), self.pem) == []

    def test_unknownOptionIsFound(self) -> None:
        """An option that stands alone, or after twistd, and doesn't exist is found."""
        page = Document("x.md", "a\n`--count 3` `-c`, `--colour`, `twistd --color` and `docker --any`")
        assert findUnknownOptions(page, {"--count", "-c"}) == [
            "x.md:2: there is no option --colour",
            "x.md:2: there is no option --color",
        ]

    def test_wrongVariableIsFound(self) -> None:
        """A variable that doesn't exist, or whose value the daemon refuses, is found."""
        text = (
            "`ECHOUP_…` `ECHOUP_WORKERS=2` `_ECHOUP_COMPLETE` ECHOUP_PORT ECHOUP_COLOUR\n\n    -e ECHOUP_UDP='8081 x'\n"
        )
        unknown, wrong = findWrongVariables(Document("x.md", text), self.pem)
        assert unknown == "x.md: there is no variable ECHOUP_COLOUR"
        assert wrong.startswith("x.md: {'ECHOUP_UDP': '8081 x'}: ")

    def test_variablesAreSetTogether(self) -> None:
        """The variables of a block are one environment, whether a shell, docker or systemd sets them."""
        text = "    docker run -e ECHOUP_UDP='1 2' \\\n      -e ECHOUP_WORKERS=2\n\n`ECHOUP_UDP=3`\n\n"
        text += '```sh\nEnvironment="ECHOUP_LISTEN=4 5" ECHOUP_UDP=6\n```\n'
        assert [each for each in environmentsOf(Document("x.md", text)) if each] == [
            {"ECHOUP_UDP": "1 2", "ECHOUP_WORKERS": "2"},
            {"ECHOUP_LISTEN": "4 5", "ECHOUP_UDP": "6"},
            {"ECHOUP_UDP": "3"},
        ]
