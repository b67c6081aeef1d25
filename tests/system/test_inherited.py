"""Restarts on a listening socket that somebody else holds, as systemd does: nobody notices."""

import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from echoup.server.service import QUIET
from tests.support.addresses import Address, receiveAll
from tests.support.chance import randomBytes
from tests.support.commands import ACTIVATE, twistd
from tests.support.daemon import Daemon
from tests.support.loads import load
from tests.support.reactors import REACTORS
from tests.support.waiting import eventually

CLIENTS = 8


@contextmanager
def pauses() -> Iterator[list[float]]:
    """Note when this process has got no turn for so long that a daemon that stops may have found it quiet."""
    seen: list[float] = []
    isOver = threading.Event()

    def watch() -> None:
        before = time.monotonic()
        while not isOver.wait(0.01):
            now = time.monotonic()
            if now - before > QUIET / 2:
                seen.append(now)
            before = now

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield seen
    finally:
        isOver.set()
        watching.join()


@pytest.mark.slow
@pytest.mark.parametrize("reactor", REACTORS)
@pytest.mark.parametrize("domain", ["INET", "UNIX"])
def test_restarts(tmp_path: Path, figure: Callable[[str], None], domain: str, reactor: str) -> None:
    """Two restarts under load lose nothing: every session is exact, and a Unix socket's file and mode survive."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_INET if domain == "INET" else socket.AF_UNIX) as held:
        held.bind(("127.0.0.1", 0) if domain == "INET" else str(path))
        if domain == "UNIX":
            path.chmod(0o640)
        held.listen(4096)
        address = Address(held.family, held.getsockname())
        data = randomBytes(50_000)

        def session() -> None:
            began = time.monotonic()
            try:
                exchange()
            except AssertionError:
                time.sleep(0.1)  # for the pause to be noted
                if not any(pause > began for pause in paused):
                    raise

        def exchange() -> None:
            with address.connect() as connection:
                connection.sendall(b"hello")
                answer = connection.recv(5)
                assert answer == b"HELLO", answer
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                rest = receiveAll(connection)
                assert rest == data.upper(), len(rest)

        def start() -> Daemon:
            folder = tmp_path / f"daemon{len(daemons)}"
            folder.mkdir()
            twisted = twistd(f"--reactor={reactor}", "-n", "--pidfile=")
            command = [sys.executable, "-c", ACTIVATE, str(held.fileno()), *twisted]
            listen = [f"systemd:domain={domain}:index=0"]
            return Daemon.start(folder, "--log-connections", listen=listen, command=command, inherited=[held.fileno()])

        daemons: list[Daemon] = []
        gaps = []
        with pauses() as paused, load(session, CLIENTS) as outcomes:
            for restart in range(3):
                if restart:
                    before = time.monotonic()
                    daemons[-1].signal(signal.SIGTERM)
                    assert daemons[-1].wait() == 143
                    gaps.append(time.monotonic() - before)
                daemons.append(start())
                eventually(partial(lambda goal: len(outcomes) >= goal, len(outcomes) + 200))
        daemons[-1].stop()
        assert domain == "INET" or path.stat().st_mode & 0o777 == 0o640
        assert not any("Traceback" in daemon.text for daemon in daemons)
        shares = [len(daemon.connections) for daemon in daemons]
    failed = [outcome for outcome in outcomes if outcome]
    figure(
        f"{len(outcomes)} sessions, {shares} by each daemon, {len(failed)} failed, "
        f"stopped in {gaps[0]:.2f}, {gaps[1]:.2f} s"
    )
    assert not failed
    assert sum(shares) == len(outcomes)
