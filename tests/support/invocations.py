"""The commands of echoup in a line of a shell, and what their own parsers say of them."""

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from getopt import GetoptError, getopt
from pathlib import Path
from unittest.mock import patch

from click.testing import CliRunner
from trustme import CA
from twisted.application.reactors import getReactorTypes
from twisted.application.twist._options import TwistOptions
from twisted.python.usage import Options as TwistedOptions
from twisted.python.usage import UsageError
from twisted.scripts._twistd_unix import ServerOptions

from echoup.client.cli import cli
from echoup.client.commandline import connect, diagnose, ping
from echoup.server.tap import Options

PLACEHOLDER = re.compile(
    r"\.\.\.|…|[][$]|\b(BYTES|CONNECTIONS|COUNT|DESC|DURATION|FILE|FOLDER|HOST|METRIC|N|NAME|PORT|SECONDS|TARGET|TEXT|VALUE)\b"
)
"""What stands for something else in a synopsis."""

COMMANDS = (connect, ping, diagnose)
"""The modules of the client's commands; each runs the reactor with its `run`."""

_INHERITED = re.compile(r"systemd:domain=(INET6?|UNIX):(name|index)=\w+(:\w+=\S*)?")


@dataclass(frozen=True)
class Invocation:
    """A call of one of the commands."""

    program: str
    """`echoup`, `twistd` or `twist`."""
    before: tuple[str, ...]
    """The arguments of twistd or twist itself."""
    arguments: tuple[str, ...]
    """The arguments of echoup, the client's subcommand included."""

    @property
    def isSynopsis(self) -> bool:
        """Whether some arguments stand for others."""
        return any(PLACEHOLDER.search(each) for each in (*self.before, *self.arguments))

    def check(self, pem: str) -> str:
        """Return what the parsers of the commands say against it; empty if nothing. All PEM files are `pem`."""
        if self.isSynopsis:
            return self._checkNames()
        arguments = [withStandIns(each, pem) for each in self.arguments]
        return _checkClient(arguments) if self.program == "echoup" else self._checkDaemon(arguments)

    def _checkNames(self) -> str:
        known = optionsOf(self.arguments[0]) if self.program == "echoup" else DAEMON
        names = [word for each in self.arguments for word in re.findall(r"(?<![^[])--?[a-zA-Z0-9][\w-]*", each)]
        unknown = [name for name in names if name not in known]
        return f"no such option: {', '.join(unknown)}" if unknown else ""

    def _checkDaemon(self, arguments: Sequence[str]) -> str:
        own = TwistOptions() if self.program == "twist" else ServerOptions()
        try:
            given, rest = getopt(self.before, own.shortOpt, own.longOpt)
            if rest:
                return f"{rest[0]} is no option of {self.program}"
            reactors = {reactor.shortName for reactor in getReactorTypes()}
            if wrong := {value for name, value in given if name in {"--reactor", "-r"}} - reactors:
                return f"no such reactor: {wrong.pop()}"
            daemonIn({}, arguments)
        except (UsageError, GetoptError) as error:
            return str(error)
        return ""


def _checkClient(arguments: Sequence[str]) -> str:
    """Run the client's command line up to where it would run the reactor."""
    with ExitStack() as patches:
        for module in COMMANDS:
            patches.enter_context(patch.object(module, "run", lambda *_: 0))
        done = CliRunner().invoke(cli, list(arguments))
    return done.output.strip().rpartition("\n")[2] if done.exit_code == 2 else ""


def withStandIns(argument: str, pem: str) -> str:
    """Return an argument, or a variable's value, with `pem` for every PEM file, and a port for a socket of systemd."""
    return _INHERITED.sub("127.0.0.1:8081", re.sub(r"[\w./-]+\.pem\b", pem, argument))


def writePEM(path: Path) -> str:
    """Write a certificate and its key, both in one file, and return its absolute path."""
    CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    return str(path.absolute())


def daemonIn(environment: Mapping[str, str], arguments: Sequence[str] = ()) -> Options:
    """Return the daemon's options in an environment without other variables of its own; raise UsageError."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("ECHOUP_")}
    options = Options()
    with patch.object(os, "environ", {**others, **environment}):
        options.parseOptions(arguments)
    return options


def optionsOf(command: str) -> set[str]:
    """Return the options of a command of the client, all names."""
    parameters = cli.commands[command].params if command in cli.commands else cli.params
    return {name for each in parameters for name in each.opts if name.startswith("-")} | {"-h", "--help"}


def namesOf(options: TwistedOptions) -> set[str]:
    """Return the names of all options of a Twisted command, as they are written."""
    short = {f"-{letter}" for letter in options.shortOpt.replace(":", "")}
    return short | {f"--{name.rstrip('=').replace('_', '-')}" for name in options.longOpt}


DAEMON = namesOf(Options())
CLIENT = set().union(*map(optionsOf, cli.commands))
TWISTED = namesOf(ServerOptions()) | namesOf(TwistOptions())


def invocationsIn(line: str) -> Iterator[Invocation]:
    """Return the commands of echoup in a line of a shell; raise ValueError for one without the end of a quotation."""
    if listed := re.search(r'\["echoup".*\]', line):  # as a Dockerfile has it
        line = shlex.join(json.loads(listed[0]))
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    for word in [*lexer, ";"]:
        if not re.fullmatch("[();<>|&]+", word):
            words.append(word)
            continue
        yield from _invocationsOf(words)
        words = []


def _invocationsOf(words: Sequence[str]) -> Iterator[Invocation]:
    """Return the commands in one simple command: it itself, what it runs, and what its arguments are, if quoted."""
    for number, word in enumerate(words):
        name, rest = word.rpartition("/")[2], tuple(words[number + 1 :])
        if number and name == "twisted" and words[number - 1] == "-m":
            name = "twist"
        if name in {"twist", "twistd"} and "echoup" in rest:
            at = rest.index("echoup")
            yield Invocation(name, rest[:at], rest[at + 1 :])
            return
        begins = number == 0 or words[number - 1] == "-m"
        if name == "echoup" and rest and (begins or rest[0] in cli.commands):
            yield Invocation("echoup", (), rest)
            return
        if " " in word and "echoup" in word:
            yield from invocationsIn(word)
