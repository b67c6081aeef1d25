"""The status site of the real daemon: where it listens, that nothing else suffers from its clients."""

import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.addresses import Address
from tests.support.authorities import TLS_1_3, Certificates
from tests.support.commands import twistd
from tests.support.daemon import Daemon, childrenOf, foreground
from tests.support.datagrams import ports
from tests.support.ending import endingDaemon
from tests.support.live import living
from tests.support.loads import load
from tests.support.peers import need
from tests.support.status import OPEN_METRICS, Scrape, StatusSite
from tests.support.tls import TLSConnection
from tests.support.waiting import eventually, waited

HOSTILE = (
    "127.0.0.1.attacker.example",
    "attacker.example",
    "localhost.attacker.example",
    "attacker.example:80",
    "127.0.0.1@attacker.example",
    "attacker.example/127.0.0.1",
    "127.0.0.1, attacker.example",
    "localhost attacker.example",
    "10.0.0.1",
    "0x7f.1",
    "2130706433",
    "127.1",
    "[::1",
    "[::1]attacker.example",
    "127.0.0.1:80:80",
    "127.0.0.1:x",
    "localhost\x00",
    "lоcalhost",
    "",
)
"""Values of the Host header that are none of our names; most begin or end with one."""
FORMS = {
    "0": r"http://127\.0\.0\.1:\d+",
    "127.0.0.1:0": r"http://127\.0\.0\.1:\d+",
    "[::1]:0": r"http://\[::1\]:\d+",
    "unix:{folder}/status": r"unix:\S+/status",
}
"""Values of --status, and how the log says them."""
PATHS = ("/livez", "/readyz", "/readyz?verbose", "/metrics", "/api/status", "/api/connections")
LAZY = ("twisted.web", "prometheus_client")
"""What only the status site needs."""


@pytest.mark.parametrize("form", FORMS)
def test_everyFormOfAddressAnswers(tmp_path: Path, form: str) -> None:
    """The site answers all its paths on every form of address, by GET and HEAD, and the log says where it is."""
    with Daemon.start(tmp_path, f"--status={form.format(folder=tmp_path)}") as daemon:
        site = StatusSite.of(daemon)
        assert re.search(rf"\] status site on {FORMS[form]}\n", daemon.text)
        for path in PATHS:
            answer, head = site.ask(path), site.ask(path, "HEAD")
            assert (answer.code, head.code, head.body) == (200, 200, ""), path
            assert answer.headers["connection"] == "close"
        assert site.ask("/livez").body.strip() == "ok"
        assert site.ask("/nothing").code == 404
        assert site.ask("/readyz", "POST").code == 405
        assert daemon.address.echo(b"hello") == b"HELLO"


@pytest.mark.parametrize("options", [(), ("--workers=2",)], ids=["one process", "two workers"])
def test_scrapeUnderLoadIsClean(
    tmp_path: Path, certificates: Certificates, options: tuple[str, ...], figure: Callable[[str], None]
) -> None:
    """Under load, promtool finds nothing wrong with a scrape, and OpenMetrics has the same series."""
    promtool = need("promtool", "prometheus")
    listen, udp = ("127.0.0.1:0", "tls:127.0.0.1:0"), "--udp=127.0.0.1:0"
    with Daemon.start(
        tmp_path, "--status=0", udp, f"--tls-cert={certificates.server}", *options, listen=listen
    ) as daemon:
        site, context = StatusSite.of(daemon), certificates.context(TLS_1_3)

        def session() -> None:
            assert daemon.address.echo(b"hello" * 1000) == b"HELLO" * 1000
            with TLSConnection.to(daemon.addresses[1], context) as tls:
                assert tls.ask(b"hello") == b"HELLO"

        with load(session, 3) as outcomes:
            eventually(lambda: len(outcomes) > 10)
            text, opened = site.ask("/metrics"), site.ask("/metrics", Accept=OPEN_METRICS)
        checked = subprocess.run(
            [promtool, "check", "metrics"], input=text.body, capture_output=True, text=True, timeout=60, check=False
        )
    assert not [outcome for outcome in outcomes if outcome]
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    assert text.headers["content-type"].startswith("text/plain; version=")
    assert opened.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    plain, other = Scrape.of(text.body), Scrape.of(opened.body, isOpen=True)
    assert {series for series in plain.samples if not series[0].endswith("_created")} <= other.samples.keys()
    assert plain.sum("echoup_connections_opened_total") > 10
    assert ports(daemon)
    figure(f"{len(plain.samples)} series, {len(text.body)} bytes")


