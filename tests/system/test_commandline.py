"""The command line of `echoup`, as shells, terminals and monitoring systems see it."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import COMMANDS, unmeasured
from tests.support.peers import need
from tests.support.terminal import Terminal

ECHOUP = str(COMMANDS / "echoup")
PAGES = sorted((Path(__file__).parents[2] / "docs" / "man").glob("*.1"))
COMPLETE = """
eval "$(_ECHOUP_COMPLETE=bash_source echoup)"
COMP_WORDS=($1 "$2") COMP_CWORD=$(set -- $1; echo $#)
_echoup_completion echoup "$2"
printf '%s\\n' "${COMPREPLY[@]}"
"""
"""A program that completes the word $2 after the words $1, as bash does it for the user."""


def completed(words: str, word: str) -> list[str]:
    """Return what bash offers for `word` after `words`."""
    environment = {**os.environ, "PATH": f"{COMMANDS}:{os.environ['PATH']}"}
    command = ["bash", "--norc", "-c", COMPLETE, "bash", words, word]
    return subprocess.check_output(command, text=True, timeout=60, env=environment).split()


@pytest.mark.parametrize(
    ("words", "word", "offered"),
    [
        ("echoup", "", ["connect", "diagnose", "ping"]),
        ("echoup", "p", ["ping"]),
        ("echoup ping", "--f", ["--format"]),
        ("echoup ping a", "--ke", ["--key", "--keep"]),
        ("echoup connect", "--proxy", ["--proxy-protocol"]),
        ("echoup connect --proxy-protocol", "", ["v1", "v2"]),
        ("echoup ping --format", "n", ["nagios"]),
        ("echoup diagnose --only", "b", ["buffering"]),
        ("echoup ping", "x", []),
    ],
)
def test_bashCompletes(words: str, word: str, offered: list[str]) -> None:
    """Bash completes commands, options and the values of options."""
    assert completed(words, word) == offered


def test_bashCompletesOnTerminal(tmp_path: Path) -> None:
    """On a terminal the TAB key completes, names of files for the options that take one, too."""
    (tmp_path / "authority.pem").touch()
    start = f'PS1="ready> "; PATH={COMMANDS}:$PATH; cd {tmp_path}; eval "$(_ECHOUP_COMPLETE=bash_source echoup)"; clear'
    with Terminal("bash", "--norc", "--noprofile") as terminal:
        terminal.type(f"{start}\n")
        terminal.shows("ready>")
        terminal.type("echoup pi\t--half\t--cafile au\t")
        terminal.shows("ready> echoup ping --half-close --cafile authority.pem")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_manualPageHasNoErrors(path: Path) -> None:
    """Both programs that show manual pages have nothing to object to ours, but that they have no date."""
    linted = subprocess.run([need("mandoc"), "-Tlint", path], capture_output=True, text=True, timeout=60, check=False)
    assert [line for line in linted.stdout.splitlines() if "missing date" not in line] == []
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"}
    command = [need("man", "man-db"), "--warnings", "-l", str(path)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)
    assert shown.stderr == ""
    assert max(map(len, shown.stdout.splitlines())) <= 80
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "SEE ALSO"):
        assert f"\n{section}\n" in shown.stdout


@pytest.mark.portable
@pytest.mark.parametrize(
    ("arguments", "code", "output", "error"),
    [
        (
            ["connect", "127.0.0.1", "80"],
            2,
            "",
            "echoup: TARGET is one word: write 127.0.0.1:80 instead of 127.0.0.1 80",
        ),
        (["ping", "-p", "80", "a"], 2, "", "echoup: No such option '-p'; the port is part of TARGET, as in HOST:PORT"),
        (
            ["a:80"],
            2,
            "",
            "echoup: 'a:80' is not a command; to talk to it: echoup connect a:80; to probe it: echoup ping a:80",
        ),
        (
            ["ping", "-W", "5h"],
            2,
            "",
            "echoup: Invalid value for '-W' / '--timeout': '5h' is not a duration such as 5, 0.5, 500ms, 5s or 2m",
        ),
        (
            ["ping", "--format=nagios"],
            3,
            "ECHOUP UNKNOWN - --format nagios needs --count, such as -c 3, or --deadline",
            "",
        ),
        (
            ["ping", "--format=nagios", "-c1", "a", "80"],
            3,
            "ECHOUP UNKNOWN - TARGET is one word: write a:80 instead of a 80",
            "",
        ),
        (
            ["ping", "--format=nagios", "-c1", "--tls", "--cafile=/no\n|file", "127.0.0.1:1"],
            3,
            "ECHOUP UNKNOWN - cannot speak TLS with 127.0.0.1:1: /no\\n/file: No such file or directory",
            "",
        ),
    ],
)
def test_mistakeIsOneLine(arguments: list[str], code: int, output: str, error: str) -> None:
    """A mistake is one line on stderr, under Nagios on stdout, and says what to do."""
    ended = subprocess.run([ECHOUP, *arguments], capture_output=True, text=True, timeout=60, check=False)
    expected = (code, f"{output}\n" if output else "", f"{error}\n" if error else "")
    assert (ended.returncode, ended.stdout, ended.stderr) == expected


def test_pluginWithoutDescriptors() -> None:
    """A check of Nagios for which there are too few descriptors is UNKNOWN, and not WARNING."""
    command = ["bash", "-c", 'ulimit -n 5; exec "$@"', "bash", ECHOUP, "ping", "-c1", "--format=nagios", "127.0.0.1:1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=unmeasured())
    line = "ECHOUP UNKNOWN - Too many open files (this process has no file descriptors left, see ulimit -n)\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, line, "")
