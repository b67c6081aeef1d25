"""The promise Loud at the start: a start works, or fails at once with one line and an exit code that isn't 0."""

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from errno import ECONNREFUSED
from functools import cache
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
from tests.support.commands import COMMANDS, listenTLS, twistd, unmeasured
from tests.support.daemon import Daemon, foreground
from tests.support.ending import endingDaemon
from tests.support.waiting import eventually
from tests.support.ways import Way

# A few of each kind: the tests in tests/server have all others.
LISTEN_FAILURES = [
    ("127.0.0.1:{taken}", "address already in use"),
    ("unix:taken", "address already in use"),
    ("192.0.2.1:0", "cannot assign requested address"),
    ("no.such.name.invalid:0", ""),
]
BACKGROUND_FAILURES = [
    (["--listen=127.0.0.1:{taken}"], "address already in use", "cannot listen on 127.0.0.1:{taken}"),
    (["--listen=unix:taken:mode=600:lockfile=0"], "address already in use", "cannot listen on unix:taken:mode"),
    (["--listen=unix:missing/" + "socket" * 16], "no such file or directory", "cannot listen on unix:missing/socket"),
    (
        ["--listen=127.0.0.1:0", "--udp=192.0.2.1:0"],
        "cannot assign requested address",
        "cannot listen on udp:192.0.2.1:0",
    ),
    (["--listen=127.0.0.1:0", "--uid=4000000000"], "/etc/passwd has no user 4000000000", "cannot change to that user"),
    (["--listen=127.0.0.1:{taken}", "--workers=2"], "address already in use", "cannot listen on 127.0.0.1:{taken}"),
]
OPTION_FAILURES = [
    ("--max-connections=many", "--max-connections: 'many' is not a whole number from 0 to 999999999"),
    ("--no-such-option", "option --no-such-option not recognized"),
    ("superfluous", "unexpected argument 'superfluous'; write --listen superfluous for an address"),
    ("--listen=udp:8081", "--listen: 'udp:8081' is a UDP address; write --udp 8081"),
    ("--listen=tcp:1:2:3:4", "--listen: 'tcp:1:2:3:4' is not a valid tcp endpoint: too many values"),
    ("--listen=https://localhost:443", "--listen: 'https://localhost:443' is a URL; write --listen tls:localhost:443"),
    ("--listen=tls:8443", "--listen: 'tls:8443': --tls-cert FILE is missing"),
    (
        "--listen=ssl:8443",
        "--listen: 'ssl:8443' is not a valid ssl endpoint: no privateKey= is given, and server.pem: No such",
    ),
    ("--tls-cert=missing.pem", "--tls-cert: missing.pem: No such file or directory"),
]
CERTIFICATE_FAILURES = [
    ("ssl:0:privateKey=missing.pem", "missing.pem: No such file or directory"),
    ("ssl:0:privateKey=key.pem:certKey=other.pem", "key.pem: the key does not match the certificate"),
    ("ssl:0:privateKey=encrypted.pem:certKey=certificate.pem", "encrypted.pem: the private key is encrypted"),
]
TWISTD_FAILURES = [
    (["--chroot=missing"], "--chroot: no such directory: missing"),
    (["--rundir=missing"], "--rundir: no such directory: missing"),
    (["--pidfile=missing/pid"], "--pidfile: no such directory: "),
    (["--logfile=missing/log"], "--logfile: no such directory: "),
    (["--chroot=."], "no /dev/null: cannot start; with --chroot, create it in that directory"),
    (["--uid=4000000000"], "/etc/passwd has no user 4000000000: cannot change to that user"),
]
"""Options of twistd, of which it would print a traceback."""
ROOT_FAILURES = [
    ("--chroot=.", "only root can change the root directory"),
    ("--uid=0", "only root can change the user"),
    ("--gid=0", "only root can change the group"),
]
AUTHORITY_FAILURES = [
    ("missing.pem", "missing.pem: No such file or directory"),
    ("garbage.pem", "garbage.pem: "),
    ("key.pem", "key.pem: "),
]


