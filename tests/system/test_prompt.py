"""`echoup connect` on a pseudo-terminal, with keys that are typed and a screen that is read."""

import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import AF_INET, SHUT_WR, create_server, socket

import pytest

from tests.support.addresses import Address
from tests.support.commands import COMMANDS, CONNECT
from tests.support.daemon import Daemon
from tests.support.pings import PING
from tests.support.servers import serving
from tests.support.terminal import BACKSPACE, CTRL_C, CTRL_D, CTRL_Z, LEFT, UP, Terminal, paste

SKIPPED = "(blank line skipped)"


def converse(address: Address, *options: str, state: Path | None = None) -> Terminal:
    """Start a conversation."""
    return Terminal(str(COMMANDS / "echoup"), "connect", *options, address.target, state=state)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon."""
    with Daemon.start(tmp_path) as daemon:
        yield daemon


@pytest.mark.portable
def test_replyStandsUnderLine(daemon: Daemon) -> None:
    """Each reply stands under its line; lines can be edited and recalled; Ctrl-D ends it with success."""
    with converse(daemon.address) as terminal:
        terminal.shows(f"connected to {daemon.address.target}; Ctrl-D ends\n>>:")
        terminal.type("hello\r")
        terminal.shows(">>: hello\nHELLO\n>>:")
        terminal.type("wrld" + 3 * LEFT + "o\r")
        terminal.shows(">>: world\nWORLD\n>>:")
        terminal.type("oops" + 4 * BACKSPACE + "fine\r")
        terminal.shows(">>: fine\nFINE\n>>:")
        terminal.type(2 * UP + "\r")
        terminal.shows(">>: world\nWORLD\n>>:")
        terminal.type(CTRL_D)
        assert terminal.exits() == 0
        assert terminal.text.endswith("\n>>:")
        assert terminal.isCooked


def test_otherScriptsComeBack(daemon: Daemon) -> None:
    """All text but a to z comes back unchanged, in every script."""
    with converse(daemon.address) as terminal:
        terminal.shows(">>:")
        terminal.type("é is é, ß is ß\r")
        terminal.shows("\né IS é, ß IS ß\n>>:")
        terminal.type("你好\r")
        terminal.shows(">>: 你好\n你好\n>>:")


def test_textOutsideEncodingIsEscaped(daemon: Daemon) -> None:
    """Of a reply, what the encoding of standard output hasn't is escaped, and the conversation goes on."""
    with Terminal("env", "PYTHONIOENCODING=ascii", *CONNECT, daemon.address.target) as terminal:
        terminal.shows(">>:")
        terminal.type("é a\r")
        terminal.shows("\n\\xe9 A\n>>:")
        terminal.type("b\r")
        terminal.shows(">>: b\nB\n>>:")
        terminal.type(CTRL_D)
        assert terminal.exits() == 0


@pytest.mark.parametrize("command", [CONNECT, [*PING, "-i0.1"]])
def test_goneTerminalIsTold(daemon: Daemon, tmp_path: Path, command: list[str]) -> None:
    """A terminal that is gone, with SIGHUP ignored, is an output that can't be written: one line, and no traceback."""
    errors = tmp_path / "errors"
    shell = ["sh", "-c", f"trap '' HUP; exec \"$@\" 2>{errors}", "sh"]
    with Terminal(*shell, *command, daemon.address.target) as terminal:
        terminal.shows(">>:" if command == CONNECT else " wrong")
        assert terminal.hangUp() == 141
    assert errors.read_text() == "echoup: the output can't be written\n"


def test_unusableTerminalIsTold(daemon: Daemon, tmp_path: Path) -> None:
    """In the background, without a shell that could stop it, it can't set the terminal (tcsetattr(3): EIO)."""
    errors = tmp_path / "errors"
    script = f"""
import os, subprocess, sys
foreground = subprocess.Popen(["sleep", "60"], process_group=0)
os.tcsetpgrp(0, foreground.pid)
with open("{errors}", "w") as errors:
    ended = subprocess.run(sys.argv[1:], stderr=errors, timeout=60)
foreground.kill()
foreground.wait()
sys.exit(ended.returncode)
"""
    with Terminal(sys.executable, "-c", script, *CONNECT, daemon.address.target) as terminal:
        assert terminal.exits() == 2
    assert errors.read_text() == "echoup: the terminal can't be used: Input/output error\n"


def test_blankLineIsNotSent(daemon: Daemon) -> None:
    """A blank line is not sent, which is said; the prompt comes again."""
    with converse(daemon.address) as terminal:
        terminal.shows(">>:")
        terminal.type("\r   \rend\r")
        terminal.shows(f">>:\n{SKIPPED}\n>>:\n{SKIPPED}\n>>: end\nEND\n>>:")


