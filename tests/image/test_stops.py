"""SIGTERM ends a container at any time, long before the deadline of the drain, and loses nothing."""

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread

import pytest

from tests.support.chance import randomBytes
from tests.support.containers import Podman, answers
from tests.support.waiting import eventually

pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]
CLIENTS = 50
SIZE = 2**20
PATIENT = ["-e", "ECHOUP_DRAIN_TIMEOUT=86400"]
"""A stop that waits for this deadline outlasts the test."""
ENDED = {0, 143}
"""The exit codes of a stop: of the daemon, or of the signal before the daemon runs."""


def stop(podman: Podman, name: str, figure: Callable[[str], None]) -> None:
    """Send SIGTERM, and wait for the end."""
    began = time.monotonic()
    podman("kill", "--signal=TERM", name)
    code = podman.exitCode(name)
    figure(f"exit code {code} after {time.monotonic() - began:.2f} s")
    assert code in ENDED


@pytest.mark.parametrize("delay", [0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6])
def test_signalDuringStartEndsContainer(podman: Podman, delay: float, figure: Callable[[str], None]) -> None:
    """A signal that comes `delay` seconds after podman has started the container ends it."""
    with podman.container(*PATIENT) as name:
        time.sleep(delay)
        stop(podman, name, figure)


def test_signalUnderLoadLosesNothing(podman: Podman, figure: Callable[[str], None]) -> None:
    """Clients that have read a part of their echo when the signal comes get all of it."""
    sent = [randomBytes(SIZE) for _ in range(CLIENTS)]
    together = Barrier(CLIENTS + 1, timeout=60)
    with podman.container(*PATIENT) as name, ThreadPoolExecutor(CLIENTS) as pool:
        eventually(answers)
        sessions = [pool.submit(session, data, together) for data in sent]
        together.wait()
        assert not any(each.done() for each in sessions), "there is no load"
        stop(podman, name, figure)
        received = [each.result() for each in sessions]
    figure(f"{sum(map(len, received))} bytes of {CLIENTS * SIZE} came back to {CLIENTS} clients")
    assert all(back == data.upper() for data, back in zip(sent, received, strict=True))


def session(data: bytes, together: Barrier) -> bytes:
    """Send `data` and the end, read what comes back, slowly once all sessions have read a part, and return it."""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", 8081), 30) as connection:

        def send() -> None:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)

        sender = Thread(target=send)
        sender.start()
        received += connection.recv(32768)
        together.wait()
        while chunk := connection.recv(32768):
            received += chunk
            time.sleep(0.05)
        sender.join()
    return bytes(received)