@dataclass(frozen=True)
class Occupied:
    """A folder with obstacles to a start in it, and a port that is taken."""

    folder: Path
    port: int

    def start(self, command: list[str], *options: str) -> "subprocess.CompletedProcess[str]":
        """Run `command`, which can't start, with `options` for echoup, and return its outcome."""
        before = _childrensTime()
        ended = subprocess.run(
            [*command, "echoup", *(option.format(taken=self.port) for option in options)],
            cwd=self.folder,
            env=unmeasured(),  # which a root folder without Python's files prevents
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert _childrensTime() - before < 5 * _timeOfHelp(), "the start did more than to read its options"
        return ended


def _childrensTime() -> float:
    """Return the seconds of processor time that the children of this process have used, up to their ends."""
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@cache
def _timeOfHelp() -> float:
    """Return the seconds of processor time that it takes to print the help."""
    before = _childrensTime()
    subprocess.run(twistd("echoup", "--help"), capture_output=True, timeout=60, check=True)
    return _childrensTime() - before


@pytest.fixture
def occupied(tmp_path: Path) -> Iterator[Occupied]:
    """A port that is taken, and a Unix socket that is."""
    with (
        socket.create_server(("127.0.0.1", 0)) as port,
        socket.socket(socket.AF_UNIX) as taken,
    ):
        taken.bind(f"{tmp_path}/taken")
        taken.listen()
        yield Occupied(tmp_path, port.getsockname()[1])


@pytest.mark.parametrize(("description", "reason"), LISTEN_FAILURES)
def test_cannotListen(occupied: Occupied, description: str, reason: str) -> None:
    """An address that can't be listened on ends the start with one line that says which and why."""
    ended = occupied.start(twistd("-n", "--pidfile="), f"--listen={description}")
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"twistd echoup: {reason}")
    assert ended.stderr.endswith(f": cannot listen on {description.format(taken=occupied.port)}\n")
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


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("options", "reason"), TWISTD_FAILURES)
def test_badFolderOrUser(occupied: Occupied, options: list[str], reason: str, workers: int) -> None:
    """A folder or a user that twistd can't use ends the start with one line, with and without workers."""
    if os.geteuid() and "--chroot=." in options:
        pytest.skip("only root can change its root folder")
    ended = occupied.start(twistd("-n", "--pidfile=", *options), f"--workers={workers}", "--listen=127.0.0.1:0")
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"twistd echoup: {reason}")
    assert ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.stdout