def test_interruptRestoresTerminal(daemon: Daemon) -> None:
    """Ctrl-C at the prompt ends it, and the terminal is as it was."""
    with converse(daemon.address) as terminal:
        terminal.shows(">>:")
        assert not terminal.isCooked
        terminal.type("some")
        terminal.shows(">>: some")
        terminal.type(CTRL_C)
        assert terminal.exits() == 130
        assert terminal.text == f"connected to {daemon.address.target}; Ctrl-D ends\n>>: some"
        assert terminal.isCooked


def test_sigintRestoresTerminal(daemon: Daemon) -> None:
    """A SIGINT from another process does the same."""
    with converse(daemon.address) as terminal:
        terminal.shows(">>:")
        terminal.type("some")
        terminal.shows(">>: some")
        terminal.signal(signal.SIGINT)
        assert terminal.exits() == 130
        assert terminal.text == f"connected to {daemon.address.target}; Ctrl-D ends\n>>: some"
        assert terminal.isCooked


def test_interruptDuringReply() -> None:
    """Ctrl-C while a reply is due ends it too, from the moment when the terminal makes a signal of it."""
    with serving("silent") as address, converse(address) as terminal:
        terminal.shows(">>:")
        terminal.type("hello")
        terminal.shows(">>: hello")
        terminal.type("\r")
        deadline = time.monotonic() + 60
        while not terminal.isSignalling:  # the signal has to come as early as possible
            assert time.monotonic() < deadline
        terminal.type(CTRL_C)
        assert terminal.exits() == 130
        assert "Traceback" not in terminal.text
        assert terminal.isCooked


def test_closedAtPrompt(daemon: Daemon) -> None:
    """When the server closes at the prompt, the user is told at once, in a line below what is typed."""
    with converse(daemon.address) as terminal:
        terminal.shows(">>:")
        terminal.type("hello\r")
        terminal.type("next")
        terminal.shows(">>: hello\nHELLO\n>>: next")
        daemon.signal(signal.SIGTERM)
        assert terminal.exits() == 7
        assert terminal.text.endswith(f"\n>>: next\nechoup: {daemon.address.target}: the server closed the connection")
        assert terminal.isCooked


@pytest.mark.parametrize(
    ("server", "code", "shown", "told"),
    [
        (
            "unchanged",
            1,
            "hello\n(unchanged: the bytes came back as they were sent, so something in between answered)\n",
            "1 of 1 replies were wrong",
        ),
        (
            "short",
            7,
            "HEL\n",
            "the server closed the connection, 3 of 6 bytes came back",
        ),
        (
            "resetting",
            7,
            "HEL\n",
            "the server reset the connection, 3 of 6 bytes came back",
        ),
        ("silent", 5, "", "timed out: nothing came back in 3 s"),
    ],
)
def test_wrongReplyIsShown(server: str, code: int, shown: str, told: str) -> None:
    """A wrong reply is shown as it came, with its verdict or the error, and sets the exit code."""
    timeout = f"--timeout={3 if server == 'silent' else 30}"
    with serving(server) as address, converse(address, timeout) as terminal:
        terminal.shows(">>:")
        terminal.type("hello\r" + CTRL_D)
        assert terminal.exits() == code
        (said,) = re.findall(r">>: hello\n(.*?)(?:>>:\n)?(echoup: .*)", terminal.text, re.DOTALL)
        assert (said[0], said[1].replace("\n", "")) == (shown, f"echoup: {address.target}: {told}")


@contextmanager
def greeted() -> Iterator[tuple[Terminal, socket]]:
    """Begin a conversation with a server that greets, with a control sequence; yield when the greeting has come."""
    with create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(30)
        with converse(Address(AF_INET, listening.getsockname())) as terminal, listening.accept()[0] as connection:
            connection.settimeout(30)
            connection.sendall(b"\x1b[31mWELCOME\r\n")
            yield terminal, connection


def test_unaskedIsEscaped() -> None:
    """Bytes that come unasked are shown, escaped, and aren't mistaken for a reply."""
    with greeted() as (terminal, connection):
        terminal.shows(">>:")
        terminal.type("hello\r")
        assert connection.recv(65536) == b"hello\n"
        connection.sendall(b"HELLO\n")
        terminal.shows("\\x1b[31mWELCOME\\r\n(unsolicited)\nHELLO\n>>:")
        terminal.type(CTRL_D)
        assert terminal.exits() == 1


