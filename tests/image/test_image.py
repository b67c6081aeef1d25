"""What the image is, and that it serves with nothing to write to and no rights."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.containers import IMAGE, Podman, answers, baseOf
from tests.support.waiting import eventually

pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]
LARGEST = 60e6
"""Bytes that the image may have beside its base. It has 48 million, and 4 more where the base has no bytecode of the
standard library. Twisted's tests, or debugging information of one library, are 14 million and more."""


@pytest.fixture
def daemon(podman: Podman) -> Iterator[str]:
    """A container of the image that answers."""
    with podman.container() as name:
        eventually(answers)
        yield name
        assertContent(podman, name)


def assertContent(podman: Podman, name: str) -> None:
    """Assert that a daemon has told where it listens, and nothing that it would complain about."""
    log = podman("logs", name)
    assert "listening on" in log, log
    assert not any(word in log.lower() for word in ("warn", "error", "traceback", "fail")), log


def test_size(podman: Podman, figure: Callable[[str], None]) -> None:
    """It's small beside the image that it is made from."""
    size, base = (int(podman("image", "inspect", "--format={{.Size}}", each)) for each in (IMAGE, baseOf()))
    for name, seconds in podman.seconds.items():
        figure(f"{name} built in {seconds:.1f} s")
    figure(f"{size / 1e6:.0f} MB, {(size - base) / 1e6:.0f} MB of them beside {baseOf()}")
    assert size - base <= LARGEST


def test_unprivileged(podman: Podman, daemon: str) -> None:
    """Its first process is not root's, has no capability and can get none."""
    status = podman("exec", daemon, "grep", "-E", "^(Uid|CapEff|NoNewPrivs)", "/proc/1/status").split()
    assert status == ["Uid:", *["10001"] * 4, "CapEff:", "0" * 16, "NoNewPrivs:", "1"]


def test_readOnly(podman: Podman, daemon: str) -> None:
    """It can write nowhere, and there is no leftover of the build in /tmp, which might be in somebody's way."""
    assert not podman("exec", daemon, "ls", "-A", "/tmp")
    for folder in ("", "/tmp", "/opt/echoup"):
        assert "Read-only" in podman("exec", daemon, "sh", "-c", f"touch {folder}/x 2>&1", codes=[1])


def test_isHealthy(podman: Podman, daemon: str, figure: Callable[[str], None]) -> None:
    """The image's own health check passes."""
    began = time.monotonic()
    podman("healthcheck", "run", daemon)
    figure(f"{time.monotonic() - began:.2f} s")


def test_client(podman: Podman, daemon: str) -> None:
    """The image's client talks to it, and tells that nobody is at another port."""
    assert podman.client("connect", data=b"hello") == b"HELLO"
    podman.client("ping", "-c", "1", "127.0.0.1:1", codes=[4])


def test_restarts(podman: Podman, figure: Callable[[str], None]) -> None:
    """It answers soon after its start, answers again after a restart, and has nothing to complain about."""
    began = time.monotonic()
    with podman.container() as name:
        eventually(answers)
        figure(f"first answer {time.monotonic() - began:.2f} s after the start, podman's part included")
        podman("restart", "-t", "15", name)
        began = time.monotonic()
        eventually(answers)
        figure(f"first answer after a restart {time.monotonic() - began:.2f} s after podman's return")
        assertContent(podman, name)


def test_stalePidfile(podman: Podman, tmp_path: Path) -> None:
    """It starts beside the pidfile of a daemon that would think that it runs already, as process 1 does."""
    (tmp_path / "twistd.pid").write_text("1")
    tmp_path.chmod(0o755)
    with podman.container("-v", f"{tmp_path}:/work", "-w", "/work"):
        eventually(answers)
