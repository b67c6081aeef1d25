"""The sessions in the documents, run for real: what they show is what the commands print."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pytest

from tests.support.authorities import Certificates
from tests.support.commands import listenTLS
from tests.support.daemon import Daemon
from tests.support.documents import Document, readDocuments
from tests.support.invocations import invocationsIn
from tests.support.pings import TIMING
from tests.support.terminal import CTRL_D, Terminal

PROMPT = ">>:"

COMMAND = (
    "#!{python}"
    + TIMING
    + """
import re
import sys

from echoup.client import cli

secured = {proxied} if "--proxy-protocol" in sys.argv else {secured}
sys.argv = [
    re.sub(r":8081$", ":{plain}", re.sub(r":8443$", f":{{secured}}", re.sub(r"^[\\w./-]+\\.pem$", "{authority}", word)))
    for word in sys.argv
]
for command in cli.cli.commands.values():
    for each in command.params:
        if each.name == "target":
            each.default = "127.0.0.1:{plain}"
cli.main()
"""
)
"""The `echoup` of the sessions: port 8081 is a daemon without TLS, 8443 is one with it, behind a proxy if need be.

It takes no gap for a pause, so that a busy machine doesn't change what it shows.
"""


@dataclass(frozen=True)
class Session:
    """A command in a document, and what it shows."""

    place: str
    command: str
    shown: str

    @property
    def isLocal(self) -> bool:
        """Whether it is one of echoup's client, with the daemons that are started here."""
        words = [word for each in invocationsIn(self.command) for word in (each.program, *each.arguments)]
        others = [word for word in words if re.search(r":[0-9]+$", word) and not re.search(r":(8081|8443)$", word)]
        return "echoup" in words and not others and ".example" not in self.command and "docker" not in self.command


def sessionsIn(page: Document) -> Iterator[Session]:
    """Return the commands that follow a prompt `$ ` in blocks of code, each with all lines up to the next prompt."""
    for block in page.blocks:
        for command, _, shown in (
            each.partition("\n") for each in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
        ):
            yield Session(f"{page.name}:{block.line}", command, shown)


def masked(text: str) -> str:
    """Return output without what changes from run to run: times, ports, what the kernel says, and alignment."""
    text = re.sub(r"[0-9.]+(/[0-9.]+)+ ms", "TIMES", text)
    text = re.sub(r"[0-9]+(\.[0-9]+)? ?(us|ms|s)\b", "TIME", text)
    text = re.sub(r":[0-9]{4,5}\b", ":PORT", text)
    lines = [re.sub(r"^ {4}(\S[\w ]*?)  .*", r"    \1", line) for line in text.rstrip().split("\n")]
    return "\n".join(" ".join(line.split()) for line, _ in groupby(lines))  # each address has a connect of its own


SESSIONS = [each for page in readDocuments().values() for each in sessionsIn(page) if each.isLocal]


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[tuple[Path, int, int]]:
    """A folder with commands that reach daemons, and the ports of these: without TLS, and with it."""
    folder, other = tmp_path_factory.mktemp("docs"), tmp_path_factory.mktemp("proxied")
    secure = listenTLS(certificates.server)
    with (
        Daemon.start(folder, listen=["127.0.0.1:0", secure]) as daemon,
        Daemon.start(other, "--proxy-from=127.0.0.0/8", listen=[secure]) as proxied,
    ):
        plain, secured = (address.address[1] for address in daemon.addresses)
        ports = {"plain": plain, "secured": secured, "proxied": proxied.address.address[1]}
        script = COMMAND.format(python=sys.executable, authority=certificates.authority, **ports)
        for path in folder / ".venv/bin/echoup", folder / "bin/echoup":
            path.parent.mkdir(parents=True)
            path.write_text(script)
            path.chmod(0o755)
        yield folder, plain, secured


@pytest.fixture
def ports(
    daemons: tuple[Path, int, int], certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, int]:
    """The ports; the folder is the current one, its commands are first on PATH, and the system trusts the daemons."""
    folder, *ports = daemons
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    monkeypatch.setenv("SSL_CERT_FILE", certificates.authority)
    return ports[0], ports[1]


