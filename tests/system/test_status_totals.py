"""The metrics of a daemon after mixed sessions are what its clients have counted themselves, to the byte.

STATUS_SESSIONS is the number of sessions: a few hundred in a normal run, and 10 000 in `.ci/run --all`.
"""

import os
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from socket import socket

import pytest

from tests.support.addresses import receiveAll
from tests.support.authorities import Certificates
from tests.support.daemon import Daemon, childrenOf
from tests.support.sessions import BROKEN, PER_PEER, PLAIN, PROXY, RATE, STALLS, TLS, UDP, Clients, start
from tests.support.status import Series, StatusSite
from tests.support.waiting import eventually
from tests.support.ways import HEADERS

pytestmark = pytest.mark.usefixtures("reactor")

SESSIONS = int(os.environ.get("STATUS_SESSIONS", "300"))
CLIENTS = 8
"""Sessions at a time."""

STALL = "1"
SIZES = (0, 1, 64, 1000, 16_384, 32_768)
"""Bytes of a session: the buffers of both kernels hold all of them, so no session stalls while its client waits for a
processor."""

TOTALS = tuple(
    f"echoup_{name}"
    for name in (
        "connections_opened_total",
        "connections_open",
        "connections_closed_total",
        "connections_refused_total",
        "tls_handshakes_total",
        "proxy_headers_total",
        "received_bytes_total",
        "sent_bytes_total",
        "datagrams_received_total",
        "datagrams_answered_total",
        "datagrams_dropped_total",
    )
)
BOUNDED = {(f"echoup_{name}_bytes_total", listener) for name in ("received", "sent") for listener in (STALLS, BROKEN)}
"""The metrics and listeners of which the clients know only bounds, because they don't read, or reset amid data."""


