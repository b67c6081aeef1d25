"""The programs in docs/library.md do what it says of them, each in a process of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from select import select
from socket import AF_INET, socket

import pytest

from benchmarks.process import running
from tests.support.addresses import Address, receiveAll
from tests.support.chance import randomBytes
from tests.support.servers import serving

pytestmark = pytest.mark.system

SERVICE, LIMITED, CLIENT, ON_UVLOOP = re.findall(
    "^```.*?\n(.+?)^```$", (Path(__file__).parents[1] / "docs/library.md").read_text(), re.DOTALL | re.MULTILINE
)
"""All programs of the document: one more or less fails here."""


@contextmanager
def service(program: str, folder: Path) -> Iterator[Address]:
    """Run a program that listens, on a port that the kernel chooses, and yield where."""
    assert program.count("8081") == 1
    command = (sys.executable, "-c", program.replace("8081", "0"))
    with running(command, os.sched_getaffinity(0), folder / "log") as server:
        yield Address(AF_INET, ("127.0.0.1", server.port))


def test_serviceAnswersAfterThePeersEnd(tmp_path: Path) -> None:
    """Clients that send, end their side and only then read get everything in upper case, and the end."""
    with service(SERVICE, tmp_path) as address:
        for _ in range(20):
            data = randomBytes(100_000)
            assert address.echo(data) == data.upper()


@pytest.mark.parametrize("before", ["", ON_UVLOOP.partition("\n\nfrom twisted")[0]], ids=["default", "uvloop"])
def test_connectionBeyondTheMaximumWaits(tmp_path: Path, before: str) -> None:
    """As many connections as the program names are served at once; one more is served when one of them has gone."""
    with service(f"{before}\n{LIMITED}", tmp_path) as address, ExitStack() as stack:
        connections = [stack.enter_context(address.connect()) for _ in range(100)]
        assert all(isServed(connection) for connection in connections)
        waiting = stack.enter_context(address.connect())
        waiting.sendall(b"hello")
        assert select([waiting], [], [], 0.5)[0] == []
        connections[0].close()
        assert waiting.recv(5) == b"HELLO"


def test_idleConnectionIsEnded(tmp_path: Path) -> None:
    """With a shorter idle timeout than the program names, a connection on which nothing moves is ended."""
    assert LIMITED.count("idleTimeout=60") == 1
    with (
        service(LIMITED.replace("idleTimeout=60", "idleTimeout=0.5"), tmp_path) as address,
        address.connect() as connection,
    ):
        assert isServed(connection)
        assert receiveAll(connection) == b""


def isServed(connection: socket) -> bool:
    """Return whether a connection gets an echo."""
    connection.sendall(b"hello")
    return connection.recv(5) == b"HELLO"


def test_clientPrintsTheVerdict(tmp_path: Path) -> None:
    """The client prints that the service has answered in upper case, and ends."""
    with service(SERVICE, tmp_path) as address:
        assert run(CLIENT, address) == "uppercased\n"


@pytest.mark.parametrize(
    ("server", "said"), [("unchanged", "unchanged"), ("short", "closed the connection"), ("resetting", "reset")]
)
def test_clientPrintsWhatIsWrong(server: str, said: str) -> None:
    """The client prints in one line what is wrong with a server, and ends."""
    with serving(server) as address:
        (line,) = run(CLIENT, address).splitlines()
    assert said in line


def run(program: str, server: Address) -> str:
    """Return what a program prints that connects to `server`."""
    assert program.count(":8081") == 1
    code = program.replace(":8081", f":{server.address[1]}")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_programRunsOnUvloop(tmp_path: Path) -> None:
    """The program says that it has the uvloop reactor, and echoes on it."""
    with service(ON_UVLOOP, tmp_path) as address, address.connect() as connection:
        connection.sendall(b"hello")
        assert connection.recv(5) == b"hello"
    assert (tmp_path / "log").read_text() == "running on UvloopReactor\n"
