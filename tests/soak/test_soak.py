"""A year's troubles in an hour; the environment variable SOAK_SECONDS is the duration of each test.

`.ci/run` runs half a minute of it, and `SOAK_SECONDS=3600 python -m pytest -n 4 -m soak` runs all of it.
"""

import os
import re
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from fcntl import F_SETPIPE_SZ, fcntl
from pathlib import Path

import pytest

from tests.support.authorities import Certificates
from tests.support.commands import listenTLS, unmeasured
from tests.support.daemon import Daemon, foreground
from tests.support.datagrams import ports
from tests.support.sizes import MIB
from tests.support.soak import HANDSHAKE, BlockableLog, Soak
from tests.support.soakloads import Loads
from tests.support.waiting import eventually

SECONDS = float(os.environ.get("SOAK_SECONDS", "30"))
ENDS = re.compile(r"^(\S+) .*\] connection id=.* seconds=(\S+) reason=(\S+)", re.MULTILINE)
"""A log line about the end of a connection: the time, the duration and the reason."""
DROPPED = re.compile(r"dropped (\d+) lines? of the log")
SERVED = re.compile(r"served (\d+) connections?")
GROWTH = 16 * MIB
"""Bytes by which the peak memory of the second half may exceed that of the first: buffers for the load at the time."""

pytestmark = [pytest.mark.soak, pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(SECONDS + 600)]


@pytest.mark.parametrize("workers", [1, 2])
def test_troublesLoseNothing(
    tmp_path: Path, reactor: str, certificates: Certificates, workers: int, figure: Callable[[str], None]
) -> None:
    """Pauses of both ends, blocked logs, error events and killed workers lose nothing and leave nothing behind.

    No byte is wrong. No probe, transfer or connection fails without a true reason. The log has no traceback, and a line
    for each connection or a notice about missing lines. Descriptors and memory don't grow.
    """
    readable, writable = os.pipe()
    fcntl(writable, F_SETPIPE_SZ, 4096)
    listen = ["127.0.0.1:0", f"unix:{tmp_path}/socket", listenTLS(certificates.server), "[::1]:0"]
    command = [
        *foreground(reactor),
        "echoup",
        *(f"--listen={description}" for description in listen),
        "--udp=127.0.0.1:0",
        "--proxy-from=::1/128",
        f"--workers={workers}",
        "--log-connections",
        f"--handshake-timeout={HANDSHAKE}",
    ]
    path = tmp_path / "log"
    path.touch()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=writable, stderr=writable, env=unmeasured()
    ) as process:
        os.close(writable)
        log = BlockableLog(readable, path)
        daemon = Daemon(process, path)
        try:
            eventually(lambda: len(daemon.addresses) == len(listen) and ports(daemon) and daemon.isRunning)
            soak = Soak(daemon, log, tmp_path)
            tcp, unix, tls, proxied = daemon.addresses
            _endure(soak, Loads(tcp, unix, tls, proxied, ports(daemon)[0], certificates))
            assert daemon.stop() == 143
        finally:
            daemon.kill()
            log.end()
    _checkLog(soak)
    figure(", ".join(f"{count} {name}" for name, count in sorted(soak.counts.items())))
    assert not soak.faults, "\n".join(soak.faults)


def _checkLog(soak: Soak) -> None:
    """Check that the log has no traceback, only true reasons, and a line for each connection or a notice."""
    text = soak.daemon.text
    for line in re.findall(r"^(\S+) .*(?:Traceback|Unhandled).*", text, re.MULTILINE):
        soak.faults.append(f"{line} in {soak.daemon.log}")
    for at, seconds, reason in ENDS.findall(text):
        ended = datetime.fromisoformat(at).timestamp()
        soak.checkEnd(reason, ended - float(seconds), ended)
    dropped = soak.counts["dropped lines"] = sum(map(int, DROPPED.findall(text)))
    (served,) = map(int, SERVED.findall(text))
    if served > len(ENDS.findall(text)) + dropped and not soak.counts["kills"]:  # killed workers take lines with them
        soak.faults.append(f"the log lacks lines of {served} connections, and doesn't say so")


def _endure(soak: Soak, loads: Loads) -> None:
    """Apply all loads and troubles for SECONDS, and compare the daemon afterwards with what it was."""
    for pid in soak.servers:  # uvloop opens some descriptors before its first wait
        eventually(lambda: "poll" in Path(f"/proc/{pid}/wchan").read_text())  # noqa: B023
    before = soak.files
    loads.begin(soak)
    for trouble in (soak.pauseServer, soak.pauseClient, soak.blockLog):
        soak.repeat(trouble, 5)
    if soak.workers:
        soak.repeat(soak.killWorker, 20)
    sizes = []
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and not soak.faults:
        time.sleep(1)
        sizes.append(soak.memory)
    soak.end()
    with suppress(AssertionError):
        eventually(lambda: soak.files == before)
    if (after := soak.files) != before:
        soak.faults.append(f"descriptors that stayed: {after - before}, that are missing: {before - after}")
    half = len(sizes) // 2
    most, later = max(sizes[:half]), max(sizes[half:])
    soak.counts["MiB of memory"] = later // MIB
    if later > most + GROWTH:
        soak.faults.append(f"memory grew from {most} to {later} bytes")
