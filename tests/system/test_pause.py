"""What a client and a daemon do after a pause: each takes in what has come before it acts on a timeout."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import kill
from pathlib import Path
from socket import SHUT_WR, SOCK_DGRAM, SOCK_STREAM
from threading import Thread, Timer

import pytest

from tests.support.addresses import receiveAll
from tests.support.authorities import Certificates
from tests.support.commands import COMMANDS, listenTLS
from tests.support.daemon import Daemon, childrenOf
from tests.support.pings import Pinged
from tests.support.tls import TLSConnection
from tests.support.waiting import eventually

TIMEOUT, PAUSE = 2, 2.5
"""Seconds of the timeouts, and of a pause, in which they are over."""


@contextmanager
def paused(*pids: int) -> Iterator[None]:
    """Stop processes, and continue them PAUSE seconds after the end of the block."""
    try:
        for pid in pids:
            kill(pid, signal.SIGSTOP)
            eventually(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")  # noqa: B023
        yield
        time.sleep(PAUSE)
    finally:
        for pid in pids:
            kill(pid, signal.SIGCONT)


@contextmanager
def running(*arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `echoup` with these arguments, and kill it in the end if it still runs."""
    pipe = subprocess.PIPE
    with subprocess.Popen([str(COMMANDS / "echoup"), *arguments], stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def server(kind: socket.SocketKind) -> Iterator[tuple[socket.socket, str]]:
    """Open a server's socket, whose answers the test sends; yield it and the target that it is."""
    with socket.socket(socket.AF_INET, kind) as opened:
        opened.settimeout(60)
        opened.bind(("127.0.0.1", 0))
        if kind is SOCK_STREAM:
            opened.listen()
        yield opened, f"{'udp:' if kind is SOCK_DGRAM else ''}127.0.0.1:{opened.getsockname()[1]}"


def test_answerInAPauseOfPingIsAnAnswer() -> None:
    """A stream's reply that came while ping was paused longer than its timeout is an answer, without a time."""
    with (
        server(SOCK_STREAM) as (listening, target),
        running("ping", "--json", "-c3", "-i0.3", f"-W{TIMEOUT}", target) as process,
    ):
        connection, _ = listening.accept()
        with connection:
            data = connection.recv(1000)
            with paused(process.pid):
                connection.sendall(data.upper())

        def answer() -> None:
            for _ in range(2):
                connection, _ = listening.accept()
                with connection:
                    connection.sendall(connection.recv(1000).upper())
                    connection.recv(1)

        assertHonest(process, answer)


def test_datagramInAPauseOfPingIsAnAnswer() -> None:
    """A datagram that came while ping was paused longer than its timeout is an answer, without a time."""
    with (
        server(SOCK_DGRAM) as (port, target),
        running("ping", "--json", "-c3", "-i0.3", f"-W{TIMEOUT}", target) as process,
    ):
        data, client = port.recvfrom(1000)
        with paused(process.pid):
            port.sendto(data.upper(), client)

        def answer() -> None:
            for _ in range(2):
                data, client = port.recvfrom(1000)
                port.sendto(data.upper(), client)

        assertHonest(process, answer)


def assertHonest(process: "subprocess.Popen[bytes]", answer: Callable[[], None]) -> None:
    """Check the report of three probes, of which the first was answered in a pause and `answer` answers the others."""
    thread = Thread(target=answer)
    thread.start()
    output, errors = process.communicate(timeout=60)
    thread.join()
    pinged = Pinged.of(process.returncode, output.decode(), errors.decode())
    first, *_ = sorted(pinged.probes, key=lambda probe: int(probe["seq"]))
    assert (pinged.code, pinged.summary["answered"], pinged.summary["outage"]) == (0, 3, None)
    assert first["seconds"] is None
    assert {phase["seconds"] for phase in first["phases"]} == {None}
    assert 1 <= pinged.summary["untimed"] <= 3
    assert pinged.summary["max"] is None or pinged.summary["max"] < PAUSE


@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM])
def test_replyInAPauseOfConnectIsTaken(kind: socket.SocketKind) -> None:
    """A reply that came while connect was paused longer than its timeout is written, and the exit code is 0."""
    with (
        server(kind) as (opened, target),
        running("connect", "--timeout", str(TIMEOUT), target) as process,
    ):
        assert process.stdin
        process.stdin.write(b"hello")
        process.stdin.flush()
        if kind is SOCK_STREAM:
            connection, _ = opened.accept()
            with connection:
                assert connection.recv(5) == b"hello"
                with paused(process.pid):
                    connection.sendall(b"HELLO")
                output, errors = process.communicate(timeout=60)
        else:
            data, client = opened.recvfrom(1000)
            with paused(process.pid):
                opened.sendto(data.upper(), client)
            output, errors = process.communicate(timeout=60)
    assert output == b"HELLO", errors


@pytest.mark.parametrize("workers", [(), ("--workers=2",)])
def test_headerInAPauseOfTheDaemonIsTaken(tmp_path: Path, reactor: str, workers: tuple[str, ...]) -> None:
    """A PROXY header whose rest came while the daemon, or its workers, were paused is taken."""
    options = ("--proxy-from=127.0.0.0/8", f"--handshake-timeout={TIMEOUT}", *workers)
    with Daemon.start(tmp_path, *options) as daemon, daemon.address.connect(60) as client:
        client.sendall(b"PROXY TCP4 ")
        time.sleep(0.3)  # it may have been read before the pause, or not
        with paused(*(childrenOf(daemon.pid) if workers else [daemon.pid])):
            client.sendall(b"192.0.2.1 192.0.2.2 1 2\r\nhello")
        client.shutdown(SHUT_WR)
        assert receiveAll(client) == b"HELLO"


def test_helloInAPauseOfTheDaemonIsTaken(tmp_path: Path, reactor: str, certificates: Certificates) -> None:
    """A TLS handshake whose first message came while the daemon was paused is completed, which takes two more."""
    options = (f"--handshake-timeout={TIMEOUT}",)
    with (
        Daemon.start(tmp_path, *options, listen=[listenTLS(certificates.server)]) as daemon,
        daemon.address.connect(60) as client,
    ):
        time.sleep(0.3)  # it may have been accepted before the pause, or not
        kill(daemon.pid, signal.SIGSTOP)
        resumption = Timer(PAUSE, kill, (daemon.pid, signal.SIGCONT))
        resumption.start()
        try:
            assert TLSConnection(client, certificates.context()).ask(b"hello") == b"HELLO"
        finally:
            resumption.join()