def test_hostileHostsAreRefused(tmp_path: Path) -> None:
    """Only an address of ours, localhost and the names of --status-host, each compared whole, are answered."""
    with Daemon.start(tmp_path, "--status=0", "--status-host=echo.example") as daemon:
        site = StatusSite.of(daemon)
        port = site.address.address[1]
        for host in HOSTILE:
            for path in PATHS:
                answer = site.ask(path, Host=host)
                assert 400 <= answer.code < 500, (host, path)
                assert "attacker" not in answer.body + str(answer.headers)
        for host in ("127.0.0.1", "localhost", "LOCALHOST", "echo.example", "Echo.Example"):
            assert site.ask("/readyz", Host=host).code == 200, host
            assert site.ask("/readyz", Host=f"{host}:{port}").code == 200, host


@pytest.mark.usefixtures("manyConnections")
def test_idleAndSlowClientsDisturbNobody(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """A thousand idle clients of the site and some that send a byte at a time keep nobody from an answer."""
    with Daemon.start(tmp_path, "--status=0", "--max-connections=10") as daemon, ExitStack() as opened:
        site, before = StatusSite.of(daemon), daemon.descriptors
        done = threading.Event()
        slow = [opened.enter_context(site.address.connect()) for _ in range(20)]

        def trickle() -> None:
            for byte in b"GET /readyz HTTP/1.1\r\nX: " + b"x" * 100_000:
                for connection in slow:
                    with suppress(OSError):
                        connection.send(bytes([byte]))
                if done.wait(0.01):
                    break

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            with living(daemon.address) as latency:
                for _ in range(1000):
                    opened.enter_context(site.address.connect())
                most = daemon.descriptors - before
                codes = [site.ask("/readyz").code for _ in range(20)]
                scrape = eventually(lambda: (found := site.scrape()).sum("echoup_received_bytes_total") > 640 and found)
        finally:
            done.set()
            thread.join()
        assert daemon.address.echo(b"hello") == b"HELLO"
    figure(f"{most} more descriptors with 1020 idle or slow clients; {latency}")
    assert codes == [200] * 20
    assert most < 100
    assert scrape.sum("echoup_connections_open") == 1
    assert scrape.sum("echoup_connections_refused_total") == 0
    assert latency.answers > 10


def test_stoppedWorkerDelaysNoScrape(tmp_path: Path, reactor: str, figure: Callable[[str], None]) -> None:
    """While a worker is stopped, a scrape is answered within 1.5 s, with what that worker has counted before."""
    with Daemon.start(tmp_path, "--status=0", "--workers=2") as daemon:
        site = StatusSite.of(daemon)
        with ExitStack() as opened:
            for _ in range(20):
                connection = opened.enter_context(daemon.address.connect())
                connection.sendall(b"hello")
                assert connection.recv(5) == b"HELLO"
            before = eventually(lambda: (found := site.scrape()).sum("echoup_received_bytes_total") == 100 and found)
            victim = childrenOf(daemon.pid)[0]
            os.kill(victim, signal.SIGSTOP)
            try:
                starved, began = waited() + daemon.waited, time.monotonic()
                after = site.scrape()
                took = time.monotonic() - began - (waited() + daemon.waited - starved)
                assert site.ask("/livez").code == 200
                # Without a processor for a second the other worker is left out as well.
                connections = eventually(lambda: site.ask("/api/connections").data["connections"])
            finally:
                os.kill(victim, signal.SIGCONT)
            eventually(lambda: len(site.ask("/api/connections").data["connections"]) == 20)
    figure(f"a scrape with one of two workers stopped took {took:.2f} s")
    for name in ("opened_total", "open"):
        assert after.sum(f"echoup_connections_{name}") == before.sum(f"echoup_connections_{name}") == 20
    assert after.sum("echoup_received_bytes_total") == 100
    assert after.sum("echoup_sent_bytes_total") == 100
    assert 0 < len(connections) < 20
    assert took < 1.5


def test_countersNeverFallWhileWorkersAreKilled(tmp_path: Path, reactor: str, figure: Callable[[str], None]) -> None:
    """While workers are killed under load, no counter falls, and in each scrape every connection is open or ended."""
    with Daemon.start(tmp_path, "--status=0", "--workers=2") as daemon:
        site, scrapes = StatusSite.of(daemon), list[Scrape]()

        def last() -> Scrape:
            scrapes.append(site.scrape())
            return scrapes[-1]

        def session() -> None:
            with suppress(ConnectionError):
                daemon.address.echo(b"hello")

        with ExitStack() as opened, load(session, 3) as outcomes:
            for kills in (1, 2, 3):
                victims = eventually(lambda: len(pids := childrenOf(daemon.pid)) == 2 and pids)
                for _ in range(10):
                    opened.enter_context(daemon.address.connect())
                    last()
                os.kill(victims[0], signal.SIGKILL)
                eventually(lambda: last()["echoup_worker_restarts_total"] == kills)  # noqa: B023
        eventually(lambda: not last().sum("echoup_connections_open"))
    assert not [outcome for outcome in outcomes if outcome]
    for before, after in pairwise(scrapes):
        fallen = {
            series: (before.samples[series], value)
            for series, value in after.samples.items()
            if series[0].endswith(("_total", "_count", "_sum", "_bucket")) and value < before.samples[series]
        }
        assert not fallen
        ended = after.sum("echoup_connections_closed_total")
        assert after.sum("echoup_connections_opened_total") == after.sum("echoup_connections_open") + ended
        assert after.sum("echoup_sent_bytes_total") <= after.sum("echoup_received_bytes_total")
    killed = scrapes[-1].sum("echoup_connections_closed_total", reason="killed")
    figure(f"{len(scrapes)} scrapes while 3 workers were killed, with {killed:.0f} connections of {len(outcomes)}")


@pytest.mark.parametrize(
    ("address", "options"), [("127.0.0.1:{taken}", ()), ("unix:taken", ("--workers=2",)), ("192.0.2.1:0", ())]
)
def test_takenAddressIsAnErrorAtTheStart(tmp_path: Path, address: str, options: tuple[str, ...]) -> None:
    """An address of the site that can't be listened on ends the start: one line, the exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "taken"))
        unix.listen()
        value = address.format(taken=taken.getsockname()[1])
        ended = subprocess.run(
            [*foreground(), "echoup", "--listen=127.0.0.1:0", f"--status={value}", *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert value in line


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user")
def test_backgroundDaemonWithAnotherUserHasItsSite() -> None:
    """In the background and as another user, the daemon has its site, also on a Unix socket."""
    with tempfile.TemporaryDirectory() as name:  # tmp_path is in a folder that only this user may enter
        folder = Path(name)
        os.chown(folder, 65534, 65534)
        command = twistd("--pidfile=pid", "--logfile=log", "--uid=65534", "--gid=65534")
        options = ("--listen=127.0.0.1:0", "--status=unix:status")
        with endingDaemon(folder / "pid"):
            started = subprocess.run([*command, "echoup", *options], cwd=folder, timeout=60, check=False)
            assert started.returncode == 0
            site = StatusSite(Address(socket.AF_UNIX, str(folder / "status")))
            assert eventually((folder / "status").exists)
            assert eventually(lambda: site.isReady)
            pid = int((folder / "pid").read_text())
            scrape, status = site.scrape(), site.ask("/api/status").data
            os.kill(pid, signal.SIGTERM)
            eventually(lambda: not (folder / "pid").exists())
        assert not (folder / "status").exists()
    assert scrape["process_open_fds"] > 0
    assert status["pid"] == pid


@pytest.mark.parametrize("options", [(), ("--status=0",)], ids=["without the site", "with it"])
def test_onlyTheSiteImportsWhatItNeeds(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Without --status nothing of twisted.web and of prometheus_client is imported."""
    listen, variables = ("127.0.0.1:0",), {"PYTHONPROFILEIMPORTTIME": "1"}
    with Daemon.start(tmp_path, *options, listen=listen, environment=variables) as daemon:
        assert daemon.address.echo(b"hello") == b"HELLO"
        if options:
            StatusSite.of(daemon).scrape()
    imported = set(re.findall(r"^import time:.*\| +(\S+)$", daemon.text, re.MULTILINE))
    assert "echoup.server.daemon" in imported
    assert {name for name in LAZY if name in imported} == ({*LAZY} if options else set())