def test_unaskedSetsExitCode() -> None:
    """Bytes that come unasked are shown, and set the exit code, even if nothing is sent."""
    with greeted() as (terminal, connection):
        host, port = connection.getsockname()
        terminal.shows(">>:")
        terminal.type(CTRL_D)
        assert terminal.exits() == 1
        assert f"WELCOME\\r\n(unsolicited)\nechoup: {host}:{port}: 14 unsolicited bytes arrived" in terminal.text


def test_addressFollowsName() -> None:
    """Of a server with a name, the address that was reached is reported too."""
    with serving("unchanged") as address:
        name = f"localhost:{address.address[1]}"
        with Terminal(str(COMMANDS / "echoup"), "connect", name) as terminal:
            terminal.shows(">>:")
            terminal.type("hello\r" + CTRL_D)
            assert terminal.exits() == 1
            assert terminal.text.endswith(f"\nechoup: {name} ({address.target}): 1 of 1 replies were wrong")


def test_typedAheadDoesNotWait() -> None:
    """Lines that were typed before the server closed don't wait for replies."""
    with serving("short") as address, converse(address) as terminal:
        terminal.shows(">>:")
        terminal.type("one\rtwo\rthree\r")
        assert terminal.exits() == 7


def test_tutorialServerAnswers() -> None:
    """It converses with the sequential server of a socket tutorial."""
    with serving("tutorial") as address, converse(address) as terminal:
        terminal.shows(">>:")
        terminal.type("hello\r")
        terminal.shows(">>: hello\nHELLO\n>>:")
        terminal.type("again\r")
        terminal.shows(">>: again\nAGAIN\n>>:")


def shell(state: Path | None = None) -> Terminal:
    """Start a shell that controls jobs."""
    return Terminal("env", "PS1=$ ", "TERM=xterm", "bash", "--norc", "--noediting", "-i", state=state)


def test_suspendedAtPrompt(daemon: Daemon) -> None:
    """Ctrl-Z at the prompt suspends the conversation, and `fg` brings back the prompt with what was typed."""
    with shell() as terminal:
        terminal.shows("$")
        terminal.type(f"{COMMANDS}/echoup connect {daemon.address.target}\r")
        terminal.shows(">>:")
        terminal.type("half")
        terminal.shows(">>: half")
        terminal.type(CTRL_Z)
        terminal.shows("\n$")
        assert "Stopped" in terminal.text
        assert terminal.isCooked
        terminal.type("bg; until jobs -s | grep echoup; do sleep 0.1; done\r")  # it needs the terminal
        terminal.type("fg\r")
        terminal.shows(">>: half")
        terminal.type(" a line\r")
        terminal.shows(">>: half a line\nHALF A LINE\n>>:")
        terminal.type(CTRL_D)
        terminal.shows("\n$")
        assert terminal.isCooked
        terminal.type("echo $?\r")
        terminal.shows("\n0\n$")


def test_suspendedDuringReply() -> None:
    """Ctrl-Z while a reply is due suspends it, too, and a reply that came meanwhile is shown after `fg`."""
    with create_server(("127.0.0.1", 0)) as listening, shell() as terminal:
        listening.settimeout(30)
        host, port = listening.getsockname()
        terminal.shows("$")
        terminal.type(f"{COMMANDS}/echoup connect {host}:{port}\r")
        terminal.shows(">>:")
        with listening.accept()[0] as connection:
            connection.settimeout(30)
            terminal.type("hello\r")
            assert connection.recv(65536) == b"hello\n"
            terminal.type(CTRL_Z)
            terminal.shows("\n$")
            assert terminal.isCooked
            connection.sendall(b"HELLO\n")
            terminal.type("fg\r")
            terminal.shows("\nHELLO\n>>:")
            terminal.type(CTRL_Z)
            terminal.shows("\n$")
        terminal.type("fg\r")
        terminal.shows(f">>:\nechoup: {host}:{port}: the server closed the connection\n$")
        assert terminal.isCooked


def test_typedBetweenPromptsIsKept() -> None:
    """What is typed while a reply is due is read by the next prompt, Ctrl-D too."""
    with create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(30)
        with converse(Address(AF_INET, listening.getsockname())) as terminal, listening.accept()[0] as connection:
            connection.settimeout(30)
            terminal.shows(">>:")
            terminal.type("hello\r")
            assert connection.recv(65536) == b"hello\n"
            terminal.type("next\r")
            terminal.type(CTRL_D)
            connection.sendall(b"HELLO\n")
            assert connection.recv(65536) == b"next\n"
            connection.sendall(b"NEXT\n")
            assert terminal.exits() == 0
            assert terminal.text.endswith("\n>>: hello\nHELLO\n>>: next\nNEXT\n>>:")
            assert terminal.isCooked


