"""The promise Loud at the start: a start works, or fails at once, with one line and an exit code that isn't 0."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.processes import COMMANDS, Address, Daemon, eventually, twistd

LISTEN_FAILURES = [
    ("127.0.0.1:{taken}", "Address already in use"),
    ("[::1]:{taken}", "Address already in use"),
    ("*:{taken}", "Address already in use"),
    ("{taken}", "Address already in use"),
    ("tcp:{taken}", "Address already in use"),
    ("tcp6:{taken}", "Address already in use"),
    ("unix:taken", "Address already in use"),
    ("unix:stale", "Address already in use"),
    ("unix:missing/socket", "No such file or directory"),
    ("unix:locked:lockfile=1", "Cannot acquire lock"),
    ("192.0.2.1:0", "Cannot assign requested address"),
    ("no.such.name.invalid:0", ""),
]
OPTION_FAILURES = [
    ("--listen=127.0.0.1:99999", "--listen: '99999' is not a port number from 0 to 65535"),
    ("--listen=nonsense", "--listen: 'nonsense' is not a port number from 0 to 65535"),
    ("--listen=ssl:443:privateKey=x", "--listen: 'ssl:443:privateKey=x' is neither HOST:PORT nor [V6]:PORT"),
    ("--listen=tcp:", "--listen: 'tcp:' is not a tcp endpoint"),
    ("--max-connections=many", "--max-connections: 'many' is not a whole number from 0 to 999999999"),
    ("--idle-timeout=-1", "--idle-timeout: '-1' is not a number of seconds from 0 to 999999999"),
    ("--stall-timeout=0", "--stall-timeout: 0 would let a dead peer hang for ever"),
    ("--drain-timeout=nan", "--drain-timeout: 'nan' is not a number of seconds from 0 to 999999999"),
    ("--no-such-option", "option --no-such-option not recognized"),
    ("superfluous", "Wrong number of arguments"),
]


@dataclass(frozen=True)
class Occupied:
    """A folder, and what is in the way of a start in it."""

    folder: Path
    port: int

    def start(self, command: list[str], *options: str) -> "subprocess.CompletedProcess[str]":
        """Run `command`, which can't start, with `options` for echoup, and return what became of it."""
        began = time.monotonic()
        ended = subprocess.run(
            [*command, "echoup", *(option.format(taken=self.port) for option in options)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert time.monotonic() - began < 2
        return ended


@pytest.fixture
def occupied(tmp_path: Path) -> Iterator[Occupied]:
    """A port that is taken, on IPv4 and IPv6, and Unix sockets that are taken, stale and locked."""
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as port,
        socket.socket(socket.AF_UNIX) as taken,
        socket.socket(socket.AF_UNIX) as stale,
    ):
        taken.bind(f"{tmp_path}/taken")
        taken.listen()
        stale.bind(f"{tmp_path}/stale")
        stale.close()
        (tmp_path / "locked.lock").symlink_to(str(os.getpid()))
        yield Occupied(tmp_path, port.getsockname()[1])


@pytest.mark.parametrize(("description", "reason"), LISTEN_FAILURES)
def test_cannotListen(occupied: Occupied, description: str, reason: str) -> None:
    """An address that can't be listened on ends the start with one line that says which and why."""
    ended = occupied.start(twistd("-n", "--pidfile="), f"--listen={description}")
    assert ended.returncode == 1
    assert ended.stderr.startswith(
        f"twistd echoup: cannot listen on {description.format(taken=occupied.port)}: {reason}"
    )
    assert ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.stdout


@pytest.mark.parametrize(("option", "reason"), OPTION_FAILURES)
def test_badOption(occupied: Occupied, option: str, reason: str) -> None:
    """A wrong option ends the start with one line that says what is wrong with it."""
    ended = occupied.start(twistd("-n", "--pidfile="), option)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"twistd echoup: {reason}")
    assert ended.stderr.count("\n") == 1
    assert not ended.stdout


def test_secondOfTwo(occupied: Occupied) -> None:
    """When the second address is taken, nothing is left of the first: no socket, no lock, no pid file."""
    before = sorted(occupied.folder.iterdir())
    ended = occupied.start(twistd("-n"), "--listen=unix:first:lockfile=1", "--listen=127.0.0.1:{taken}")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert sorted(occupied.folder.iterdir()) == before


