"""Restarts on a listening socket that another process holds, as systemd does, lose nothing."""

import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from echoup.server.connections import QUIET
from tests.support.addresses import Address, receiveAll
from tests.support.chance import randomBytes
from tests.support.commands import ACTIVATE
from tests.support.daemon import Daemon, foreground
from tests.support.loads import load
from tests.support.sockets import multipath
from tests.support.waiting import eventually, waited

pytestmark = pytest.mark.usefixtures("reactor")

CLIENTS = 8


@pytest.mark.slow
@pytest.mark.parametrize("domain", ["INET", "UNIX"])
def test_restartsLoseNothing(tmp_path: Path, figure: Callable[[str], None], domain: str) -> None:
    """Two restarts under load lose nothing: every session is exact, and a Unix socket keeps its file and mode."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_INET if domain == "INET" else socket.AF_UNIX) as held, ExitStack() as opened:
        held.bind(("127.0.0.1", 0) if domain == "INET" else str(path))
        if domain == "UNIX":
            path.chmod(0o640)
        held.listen(4096)
        address = Address(held.family, held.getsockname())
        data = randomBytes(50_000)

        def session() -> None:
            before, rest = waited(), b""
            with address.connect() as connection:
                connection.sendall(b"hello")
                if answer := connection.recv(5):
                    connection.sendall(data)
                    connection.shutdown(socket.SHUT_WR)
                    rest = receiveAll(connection)
            assert answer in (b"", b"HELLO")
            assert data.upper().startswith(rest)
            if len(rest) < len(data):
                lateness = waited() - before
                assert lateness > QUIET - 0.1, f"{len(rest)} bytes, after {lateness} s without a turn"
                late.append(lateness)  # long enough for a stop to find it quiet

        def start() -> Daemon:
            folder = tmp_path / f"daemon{len(daemons)}"
            folder.mkdir()
            command = [sys.executable, "-c", ACTIVATE, str(held.fileno()), *foreground()]
            listen = [f"systemd:domain={domain}:index=0"]
            return opened.enter_context(
                Daemon.start(folder, "--log-connections", listen=listen, command=command, inherited=[held.fileno()])
            )

        daemons: list[Daemon] = []
        gaps, late = [], list[float]()
        with load(session, CLIENTS) as outcomes:
            for restart in range(3):
                if restart:
                    before = time.monotonic()
                    daemons[-1].signal(signal.SIGTERM)
                    assert daemons[-1].wait(60) == 143
                    gaps.append(time.monotonic() - before)
                daemons.append(start())
                eventually(partial(lambda goal: len(outcomes) >= goal, len(outcomes) + 200))
        daemons[-1].stop()
        assert domain == "INET" or path.stat().st_mode & 0o777 == 0o640
        shares = [len(daemon.connections) for daemon in daemons]
    failed = [outcome for outcome in outcomes if outcome]
    figure(
        f"{len(outcomes)} sessions, {shares} by each daemon, {len(failed)} failed, {len(late)} cut for lack of turns, "
        f"stopped in {gaps[0]:.2f}, {gaps[1]:.2f} s"
    )
    assert not failed
    assert len(late) <= 2 * CLIENTS  # one for each client at each of the two restarts
    assert sum(shares) == len(outcomes)


@pytest.mark.parametrize("workers", [1, 2])
def test_multipathSocketIsServed(tmp_path: Path, workers: int) -> None:
    """On a systemd socket of MPTCP clients of both protocols are served, and it is said once what isn't promised."""
    with multipath(socket.AF_INET) as held:
        held.bind(("127.0.0.1", 0))
        held.listen(4096)
        command = [sys.executable, "-c", ACTIVATE, str(held.fileno()), *foreground()]
        listen = ["systemd:domain=INET:index=0"]
        options = [f"--workers={workers}", "--max-connections=100"]  # as many as every reactor can serve
        with Daemon.start(tmp_path, *options, listen=listen, command=command, inherited=[held.fileno()]) as daemon:
            data = randomBytes(200_000)
            for client in (socket.socket(), multipath(socket.AF_INET)):
                with client:
                    client.settimeout(30)
                    client.connect(held.getsockname())
                    client.send(b"a")
                    assert client.recv(1) == b"A"
                    client.send(b"b", socket.MSG_OOB)
                    client.sendall(data)
                    client.shutdown(socket.SHUT_WR)
                    assert receiveAll(client) == b"B" + data.upper()
            assert daemon.stop() == 143
            warnings = [line for line in daemon.text.splitlines() if "#warn]" in line]
            said = "{}:{} is MPTCP: ".format(*held.getsockname())
            assert [said in line for line in warnings] == [True]


def test_clientOfTwoFamiliesIsOne(tmp_path: Path) -> None:
    """On a socket for both families a client of IPv4 is the same as on one of IPv4: to limits, networks and log."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as held:
        command = [sys.executable, "-c", ACTIVATE, str(held.fileno()), *foreground()]
        both = Address(socket.AF_INET, ("127.0.0.1", held.getsockname()[1]))
        with Daemon.start(
            tmp_path,
            "--max-connections-per-peer=1",
            "--log-connections",
            "--proxy-from=::ffff:127.0.0.2",
            listen=["systemd:domain=INET6:index=0", "[::ffff:127.0.0.1]:0"],
            command=command,
            inherited=[held.fileno()],
        ) as daemon:
            _, only = daemon.addresses
            assert only.address[0] == "127.0.0.1"
            with both.connect() as first:
                first.sendall(b"hello")
                assert first.recv(5) == b"HELLO"
                # A refusal may come before connect(2) returns.
                with suppress(ConnectionResetError), only.connect() as second:
                    assert second.recv(5) == b""
                header = b"PROXY TCP6 ::ffff:127.0.0.1 ::1 7 8\r\n"
                with (
                    suppress(ConnectionResetError),
                    replace(both, source="127.0.0.2", header=header).connect() as third,
                ):
                    third.sendall(b"hello")
                    assert third.recv(5) == b""
                first.shutdown(socket.SHUT_WR)
                assert receiveAll(first) == b""
            eventually(lambda: len(daemon.connections) == 3)
            header = b"PROXY TCP6 ::ffff:192.0.2.7 ::1 7 8\r\n"
            assert replace(both, source="127.0.0.2", header=header).echo(b"hello") == b"HELLO"
            lines = eventually(lambda: len(daemon.connections) == 4 and daemon.connections)
            hosts = [(line["peer"].rpartition(":")[0], line["reason"]) for line in lines]
            assert hosts == [*[("127.0.0.1", "refused")] * 2, ("127.0.0.1", "done"), ("192.0.2.7", "done")]
            assert [line["via"].rpartition(":")[0] for line in (lines[1], lines[3])] == ["127.0.0.2"] * 2