@pytest.mark.parametrize(
    "keys",
    ["0123456789 " * 500, paste("0123456789 " * 500), paste("a\t\x01b\x1b\x80 " * 500), paste("a你" * 2000)],
    ids=["typed", "pasted", "control characters", "wide characters"],
)
def test_tallLineStaysVisible(daemon: Daemon, keys: str) -> None:
    """Of a line that is taller than the screen the part at the cursor is visible while it is edited."""
    with converse(daemon.address) as terminal:
        terminal.shows(">>:")
        terminal.type(keys)
        terminal.type("end")
        terminal.shows("end")
        assert len(terminal.text.splitlines()) == 24
        assert len(terminal.text) > 1500
        terminal.type("\r")
        terminal.shows("END\n>>:")


def test_pasteWithNewlineWaits(daemon: Daemon) -> None:
    """A pasted line waits for Enter, as tall as it may be, with or without a newline at its end."""
    for line in ("hello", "0123456789 " * 4505):
        for end in ("", "\r", "\n", "\r\n"):
            with converse(daemon.address) as terminal:
                terminal.shows(">>:")
                terminal.type(paste(line + end))
                terminal.shows(line[-9:].rstrip())
                terminal.type("!")
                terminal.shows(line[-9:] + "!")
                terminal.type("\r")
                terminal.shows(line[-9:].upper() + "!\n>>:")


def test_pastedLinesAreLines(daemon: Daemon) -> None:
    """Of a paste of several lines all but the last are entered, and have their replies."""
    with converse(daemon.address) as terminal:
        terminal.shows(">>:")
        terminal.type(paste("one\r\ntwo\n\n  three\n"))
        terminal.shows(f">>: one\nONE\n>>: two\nTWO\n>>:\n{SKIPPED}\n>>:   three")
        terminal.type(" more\r")
        terminal.shows(">>:   three more\n  THREE MORE\n>>:")
        terminal.type(2 * UP)
        terminal.shows(">>: two")


def test_historyStaysForNextConversation(daemon: Daemon, tmp_path: Path) -> None:
    """Lines can be recalled in the next conversation, unless one of them says --no-history."""
    for options, expected in (((), "first"), (("--no-history",), "")):
        with converse(daemon.address, *options, state=tmp_path) as terminal:
            terminal.shows(">>:")
            terminal.type("first\r" if not options else "secret\r")
            terminal.shows("\n>>:")
            terminal.type(CTRL_D)
            assert terminal.exits() == 0
        with converse(daemon.address, *options, state=tmp_path) as terminal:
            terminal.shows(">>:")
            terminal.type(UP)
            terminal.shows(f">>: {expected}".rstrip())
    assert "secret" not in (tmp_path / "echoup/history").read_text()


def test_conversationNeedsNoHome(daemon: Daemon) -> None:
    """Without a place for the history nothing is said, and lines can be recalled until the end."""
    with Terminal("env", "-u", "XDG_STATE_HOME", "HOME=/dev/null", *CONNECT, daemon.address.target) as terminal:
        terminal.shows(">>:")
        terminal.type("one\r")
        terminal.shows(f"connected to {daemon.address.target}; Ctrl-D ends\n>>: one\nONE\n>>:")
        terminal.type(UP + "\r")
        terminal.shows(">>: one\nONE\n>>:")
        terminal.type(CTRL_D)
        assert terminal.exits() == 0


def test_dumbTerminalIsNotCommanded(daemon: Daemon) -> None:
    """On a dumb terminal there is no control sequence."""
    with Terminal("env", "TERM=dumb", *CONNECT, daemon.address.target) as terminal:
        terminal.shows(">>:")
        terminal.type("hello\r")
        terminal.shows("HELLO\n>>:")
        terminal.type(CTRL_D)
        assert terminal.exits() == 0
        assert b"\x1b" not in terminal.written


def test_pipeDoesNotCommandTerminal() -> None:
    """What a server sends to a pipe that ends at a terminal can't command that; it is escaped as at the prompt."""
    with create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(30)
        host, port = listening.getsockname()
        command = f"echo hello | {COMMANDS}/echoup connect {host}:{port} 2>/dev/null"
        with Terminal("sh", "-c", command) as terminal, listening.accept()[0] as connection:
            connection.sendall("\x1b]0;pwned\x07\x1b[31mRED\n👨\u200d👩\u200d👧 é\n".encode())
            connection.shutdown(SHUT_WR)
            assert terminal.exits() == 1
            shown = "\\x1b]0;pwned\\x07\\x1b[31mRED\r\n👨\u200d👩\u200d👧 é\r\n"
            assert terminal.written == shown.encode()