def test_takenStaysTaken(occupied: Occupied) -> None:
    """A start that fails on a Unix socket in use doesn't open the way for the next one to take it away."""
    for _ in range(2):
        ended = occupied.start(twistd("-n", "--pidfile="), "--listen=unix:taken")
        assert "cannot listen on unix:taken: Address already in use" in ended.stderr
    assert (occupied.folder / "taken").is_socket()
    assert not (occupied.folder / "taken.lock").is_symlink()


def test_afterAKill(tmp_path: Path) -> None:
    """A Unix socket that a killed daemon left behind is no obstacle."""
    listen = [f"unix:{tmp_path}/socket"]
    Daemon.start(tmp_path, listen=listen).kill()
    with Daemon.start(tmp_path, listen=listen) as daemon:
        assert daemon.address.echo(b"hello") == b"HELLO"


@pytest.mark.parametrize("command", [["twist"], ["python", "-m", "twisted"]])
def test_otherRunners(occupied: Occupied, command: list[str]) -> None:
    """`twist` and `python -m twisted` fail in one line as well."""
    name, *arguments = command
    ended = occupied.start([str(COMMANDS / name), *arguments], "--listen=127.0.0.1:{taken}")
    assert ended.returncode == 1
    assert ended.stderr == f"twistd echoup: cannot listen on 127.0.0.1:{occupied.port}: Address already in use\n"


def test_daemonized(occupied: Occupied) -> None:
    """A daemon that can't start lets its parent say why, and fail, and says it in the log."""
    ended = occupied.start(twistd(), "--listen=127.0.0.1:{taken}")
    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1:{occupied.port}: Address already in use" in ended.stderr
    assert f"cannot listen on 127.0.0.1:{occupied.port}" in (occupied.folder / "twistd.log").read_text()
    assert not (occupied.folder / "twistd.pid").exists()


def test_environment(tmp_path: Path) -> None:
    """The options can be given as variables; a repeatable one takes several values."""
    environment = {"ECHOUP_LISTEN": f"127.0.0.1:0 unix:{tmp_path}/socket", "ECHOUP_LOG_CONNECTIONS": "yes"}
    with Daemon.start(tmp_path, listen=(), environment=environment) as daemon:
        assert [address.echo(b"hello") for address in daemon.addresses] == [b"HELLO"] * 2
        line = eventually(lambda: re.findall("connection (peer=.*)", daemon.text))[0]
        assert re.fullmatch(r"peer=127\.0\.0\.1:\d+ bytes=5 seconds=\d\.\d{3} reason=done", line)


def test_default(tmp_path: Path) -> None:
    """With no option it listens on 127.0.0.1:8081."""
    with Daemon.start(tmp_path, listen=()) as daemon:
        assert [address.address for address in daemon.addresses] == [("127.0.0.1", 8081)]


@pytest.mark.parametrize("command", [["twist"], ["python", "-m", "twisted"]])
def test_runUnder(tmp_path: Path, command: list[str]) -> None:
    """`twist echoup` and `python -m twisted echoup` serve and stop as `twistd -n echoup` does."""
    name, *arguments = command
    runner = [str(COMMANDS / name), *arguments, "--log-format=text"]
    with Daemon.start(tmp_path, command=runner, environment={"PYTHONUNBUFFERED": "yes"}) as daemon:
        assert daemon.address.echo(b"hello") == b"HELLO"
        assert daemon.stop() == 143


def test_daemon(tmp_path: Path) -> None:
    """`twistd echoup` goes into the background, echoes, rotates its log on SIGUSR1, and leaves nothing behind."""
    subprocess.run(
        [*twistd(), "echoup", "--listen=127.0.0.1:0"], cwd=tmp_path, check=True, capture_output=True, timeout=20
    )
    pid = int((tmp_path / "twistd.pid").read_text())
    try:
        log = (tmp_path / "twistd.log").read_text()
        port = int(re.findall(r"listening on 127\.0\.0\.1:(\d+)", log)[0])
        address = Address(socket.AF_INET, ("127.0.0.1", port))
        assert address.echo(b"hello") == b"HELLO"
        os.kill(pid, signal.SIGUSR1)
        eventually((tmp_path / "twistd.log.1").exists)
        assert address.echo(b"hello") == b"HELLO"
    finally:
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: not (tmp_path / "twistd.pid").exists())
