"""The promise Exact: every byte comes back, in upper case, and then the end."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from socket import MSG_OOB, SHUT_WR

import pytest

from tests.system.processes import REACTORS, Address, Daemon, eventually, receiveAll

SIZES = (0, 1, 1000, 65535, 65536, 65537, 2**20, 16 * 2**20)
REPETITIONS = 5


def exchange(address: Address, data: bytes, late: bool) -> bytes:
    """Send `data`, then the end, and return what comes back, reading at once or only when no more can be sent."""
    with address.connect() as connection:
        sent = threading.Event()

        def send() -> None:
            connection.sendall(data)
            connection.shutdown(SHUT_WR)
            sent.set()

        sending = threading.Thread(target=send)
        sending.start()
        if late:
            # What is too much for all buffers together can't be sent until somebody reads.
            sent.wait(0.2)
            time.sleep(0.02)
        received = receiveAll(connection)
        sending.join()
    return received


@pytest.mark.parametrize("reactor", REACTORS)
def test_halfCloseMatrix(tmp_path: Path, figure: Callable[[str], None], reactor: str) -> None:
    """Nothing is lost at a half-close: every size, early and late reader, TCP over IPv4 and IPv6, and Unix."""
    lost = sessions = 0
    listen = ("127.0.0.1:0", "[::1]:0", f"unix:{tmp_path}/socket")
    with Daemon.start(tmp_path, "--log-connections", listen=listen, reactor=reactor) as daemon:
        before = daemon.descriptors
        for size in SIZES:
            data = os.urandom(size)
            expected = data.upper()
            for address in daemon.addresses:
                for late in (False, True):
                    for _ in range(REPETITIONS):
                        received = exchange(address, data, late)
                        sessions += 1
                        lost += size - len(received)
                        assert received == expected
        ended = eventually(lambda: daemon.text.count("reason=done") == sessions and daemon.text)
        after = eventually(lambda: daemon.descriptors == before and before)
    figure(
        f"{sessions} sessions, {lost} bytes lost, {ended.count('reason=done')} closed, descriptors {before}, {after}"
    )


def test_shortSessions(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """Of 2000 short sessions, none is wrong."""
    with Daemon.start(tmp_path) as daemon:
        wrong = sum(daemon.address.echo(b"hello") != b"HELLO" for _ in range(2000))
    figure(f"2000 sessions, {wrong} wrong")
    assert wrong == 0


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "unix:{}/socket"])
def test_urgentByte(tmp_path: Path, listen: str) -> None:
    """An urgent byte is echoed in its place in the stream."""
    with Daemon.start(tmp_path, listen=[listen.format(tmp_path)]) as daemon, daemon.address.connect() as connection:
        connection.sendall(b"before")
        connection.send(b"!", MSG_OOB)
        connection.sendall(b"after")
        connection.shutdown(SHUT_WR)
        assert receiveAll(connection) == b"BEFORE!AFTER"


def test_urgentBytesBeforeTheServerLooks(tmp_path: Path) -> None:
    """Urgent bytes are echoed in their places even if they came before the connection was accepted."""
    with Daemon.start(tmp_path, listen=["127.0.0.1:0", "tcp:0:interface=127.0.0.1"]) as daemon:
        daemon.signal(signal.SIGSTOP)
        connections = [address.connect() for address in daemon.addresses]
        for connection in connections:
            connection.send(b"a", MSG_OOB)
            connection.send(b"b", MSG_OOB)
            connection.shutdown(SHUT_WR)
        daemon.signal(signal.SIGCONT)
        for connection in connections:
            with connection:
                assert receiveAll(connection) == b"AB"


def test_everyAddress(tmp_path: Path) -> None:
    """A port alone, and `*:PORT`, mean every address, IPv4 and IPv6 side by side."""
    with Daemon.start(tmp_path, listen=["0", "*:0"]) as daemon:
        assert [address.address[0] for address in daemon.addresses] == ["0.0.0.0", "::"] * 2  # noqa: S104
        assert [address.echo(b"hello") for address in daemon.addresses] == [b"HELLO"] * 4


def test_endpointStrings(tmp_path: Path) -> None:
    """Twisted's own endpoint strings work, and a Unix socket's options with them."""
    path = tmp_path / "socket"
    listen = ["tcp:0:interface=127.0.0.1", "tcp6:0:interface=\\:\\:1", f"unix:{path}:mode=600:lockfile=1"]
    with Daemon.start(tmp_path, listen=listen) as daemon:
        assert [address.echo(b"hello") for address in daemon.addresses] == [b"HELLO"] * 3
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.is_socket()