def test_documentsHaveSessions() -> None:
    """The documents have sessions of both commands, one of them with a prompt."""
    assert len(SESSIONS) >= 4
    assert any(PROMPT in session.shown for session in SESSIONS)
    assert any(" ping" in session.command for session in SESSIONS)


@pytest.mark.parametrize(
    "session", [each for each in SESSIONS if PROMPT not in each.shown], ids=lambda each: each.place
)
def test_outputIsShown(ports: tuple[int, int], session: Session) -> None:
    """A command prints what the document shows, all of it or its first paragraphs."""
    command = ["bash", "-c", session.command]
    output = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    ).stdout
    shown = masked(session.shown).split("\n\n")
    assert masked(output).split("\n\n")[: len(shown)] == shown


@pytest.mark.parametrize("session", [each for each in SESSIONS if PROMPT in each.shown], ids=lambda each: each.place)
def test_conversationIsShown(ports: tuple[int, int], session: Session) -> None:
    """A prompt shows what the document shows when its lines are typed."""
    plain, secured = ports
    shown = session.shown.replace(":8081", f":{plain}").replace(":8443", f":{secured}").rstrip()
    with Terminal("bash", "-c", session.command) as terminal:
        before = ""
        for line in shown.split("\n"):
            if line.startswith(f"{PROMPT} "):
                terminal.shows(before + PROMPT)
                terminal.type(line.removeprefix(f"{PROMPT} ") + "\r")
            before += f"{line}\n"
        terminal.shows(shown)
        assert terminal.text == shown
        terminal.type(CTRL_D)
        assert terminal.exits() == 0


def test_lineOfAConnectionIsShown(tmp_path: Path) -> None:
    """docs/operating.md shows the line of a connection that sent five bytes: each field, and the reason."""
    with Daemon.start(tmp_path, "--log-connections") as daemon:
        assert daemon.address.echo(b"hello") == b"HELLO"
    line = re.findall("] (connection .*)", daemon.text)[-1]
    shown = re.findall("^ {4}(connection .*)", readDocuments()["docs/operating.md"].text, re.MULTILINE)[0]
    assert anyRun(masked(line)) == anyRun(masked(shown))


def anyRun(line: str) -> str:
    """Return the line of a connection without its number and time, and without the port of its listener."""
    line = re.sub(r"\bid=[0-9]+ listener=127\.0\.0\.1:\w+", "id=NUMBER listener=127.0.0.1:PORT", line)
    return re.sub(r"seconds=[0-9]+\.[0-9]{3}\b", "seconds=TIME", line)


def test_maskKeepsTheWords() -> None:
    """Only times, ports, what the kernel says, and the alignment are masked."""
    shown = (
        "56 bytes from 127.0.0.1:8081: seq=1 time=0.853 ms\n    first byte    0.3 ms  LISTEN\n     p50/p90 = 0.1/0.2 ms"
    )
    same = "56 bytes from 127.0.0.1:43210: seq=1 time=12 ms\n    first byte   -  CLOSED\n     p50/p90 =  7/8 ms\n"
    assert masked(shown) == masked(same)
    for word, other in ("56", "57"), ("seq=1", "seq=2"), ("first", "last"), ("127.0.0.1", "127.0.0.2"), ("p90", "p99"):
        assert masked(shown) != masked(shown.replace(word, other))


def test_sessionsAreFound() -> None:
    """Each prompt begins a session; those of other programs and other servers aren't local."""
    text = (
        "```console\n$ echoup ping\nout\nput\n$ echoup ping a.example:8081\n$ ls\n```\n\n    $ echoup connect [::1]:9\n"
    )
    page = Document("x.md", text)
    assert [(each.place, each.shown, each.isLocal) for each in sessionsIn(page)] == [
        ("x.md:2", "out\nput\n", True),
        ("x.md:2", "", False),
        ("x.md:2", "", False),
        ("x.md:9", "", False),
    ]
