"""The image is small, and serves without a writable file system and without rights."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.containers import IMAGE, Podman, answers, baseOf
from tests.support.waiting import eventually

pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]
LARGEST = 60e6
"""The most bytes of the image on top of its base. It has 48 million, and 4 more where the base has no bytecode of the
standard library. Twisted's tests, or one library's debugging information, are 14 million and more."""


@pytest.fixture
def daemon(podman: Podman) -> Iterator[str]:
    """A container of the image that answers."""
    with podman.container() as name:
        eventually(answers)
        yield name
        assertContent(podman, name)


def assertContent(podman: Podman, name: str) -> None:
    """Assert that a daemon has logged where it listens, and neither warning nor error."""
    log = podman("logs", name)
    assert "listening on" in log, log
    assert not any(word in log.lower() for word in ("warn", "error", "traceback", "fail")), log


def test_imageAddsLittleToItsBase(podman: Podman, figure: Callable[[str], None]) -> None:
    """The image is at most LARGEST bytes larger than its base."""
    size, base = (int(podman("image", "inspect", "--format={{.Size}}", each)) for each in (IMAGE, baseOf()))
    for name, seconds in podman.seconds.items():
        figure(f"{name} built in {seconds:.1f} s")
    figure(f"{size / 1e6:.0f} MB, {(size - base) / 1e6:.0f} MB of them on top of {baseOf()}")
    assert size - base <= LARGEST


def test_firstProcessHasNoRights(podman: Podman, daemon: str) -> None:
    """The first process is not root's, has no capability and can gain none."""
    status = podman("exec", daemon, "grep", "-E", "^(Uid|CapEff|NoNewPrivs)", "/proc/1/status").split()
    assert status == ["Uid:", *["10001"] * 4, "CapEff:", "0" * 16, "NoNewPrivs:", "1"]


def test_nothingIsWritable(podman: Podman, daemon: str) -> None:
    """The container can write nowhere, and the build has left nothing in /tmp."""
    assert not podman("exec", daemon, "ls", "-A", "/tmp")
    for folder in ("", "/tmp", "/opt/echoup"):
        assert "Read-only" in podman("exec", daemon, "sh", "-c", f"touch {folder}/x 2>&1", codes=[1])


def test_acceleratorRunsWithoutCompiler(podman: Podman, daemon: str) -> None:
    """The daemon upper-cases in C, and the compiler has stayed in the build."""
    assert "upper-casing in C" in podman("logs", daemon)
    podman("exec", daemon, "sh", "-c", "command -v cc || command -v gcc", codes=[1, 127])


def test_healthCheckPasses(podman: Podman, daemon: str, figure: Callable[[str], None]) -> None:
    """The image's own health check passes."""
    began = time.monotonic()
    podman("healthcheck", "run", daemon)
    figure(f"{time.monotonic() - began:.2f} s")


def test_clientOfImageProbes(podman: Podman, daemon: str) -> None:
    """The image's client gets its echo from the daemon, and exit code 4 from a port that refuses."""
    assert podman.client("connect", data=b"hello") == b"HELLO"
    podman.client("ping", "-c", "1", "127.0.0.1:1", codes=[4])


def test_daemonAnswersAfterRestart(podman: Podman, figure: Callable[[str], None]) -> None:
    """The daemon answers after its start and after a restart, and logs no warning."""
    began = time.monotonic()
    with podman.container() as name:
        eventually(answers)
        figure(f"first answer {time.monotonic() - began:.2f} s after the start, podman's part included")
        podman("restart", "-t", "15", name)
        began = time.monotonic()
        eventually(answers)
        figure(f"first answer after a restart {time.monotonic() - began:.2f} s after podman's return")
        assertContent(podman, name)


def test_stalePidfileIsIgnored(podman: Podman, tmp_path: Path) -> None:
    """The daemon starts next to a pidfile that names process 1, which exists in every container."""
    (tmp_path / "twistd.pid").write_text("1")
    tmp_path.chmod(0o755)
    with podman.container("-v", f"{tmp_path}:/work", "-w", "/work"):
        eventually(answers)
