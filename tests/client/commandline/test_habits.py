"""What users of similar programs type, and what they are told to type instead."""

from functools import partial
from typing import Any

import click
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.cli import cli
from echoup.client.commandline.habits import joinWords, suggestTarget
from echoup.client.target.parse import parseTarget
from tests.support.doubles import raised
from tests.support.properties import given, st

PORT = "the port is part of TARGET, as in HOST:PORT"
WORDS = st.sampled_from(
    ["localhost", "127.0.0.1", "::1", "[::1]", "http://a:1/", "udp:a", "80", "-p", "-z", "ping", "."]
)


def told(*arguments: str) -> str:
    """Return what `echoup` says to `arguments`."""
    error = raised(click.UsageError, partial(cli.main, standalone_mode=False), list(arguments))
    assert error is not None
    return error.format_message()


class CommandsTests(SynchronousTestCase):
    """The commands explain mistakes that habits cause, in one line."""

    def test_portOfItsOwnIsJoined(self) -> None:
        """A host and a port in two words, as nc(1) takes them, are answered with the TARGET that they make."""
        for words, target in (
            (["127.0.0.1", "80"], "127.0.0.1:80"),
            (["example.org", "80"], "example.org:80"),
            (["::1", "80"], "[::1]:80"),
            (["[::1]", "80"], "[::1]:80"),
            (["udp:a", "53"], "udp:a:53"),
            (["udp:::1", "53"], "udp:[::1]:53"),
            (["tls:a", "443"], "tls:a:443"),
            (["tcp:a", "1"], "tcp:a:1"),
        ):
            for command in ("connect", "ping"):
                expected = f"TARGET is one word: write {target} instead of {' '.join(words)}"
                assert told(command, *words) == expected
            assert parseTarget(target)

    def test_otherWordsAreNotJoined(self) -> None:
        """Words that make no TARGET are named."""
        for words in (
            ["a", "b"],
            ["a", "0"],
            ["a", "99999"],
            ["a:1", "2"],
            ["a", "1", "2"],
            ["unix:a", "1"],
            ["a", "٣"],
            ["a", "9" * 5000],
        ):
            for command in ("connect", "diagnose"):  # ping takes several
                assert told(command, *words) == f"unexpected {' '.join(words[1:])} after TARGET {words[0]}"

    def test_optionsOfOtherProgramsAreExplained(self) -> None:
        """Options that similar programs have for the port, UDP and the timeout are answered with ours."""
        for arguments, hint in (
            (["-p", "80", "a"], f"No such option '-p'; {PORT}"),
            (["-p80", "a"], f"No such option '-p'; {PORT}"),
            (["--port=80", "a"], f"No such option '--port'; {PORT}"),
            (["-u", "a:53"], "No such option '-u'; for UDP begin TARGET with udp:"),
            (["a:53", "--udp"], "No such option '--udp'; for UDP begin TARGET with udp:"),
        ):
            assert told("ping", *arguments) == hint
        for command in ("connect", "diagnose"):  # ping has the option, for something else
            assert told(command, "-w", "3", "a") == "No such option '-w'; the timeout is -W"
        assert told("ping", "--colour").startswith("No such option")

    def test_targetWithoutCommandIsExplained(self) -> None:
        """A TARGET in the place of a command is answered with the commands that take it."""
        for words, target in (
            (["127.0.0.1:8081"], "127.0.0.1:8081"),
            (["example.org"], "example.org"),
            (["::1"], "::1"),
            (["localhost"], "localhost"),
            (["unix:/run/echoup"], "unix:/run/echoup"),
            (["myhost", "80"], "myhost:80"),
            (["http://a/b"], "a:80"),
        ):
            hint = f"to talk to it: echoup connect {target}; to probe it: echoup ping {target}"
            assert told(*words) == f"{words[0]!r} is not a command; {hint}"
        for word in ("conect", "8081", "a:b:c:d", "two words.", "."):
            assert told(word).startswith(f"No such command {word!r}."), word

    def test_optionBeforeCommandIsExplained(self) -> None:
        """An option of a command that stands in front of it is answered with its place."""
        hint = "options follow the command, as in echoup"
        for option, command in (("--tls", "connect"), ("--json", "ping"), ("-c", "ping")):
            assert told(option, "a") == f"No such option '{option}' of echoup; {hint} {command} {option}"
        assert told("--colour").startswith("No such option")

    def test_urlIsExplained(self) -> None:
        """A URL for TARGET is answered with the TARGET that it stands for, if there is one."""
        for url, target in {
            "http://a.example:80": "a.example:80",
            "http://a.example/path?x": "a.example:80",
            "https://a.example": "tls:a.example:443",
            "HTTPS://u:p@a.example:8443/": "tls:a.example:8443",
            "tcp://a:1": "a:1",
            "tls://a:1": "tls:a:1",
            "udp://a:1": "udp:a:1",
            "http://[::1]": "[::1]:80",
            "http://[::1]:1": "[::1]:1",
        }.items():
            expected = f"Invalid value for TARGET: {url!r} is a URL"
            assert told("connect", url).startswith(expected)
            assert told("connect", url).endswith(f"; write {target}")
        for url in ("http://", "http://a b", "tcp:///", "wss://a", "ftp://a:21"):
            assert suggestTarget(url) == ""
            assert told("connect", url).startswith(f"Invalid value for TARGET: {url!r} is ")

    @given(st.lists(WORDS, min_size=1, max_size=4))
    def test_anyWordsAreAnsweredInOneLine(self, words: list[str]) -> None:
        """Any words that are no command are answered in one line."""
        if words[0] != "ping":
            assert len(told(*words).splitlines()) == 1

    @given(st.text(), st.text())
    def test_suggestionsAreTargets(self, host: str, port: str) -> None:
        """What is suggested is a TARGET."""
        suggestions: list[Any] = [joinWords(host, [port]), suggestTarget(f"tcp://{host}:{port}")]
        assert all(parseTarget(target) for target in suggestions if target)
