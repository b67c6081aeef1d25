"""The promise Nobody is cut unjustly, when somebody sets the clock."""

import sys
import time
from pathlib import Path
from socket import SHUT_WR

import pytest

from tests.support.addresses import receiveAll
from tests.support.daemon import Daemon
from tests.support.loads import isCut, offer
from tests.support.sizes import MIB
from tests.support.waiting import eventually


@pytest.mark.parametrize("reactor", ["epoll", "asyncio"])
@pytest.mark.parametrize("step", [3600, -3600])
def test_wallClockSteps(tmp_path: Path, step: int, reactor: str) -> None:
    """When the wall clock is stepped by an hour, nobody is cut, and whoever stalls is still cut in time."""
    file = tmp_path / "step"
    with Daemon.start(
        tmp_path,
        "--idle-timeout=60",
        "--stall-timeout=3",
        "--drain-timeout=2",
        "--log-connections",
        command=[sys.executable, "-m", "tests.support.stepping", f"--reactor={reactor}", "-n", "--pidfile="],
        environment={"WALL_CLOCK_STEP": str(file)},
    ) as daemon:
        with daemon.address.connect() as idle, daemon.address.connect() as never:
            idle.sendall(b"hello")
            assert idle.recv(5) == b"HELLO"
            offer(never, 600 * MIB, 0.3)
            file.write_text(str(step))
            stepped = time.monotonic()
            time.sleep(1)
            assert not isCut(never)
            eventually(lambda: isCut(never))
            assert time.monotonic() - stepped > 1.5
            idle.sendall(b"again")
            idle.shutdown(SHUT_WR)
            assert receiveAll(idle) == b"AGAIN"
        assert "reason=stalled" in daemon.text
        began = time.monotonic()
        daemon.stop()
        assert time.monotonic() - began < 3
