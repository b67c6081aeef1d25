"""Timeouts and the stop, when the wall clock is set."""

import signal
import sys
import time
from pathlib import Path
from socket import SHUT_WR

import pytest

from tests.support.addresses import receiveAll
from tests.support.daemon import Daemon
from tests.support.loads import Growth, isCut, offer
from tests.support.sizes import MIB
from tests.support.waiting import eventually


@pytest.mark.parametrize("reactor", ["epoll", "asyncio"])
@pytest.mark.parametrize("step", [3600, -3600])
def test_wallClockStepChangesNoTimeout(tmp_path: Path, step: int, reactor: str) -> None:
    """A step of the wall clock by an hour neither cuts a connection early nor delays a cut or the stop."""
    file = tmp_path / "step"
    with Daemon.start(
        tmp_path,
        "--idle-timeout=600",
        "--stall-timeout=3",
        "--drain-timeout=600",
        "--log-connections",
        command=[sys.executable, "-m", "tests.support.stepping", f"--reactor={reactor}", "-n", "--pidfile="],
        environment={"WALL_CLOCK_STEP": str(file)},
    ) as daemon:
        with daemon.address.connect() as idle, daemon.address.connect() as never:
            idle.sendall(b"hello")
            assert idle.recv(5) == b"HELLO"
            growth = Growth(never)
            offer(never, 600 * MIB, 0.3, growth.look)
            growth.look()
            file.write_text(str(step))
            eventually(lambda: isCut(never))
            assert time.monotonic() - growth.before >= 2.9
            idle.sendall(b"again")
            idle.shutdown(SHUT_WR)
            assert receiveAll(idle) == b"AGAIN"
        eventually(lambda: "reason=stalled" in daemon.text)
        with daemon.address.connect() as quiet:
            daemon.signal(signal.SIGTERM)
            assert receiveAll(quiet) == b""
        assert daemon.wait(60) == 143