@pytest.mark.parametrize("mode", [["-n"], []], ids=["foreground", "background"])
@pytest.mark.parametrize(("option", "reason"), ROOT_FAILURES)
def test_optionsOfRoot(occupied: Occupied, option: str, reason: str, mode: list[str]) -> None:
    """An option that only root may use ends the start with one line, also in the background."""
    asNobody = ["unshare", "--user"]  # with the files of this user, and no privileges
    if subprocess.run([*asNobody, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system lets its users make no user namespaces")
    ended = occupied.start([*asNobody, *twistd(*mode, "--pidfile=", option)], "--listen=127.0.0.1:0")
    assert (ended.returncode, ended.stderr) == (1, f"twistd echoup: {option.partition('=')[0]}: {reason}\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its root folder")
def test_otherRoot(tmp_path: Path) -> None:
    """With a root folder in which there is nothing but /dev/null, not even Python's modules, the daemon serves."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "null").touch()
    command = twistd("-n", "--pidfile=", f"--chroot={tmp_path}")
    with Daemon.start(tmp_path, "--log-connections", command=command) as daemon:
        assert daemon.address.echo(b"hello") == b"HELLO"
        assert daemon.stop() == 143


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its root folder")
def test_workersOutsideOfTheRoot(occupied: Occupied) -> None:
    """With a root folder in which there are no workers, the start fails in one line that says so."""
    (occupied.folder / "dev").mkdir()
    (occupied.folder / "dev" / "null").touch()
    ended = occupied.start(twistd("-n", "--pidfile=", "--chroot=."), "--workers=2", "--listen=127.0.0.1:0")
    assert ended.returncode == 1
    assert re.fullmatch(
        r"twistd echoup: no such file or directory: cannot start the workers: /\S*/worker.py\n", ended.stderr
    )
    assert "Traceback" not in ended.stdout


@pytest.fixture
def pems(occupied: Occupied, certificates: Certificates) -> Occupied:
    """Fill the folder with files that TLS can use, and with files that it can't."""
    folder = occupied.folder
    good = Path(certificates.server).read_text()
    key, begin, certificate = good.partition("-----BEGIN CERTIFICATE-----")
    certificate = begin + certificate
    private = load_pem_private_key(key.encode(), None)
    sealed = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    for name, content in {
        "good": good,
        "key": key,
        "certificate": certificate,
        "other": Path(certificates.client).read_text(),
        "encrypted": sealed.decode(),
        "garbage": "garbage\n",
    }.items():
        (folder / f"{name}.pem").write_text(content)
    return occupied


@pytest.mark.parametrize(("description", "reason"), CERTIFICATE_FAILURES)
def test_badCertificate(pems: Occupied, description: str, reason: str) -> None:
    """A certificate that can't be used ends the start with one line that says which file it is, and why."""
    ended = pems.start(twistd("-n", "--pidfile="), f"--listen={description}")
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"twistd echoup: --listen: '{description}' is not a valid ssl endpoint: {reason}")
    assert ended.stderr.count("\n") == 1
    assert not ended.stdout


@pytest.mark.parametrize(("file", "reason"), AUTHORITY_FAILURES)
def test_badClientAuthority(pems: Occupied, file: str, reason: str) -> None:
    """An authority for clients that can't be used ends the start with one line that says why."""
    ended = pems.start(twistd("-n", "--pidfile="), "--listen=ssl:0:privateKey=good.pem", f"--tls-client-ca={file}")
    assert ended.returncode == 1
    assert reason in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not ended.stdout


def test_goodFilesWork(pems: Occupied) -> None:
    """The good files of the tests of failures work."""
    listen = [
        f"ssl:0:interface=127.0.0.1:privateKey={pems.folder}/{files}"
        for files in ("good.pem", f"key.pem:certKey={pems.folder}/certificate.pem")
    ]
    with Daemon.start(pems.folder, listen=listen) as daemon:
        assert [address.isTLS for address in daemon.addresses] == [True, True]


def test_failureLeavesNoFile(occupied: Occupied) -> None:
    """When the second address is taken, nothing is left of the first: no socket, no lock, no pid file."""
    before = sorted(occupied.folder.iterdir())
    ended = occupied.start(twistd("-n"), "--listen=unix:first:lockfile=1", "--listen=127.0.0.1:{taken}")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert sorted(occupied.folder.iterdir()) == before


def test_usedUnixSocketIsNotReplaced(occupied: Occupied) -> None:
    """A start that fails on a Unix socket in use leaves it as it is, and nothing next to it."""
    before = sorted(occupied.folder.iterdir())
    for _ in range(2):
        ended = occupied.start(twistd("-n", "--pidfile="), "--listen=unix:taken")
        assert "address already in use: cannot listen on unix:taken\n" in ended.stderr
    assert (occupied.folder / "taken").is_socket()
    assert sorted(occupied.folder.iterdir()) == before


@pytest.mark.parametrize("workers", [1, 2])
def test_removedFolders(tmp_path: Path, certificates: Certificates, workers: int) -> None:
    """When the folders of the socket, the certificate and the daemon itself vanish, it serves, and stops as usual."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "server.pem").write_bytes(Path(certificates.server).read_bytes())
    listen = [f"unix:{folder}/socket", listenTLS(f"{folder}/server.pem")]
    command = [*foreground(), f"--rundir={folder}"]
    with Daemon.start(tmp_path, f"--workers={workers}", listen=listen, command=command) as daemon:
        shutil.rmtree(folder)
        daemon.signal(signal.SIGHUP)
        eventually(lambda: "cannot reload the certificate" in daemon.text)
        assert Way(daemon.addresses[1], certificates.context()).exchange(b"hello") == b"HELLO"
        assert daemon.stop() == 143


def test_socketOfAKilledDaemonIsReplaced(tmp_path: Path) -> None:
    """A start replaces the Unix socket that a killed daemon left."""
    listen = [f"unix:{tmp_path}/socket"]
    Daemon.start(tmp_path, listen=listen).kill()
    with Daemon.start(tmp_path, listen=listen) as daemon:
        assert daemon.address.echo(b"hello") == b"HELLO"


def test_socketOfAKilledContainerIsReplaced(tmp_path: Path) -> None:
    """A start replaces it, too, where the daemon has the same process number at each start, as in a container."""
    inNamespace = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*inNamespace, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system lets its users make no process namespaces")
    path = f"{tmp_path}/socket"
    command = [*inNamespace, *foreground(), "echoup", f"--listen=unix:{path}"]
    for start in range(2):
        log = tmp_path / f"log{start}"
        with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as container:
            try:
                eventually(lambda: "listening on" in log.read_text() or container.poll() is not None)  # noqa: B023
                assert container.poll() is None, log.read_text()
                assert Address(socket.AF_UNIX, path).echo(b"hello") == b"HELLO"
            finally:
                container.kill()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:  # it never connects to a stream's socket
            eventually(lambda: probe.connect_ex(path) == ECONNREFUSED)  # until the daemon is gone, too


@pytest.mark.parametrize("options", [[], ["--workers=2"]])
def test_stoppedDaemonKeepsItsSocket(tmp_path: Path, options: list[str]) -> None:
    """A start doesn't take the Unix socket of a daemon that a signal has stopped, which then serves on."""
    with Daemon.start(tmp_path, *options, listen=[f"unix:{tmp_path}/socket"]) as daemon:
        daemon.signal(signal.SIGSTOP)
        try:
            ended = subprocess.run(
                [*foreground(), "echoup", f"--listen=unix:{tmp_path}/socket"],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            daemon.signal(signal.SIGCONT)
        assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
        assert "address already in use" in ended.stderr
        assert daemon.address.echo(b"hello") == b"HELLO"
    assert not Path(f"{tmp_path}/socket").exists()


@pytest.mark.parametrize("command", [["twist"], ["python", "-m", "twisted"]])
def test_failureUnderOtherRunners(occupied: Occupied, command: list[str]) -> None:
    """`twist` and `python -m twisted` fail in one line as well."""
    name, *arguments = command
    ended = occupied.start([str(COMMANDS / name), *arguments], "--listen=127.0.0.1:{taken}")
    assert ended.returncode == 1
    assert ended.stderr == f"twistd echoup: address already in use: cannot listen on 127.0.0.1:{occupied.port}\n"


@pytest.mark.parametrize(("options", "reason", "consequence"), BACKGROUND_FAILURES)
def test_failureInTheBackground(occupied: Occupied, options: list[str], reason: str, consequence: str) -> None:
    """In the background, a daemon that can't start says why on stderr, where twistd cuts the line, and in its log."""
    twistds = [option for option in options if option.startswith("--uid")]
    ended = occupied.start(twistd(*twistds), *(option for option in options if option not in twistds))
    assert ended.returncode == 1
    assert f": {reason}" in ended.stderr
    assert f"{reason}: {consequence}".format(taken=occupied.port) in (occupied.folder / "twistd.log").read_text()
    # twistd's child tells its parent first, and removes the file then.
    eventually(lambda: not (occupied.folder / "twistd.pid").exists())


@pytest.mark.portable
def test_optionsFromTheEnvironment(tmp_path: Path) -> None:
    """The options can be given as variables; a repeatable one takes several values."""
    environment = {"ECHOUP_LISTEN": f"127.0.0.1:0 unix:{tmp_path}/socket", "ECHOUP_LOG_CONNECTIONS": "yes"}
    with Daemon.start(tmp_path, listen=(), environment=environment) as daemon:
        assert [address.echo(b"hello") for address in daemon.addresses] == [b"HELLO"] * 2
        line = eventually(lambda: re.findall("connection (id=.*)", daemon.text))[0]
        assert re.fullmatch(
            r"id=\d listener=127\.0\.0\.1:0 peer=127\.0\.0\.1:\d+ bytes=5 seconds=\d\.\d{3} reason=done", line
        )


def test_defaultAddress(occupied: Occupied) -> None:
    """Without options it listens on 127.0.0.1:8081: its failure says so while this test or another process has that."""
    lock = Path(tempfile.gettempdir(), f"echoup-tests-8081-{os.getuid()}.lock")
    with lock.open("w") as locked, socket.socket() as taken:
        fcntl.flock(locked, fcntl.LOCK_EX)  # another run of this test would free the port in between
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            taken.bind(("127.0.0.1", 8081))
            taken.listen()
        ended = occupied.start(twistd("-n", "--pidfile="))
    assert ended.returncode == 1
    assert ended.stderr == "twistd echoup: address already in use: cannot listen on 127.0.0.1:8081\n"


@pytest.mark.portable
@pytest.mark.parametrize("command", [["twist"], ["python", "-m", "twisted"]])
def test_otherRunnersServe(tmp_path: Path, command: list[str]) -> None:
    """`twist echoup` and `python -m twisted echoup` serve and stop as `twistd -n echoup` does."""
    name, *arguments = command
    runner = [str(COMMANDS / name), *arguments, "--log-format=text"]
    with Daemon.start(tmp_path, command=runner, environment={"PYTHONUNBUFFERED": "yes"}) as daemon:
        assert daemon.address.echo(b"hello") == b"HELLO"
        assert daemon.stop() == 143


@pytest.mark.portable
def test_serviceInTheBackground(tmp_path: Path) -> None:
    """`twistd echoup` goes into the background, echoes, rotates its log on SIGUSR1, and removes its pid file."""
    command = [*twistd(), "echoup", "--listen=127.0.0.1:0"]
    with endingDaemon(tmp_path / "twistd.pid"):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
        pid = int((tmp_path / "twistd.pid").read_text())
        log = (tmp_path / "twistd.log").read_text()
        port = int(re.findall(r"listening on 127\.0\.0\.1:(\d+)", log)[0])
        address = Address(socket.AF_INET, ("127.0.0.1", port))
        assert address.echo(b"hello") == b"HELLO"
        os.kill(pid, signal.SIGUSR1)
        eventually((tmp_path / "twistd.log.1").exists)
        assert address.echo(b"hello") == b"HELLO"
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: not (tmp_path / "twistd.pid").exists())


def test_withoutUvloop(tmp_path: Path) -> None:
    """Without uvloop, twistd refuses that reactor, and the default one serves."""
    (tmp_path / "uvloop.py").write_text("raise ImportError('there is no uvloop here')")
    environment = {"PYTHONPATH": str(tmp_path)}
    refused = subprocess.run(
        twistd("--reactor=uvloop", "-n", "--pidfile=", "echoup"),
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )
    assert refused.returncode == 1
    assert "The specified reactor cannot be used, failed with error: there is no uvloop here." in refused.stdout
    with Daemon.start(tmp_path, reactor="default", environment=environment) as daemon:
        assert daemon.address.echo(b"hello " * 100) == b"HELLO " * 100
