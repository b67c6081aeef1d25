"""Readiness as a balancer uses it: full, then room; and a stop behind haproxy that no client notices."""

import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.addresses import Address, unused
from tests.support.daemon import Daemon
from tests.support.loads import load
from tests.support.peers import need, running
from tests.support.status import StatusSite
from tests.support.waiting import eventually, waited

pytestmark = pytest.mark.slow

HAPROXY = """
global
    maxconn 200
    nbthread 1
    log stdout format raw local0 notice
defaults
    mode tcp
    log global
    retries 0
    timeout connect 60s
    timeout client 60s
    timeout server 60s
    timeout check 60s
frontend in
    bind {address}
    default_backend out
backend out
    balance roundrobin
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost
    http-check expect status 200
    default-server check inter 500ms fall 2 rise 1
"""
"""A balancer that tries nothing twice, so that a client notices each connection that fails."""


@pytest.mark.parametrize("workers", [(), ("--workers=2",)], ids=["one process", "two workers"])
def test_fullIsNotReadyUntilThereIsRoom(
    tmp_path: Path, workers: tuple[str, ...], figure: Callable[[str], None]
) -> None:
    """A daemon that was full for 3 s isn't ready within 4 s, and is again with room; the log has a line for each."""
    with Daemon.start(tmp_path, "--status=0", "--max-connections=3", *workers) as daemon, ExitStack() as opened:
        site = StatusSite.of(daemon)
        eventually(lambda: site.isReady)
        began = time.monotonic()
        connections = [opened.enter_context(daemon.address.connect()) for _ in range(3)]
        for connection in connections:
            connection.sendall(b"hello")
            assert connection.recv(5) == b"HELLO"
        full, starved = time.monotonic(), waited() + daemon.waited
        answer = eventually(lambda: (found := site.ask("/readyz")).code == 503 and found)
        now = time.monotonic()
        took = now - full - (waited() + daemon.waited - starved)
        assert now - began > 3
        assert site.ask("/livez").code == 200
        verbose = site.ask("/readyz?verbose").body.splitlines()
        for connection in connections:
            connection.sendall(b"hello")
            assert connection.recv(5) == b"HELLO"
        connections[0].close()
        eventually(lambda: site.isReady)
        again = site.ask("/readyz?verbose").body.splitlines()
    figure(f"not ready {took:.2f} s after the last place was taken: {answer.body.strip()}")
    assert re.fullmatch(r"full: 3 connections for \d s\n", answer.body)
    assert took < 4
    assert [line for line in verbose if re.fullmatch(r"\[-\] full: 3 connections for \d s", line)]
    assert "[+] full ok" in again
    lines = re.findall(r"\] (full|room again): ", daemon.textBeforeStop)
    assert lines == ["full", "room again"]


@contextmanager
def haproxy(folder: Path, daemons: dict[Address, StatusSite]) -> Iterator[Address]:
    """Run haproxy in front of daemons, and yield its address; it asks their sites whether they are ready."""
    address = unused()
    configuration = folder / "haproxy.cfg"
    servers = [
        f"    server {number} {echo.target} port {site.address.address[1]}\n"
        for number, (echo, site) in enumerate(daemons.items())
    ]
    configuration.write_text(HAPROXY.format(address=address.target) + "".join(servers))
    command = [need("haproxy"), "-f", str(configuration)]
    checked = subprocess.run([*command, "-c"], capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stderr
    with running([*command, "-db"], address, folder / "haproxy.log"):
        yield address


@pytest.mark.usefixtures("reactor")
def test_noExchangeFailsWhileOneOfTwoStops(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """Behind haproxy, which asks for readiness, one of two daemons stops under load, and no exchange fails."""
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    with ExitStack() as stack:
        daemons = [
            stack.enter_context(Daemon.start(folder, "--status=0", "--ready-delay=3", "--log-connections"))
            for folder in folders
        ]
        sites = {daemon.address: StatusSite.of(daemon) for daemon in daemons}
        address = stack.enter_context(haproxy(tmp_path, sites))

        def exchange() -> None:
            assert address.echo(b"hello") == b"HELLO"
            time.sleep(0.002)

        with load(exchange, 4) as outcomes:
            eventually(lambda: all(daemon.connections for daemon in daemons))
            daemons[0].signal(signal.SIGTERM)
            answer = eventually(lambda: (found := sites[daemons[0].address].ask("/readyz")).code == 503 and found)
            code = daemons[0].wait()
            before = len(outcomes)
            eventually(lambda: len(outcomes) > before + 100)
        served = [len(daemon.connections) for daemon in daemons]
    failed = [outcome for outcome in outcomes if outcome]
    figure(f"{len(failed)} of {len(outcomes)} exchanges failed while one of two daemons stopped, served {served}")
    assert not failed
    assert code == 143
    assert answer.body.startswith("draining: ")
    assert "Server out/0 is DOWN" in (tmp_path / "haproxy.log").read_text()