@pytest.mark.slow
def test_totalsAreWhatTheClientsCounted(
    tmp_path: Path, certificates: Certificates, figure: Callable[[str], None]
) -> None:
    """After mixed sessions, with some refused, reset and stalled, and with a worker killed, every total is exact."""
    options = (
        "--workers=2",
        f"--max-connections-per-peer={PER_PEER}",
        f"--udp-rate={RATE}",
        f"--stall-timeout={STALL}",
    )
    with start(tmp_path, certificates, *options) as daemon, ExitStack() as opened:
        site, clients = StatusSite.of(daemon), Clients(daemon, certificates, tmp_path)
        _checkZeros(site)
        for _ in range(10):
            opened.enter_context(clients.stall())
        clients.overRate()
        kinds = clients.kinds
        with ThreadPoolExecutor(CLIENTS) as pool:
            sizes = [SIZES[number // len(kinds) % len(SIZES)] for number in range(SESSIONS)]
            sessions = [pool.submit(kinds[number % len(kinds)], size) for number, size in enumerate(sizes)]
            for session in sessions:
                session.result()
        held = [opened.enter_context(connection) for connection in clients.crowd()]
        open_ = {("echoup_connections_open", frozenset({("listener", PLAIN)})): len(held)}
        _equal(site, clients, Counter(open_))
        killed = _killWorker(daemon, held)
        clients.tally.add("connections_closed", killed, listener=PLAIN, reason="killed")
        for connection in held:
            connection.close()
        clients.tally.add("connections_closed", len(held) - killed, listener=PLAIN, reason="done")
        _equal(site, clients, Counter())
        scrape = site.scrape()
    figure(
        f"{SESSIONS} sessions and {len(clients.tally.counts)} series: every total exact; {killed} connections killed"
    )
    assert 0 < killed < len(held)
    assert scrape["echoup_worker_restarts_total"] == 1
    observed = scrape.sum("echoup_connections_closed_total") - 10 - killed  # 10 were refused
    for name in ("duration_seconds", "received_bytes"):
        assert scrape[f"echoup_connection_{name}_count"] == observed
    streams = scrape.sum("echoup_received_bytes_total") - scrape.value("echoup_received_bytes_total", listener=UDP)
    assert scrape["echoup_connection_received_bytes_sum"] == streams - 5 * killed


def test_timeoutsAreWhatTheClientsCounted(tmp_path: Path, certificates: Certificates) -> None:
    """Idle connections, and PROXY headers and TLS handshakes that take too long, are counted exactly."""
    with (
        start(tmp_path, certificates, "--idle-timeout=0.5", "--handshake-timeout=0.5") as daemon,
        ExitStack() as opened,
    ):
        site, clients = StatusSite.of(daemon), Clients(daemon, certificates, tmp_path)
        header = replace(clients.addresses[TLS], header=HEADERS["PROXY v1"], source=PROXY)
        kinds = {
            "idle": (clients.addresses[PLAIN], b"hello"),
            "header": (replace(clients.addresses[PLAIN], source=PROXY), b"PROXY TCP4 "),
            "hello": (clients.addresses[TLS], b""),
            "both": (header, b"\x16\x03\x01"),
        }
        daemon.signal(signal.SIGSTOP)  # so all of it is there when the daemon accepts
        connections = []
        for kind, (address, data) in [*kinds.items()] * 5:
            connection = opened.enter_context(address.connect())
            connection.sendall(data)
            connections.append((kind, connection))
        daemon.signal(signal.SIGCONT)
        for kind, connection in connections:
            if kind == "idle":
                assert receiveAll(connection) == b"HELLO"
                connection.close()
                clients.tally.connection(PLAIN, "idle", 5)
            else:
                clients.end(connection)
                clients.tally.connection(PLAIN if kind == "header" else TLS, "handshake")
            if kind == "header":
                clients.tally.header(PLAIN, "unknown", "timeout")
            if kind == "both":
                clients.tally.header(TLS, "1", "ok")
            if kind in ("hello", "both"):
                clients.tally.handshake(TLS, "unknown", "timeout")
        _equal(site, clients, Counter())


def _checkZeros(site: StatusSite) -> None:
    """Require that every total is there from the start, and 0."""
    scrape = site.scrape()
    assert {name for name, _ in scrape.samples} >= set(TOTALS)
    assert not scrape.counts(TOTALS)


def _killWorker(daemon: Daemon, held: list[socket]) -> int:
    """Kill a worker, and return how many of the `held` connections end with it."""
    before = childrenOf(daemon.pid)
    os.kill(before[0], signal.SIGKILL)
    eventually(lambda: len(after := childrenOf(daemon.pid)) == len(before) and before[0] not in after)
    return sum(_isEnded(connection) for connection in held)


def _isEnded(connection: socket) -> bool:
    """Return whether the daemon doesn't echo on a connection any more; nothing is sent that it would count."""
    connection.setblocking(False)
    try:
        return not connection.recv(1)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def _equal(site: StatusSite, clients: Clients, others: "Counter[Series]") -> None:
    """Require that the totals become what the clients have counted, and the `others`, and nothing else."""
    tally = clients.tally
    expected = +(tally.counts + others)

    def compare() -> "tuple[Counter[Series], Counter[Series]]":
        found = site.scrape().counts(TOTALS)
        for name, listener in BOUNDED:
            found.pop((name, frozenset({("listener", listener)})), None)
        return found - expected, expected - found

    with suppress(AssertionError):
        eventually(lambda: compare() == (Counter(), Counter()), 20)
    more, fewer = compare()
    assert not more, f"counted too often: {more}"
    assert not fewer, f"not counted: {fewer}"
    scrape = site.scrape()
    for listener, most in tally.most.items():
        received = scrape.value("echoup_received_bytes_total", listener=listener)
        sent = scrape.value("echoup_sent_bytes_total", listener=listener)
        assert 0 < sent <= received <= most, listener
    received = scrape.value("echoup_received_bytes_total", listener=STALLS)
    assert received == tally.most[STALLS], "what was sent before a stall was read"
