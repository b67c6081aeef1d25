"""The promise Loud at the start: a start works, or fails at once, with one line and an exit code that isn't 0."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.support.addresses import Address
from tests.support.authorities import Certificates
from tests.support.commands import COMMANDS, twistd
from tests.support.daemon import Daemon
from tests.support.waiting import eventually

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
    ("--listen=ws:443:privateKey=x", "--listen: 'ws:443:privateKey=x' is neither HOST:PORT nor [V6]:PORT"),
    ("--listen=tcp:", "--listen: 'tcp:' is not a tcp endpoint"),
    ("--max-connections=many", "--max-connections: 'many' is not a whole number from 0 to 999999999"),
    ("--idle-timeout=-1", "--idle-timeout: '-1' is not a number of seconds from 0 to 999999999"),
    ("--stall-timeout=0", "--stall-timeout: 0 would let a dead peer hang for ever"),
    ("--drain-timeout=nan", "--drain-timeout: 'nan' is not a number of seconds from 0 to 999999999"),
    ("--no-such-option", "option --no-such-option not recognized"),
    ("--handshake-timeout=0", "--handshake-timeout: 0 would let a dead peer hang for ever"),
    ("--proxy-from=300.0.0.0/8", "--proxy-from: '300.0.0.0/8' does not appear to be an IPv4 or IPv6 network"),
    ("--proxy-from=10.0.0.1/8", "--proxy-from: 10.0.0.1/8 has host bits set"),
    ("--tls-client-ca=file", "--tls-client-ca: there is no --listen ssl:... to use it"),
    ("--listen=systemd:domain=INET:index=0", "--listen: 'systemd:domain=INET:index=0' is not a systemd endpoint"),
    ("superfluous", "Wrong number of arguments"),
]
CERTIFICATE_FAILURES = [
    ("ssl:0:privateKey=missing.pem", "missing.pem: No such file or directory"),
    ("ssl:0", "server.pem: No such file or directory"),
    ("ssl:0:privateKey=good.pem:certKey=missing.pem", "missing.pem: No such file or directory"),
    ("ssl:0:privateKey=good.pem:extraCertChain=missing.pem", "missing.pem: No such file or directory"),
    ("ssl:0:privateKey=good.pem:extraCertChain=garbage.pem", "garbage.pem: "),
    ("ssl:0:privateKey=good.pem:dhParameters=garbage.pem", "garbage.pem: "),
    ("ssl:0:privateKey=empty.pem", "empty.pem: "),
    ("ssl:0:privateKey=garbage.pem", "garbage.pem: "),
    ("ssl:0:privateKey=damaged.pem", "damaged.pem: "),
    ("ssl:0:privateKey=folder", "folder: Is a directory"),
    ("ssl:0:privateKey=key.pem", "key.pem: "),
    ("ssl:0:privateKey=certificate.pem", "certificate.pem: "),
    ("ssl:0:privateKey=key.pem:certKey=other.pem", "key.pem: key values mismatch"),
    ("ssl:0:privateKey=encrypted.pem:certKey=certificate.pem", "encrypted.pem: the private key is encrypted"),
    ("ssl:0:privateKey=good.pem:sslmethod=SSLv3_METHOD", "sslmethod=SSLv3_METHOD is none of "),
    ("ssl:0:privateKey=good.pem:colour=red", ""),
    ("ssl:privateKey=good.pem", ""),
    ("ssl:many:privateKey=good.pem", ""),
]
AUTHORITY_FAILURES = [
    ("missing.pem", "missing.pem: No such file or directory"),
    ("empty.pem", "empty.pem: "),
    ("garbage.pem", "garbage.pem: "),
    ("key.pem", "key.pem: "),
    ("folder", "folder: Is a directory"),
]


@dataclass(frozen=True)
class Occupied:
    """A folder, and what is in the way of a start in it."""

    folder: Path
    port: int

    def start(self, command: list[str], *options: str) -> "subprocess.CompletedProcess[str]":
        """Run `command`, which can't start, with `options` for echoup, and return what became of it."""
        before = getrusage(RUSAGE_CHILDREN)
        ended = subprocess.run(
            [*command, "echoup", *(option.format(taken=self.port) for option in options)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        after = getrusage(RUSAGE_CHILDREN)
        # Of the processor's time: that of the clock depends on whoever else has the machine.
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
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


@pytest.fixture
def pems(occupied: Occupied, certificates: Certificates) -> Occupied:
    """Fill the folder with files as TLS wants them, and as it doesn't."""
    folder = occupied.folder
    good = Path(certificates.server).read_text()
    key, begin, certificate = good.partition("-----BEGIN CERTIFICATE-----")
    certificate = begin + certificate
    lines = certificate.splitlines()
    private = load_pem_private_key(key.encode(), None)
    sealed = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    for name, content in {
        "good": good,
        "key": key,
        "certificate": certificate,
        "other": Path(certificates.client).read_text(),
        "encrypted": sealed.decode(),
        "empty": "",
        "garbage": "garbage\n",
        "damaged": key + "\n".join([*lines[:3], lines[3][::-1], *lines[4:]]) + "\n",
    }.items():
        (folder / f"{name}.pem").write_text(content)
    (folder / "folder").mkdir()
    return occupied


@pytest.mark.parametrize(("description", "reason"), CERTIFICATE_FAILURES)
def test_badCertificate(pems: Occupied, description: str, reason: str) -> None:
    """A certificate that can't be used ends the start, in time, with one line that says which file it is, and why."""
    ended = pems.start(twistd("-n", "--pidfile="), f"--listen={description}")
    assert ended.returncode == 1
    kind = description.partition(":")[0]
    assert ended.stderr.startswith(f"twistd echoup: --listen: '{description}' is not an {kind} endpoint: {reason}") or (
        ended.stderr.startswith(f"twistd echoup: --listen: '{description}' is not a {kind} endpoint: {reason}")
    )
    assert ended.stderr.count("\n") == 1
    assert not ended.stdout


@pytest.mark.parametrize(("file", "reason"), AUTHORITY_FAILURES)
def test_badClientAuthority(pems: Occupied, file: str, reason: str) -> None:
    """So does an authority for clients that can't be used."""
    ended = pems.start(twistd("-n", "--pidfile="), "--listen=ssl:0:privateKey=good.pem", f"--tls-client-ca={file}")
    assert ended.returncode == 1
    assert reason in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not ended.stdout


def test_goodPems(pems: Occupied) -> None:
    """The files that the failures are about are good where they aren't bad."""
    listen = [
        f"ssl:0:interface=127.0.0.1:privateKey={pems.folder}/{files}"
        for files in ("good.pem", f"key.pem:certKey={pems.folder}/certificate.pem")
    ]
    with Daemon.start(pems.folder, listen=listen) as daemon:
        assert [address.isTLS for address in daemon.addresses] == [True, True]


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


def test_withoutUvloop(tmp_path: Path) -> None:
    """Where uvloop and stringzilla are missing, twistd says so of that reactor, and the default one serves."""
    for name in ("uvloop", "stringzilla"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('there is no {name} here')")
    environment = {"PYTHONPATH": str(tmp_path)}
    refused = subprocess.run(
        twistd("--reactor=uvloop", "-n", "--pidfile=", "echoup"),
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    assert refused.returncode == 1
    assert "The specified reactor cannot be used, failed with error: there is no uvloop here." in refused.stdout
    with Daemon.start(tmp_path, reactor="default", environment=environment) as daemon:
        assert daemon.address.echo(b"hello " * 100) == b"HELLO " * 100
