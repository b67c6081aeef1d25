"""Several processes that serve as one daemon: `--workers`."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from select import select
from socket import SHUT_WR
from typing import Any

import pytest

from echoup.plurals import counted
from echoup.server.platform.processors import countProcessors
from echoup.server.workers.supervisor import GRACE
from tests.support.addresses import Address, endSending, receiveAll, unused
from tests.support.authorities import TLS_1_2, TLS_1_3, Certificates
from tests.support.chance import randomBytes
from tests.support.commands import ACTIVATE, listenTLS, twistd
from tests.support.controlgroups import limitedTo
from tests.support.daemon import Daemon, childrenOf, foreground
from tests.support.datagrams import client
from tests.support.descriptors import openDescriptors
from tests.support.ending import ending, endingDaemon
from tests.support.loads import load, offer
from tests.support.sizes import MIB
from tests.support.tls import ENDS, TLSConnection
from tests.support.waiting import eventually
from tests.support.ways import HEADERS, Way

pytestmark = pytest.mark.usefixtures("reactor")

SIZES = (0, 1, 1000, 65537, 4 * MIB)
ROUNDED = 0.1
"""The error of seconds in the log, by rounding, in seconds."""
TOTALS = re.compile(r"served (\d+) connections?, (\d+) bytes?")


def workers(daemon: Daemon) -> list[int]:
    """Return the process numbers of the daemon's workers, the oldest first."""
    return childrenOf(daemon.pid)


def descriptors(pid: int) -> int:
    """Return the number of a process's open file descriptors."""
    return len(openDescriptors(pid))


def owner(daemon: Daemon, connection: socket.socket) -> int:
    """Return the worker that has the other end of a TCP connection."""
    port = connection.getsockname()[1]
    for entry in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, _, remote, *rest = entry.split()
        if int(remote.partition(":")[2], 16) == port:
            inode = rest[6]
            for pid in workers(daemon):
                with suppress(FileNotFoundError):
                    if f"socket:[{inode}]" in openDescriptors(pid).values():
                        return pid
    raise AssertionError("no worker has it")


def says(connection: socket.socket, data: bytes = b"hello") -> bool:
    """Send `data` and return whether it is echoed, on a connection that stays open."""
    connection.sendall(data)
    answer = b""
    while len(answer) < len(data) and (more := connection.recv(65536)):
        answer += more
    return answer == data.upper()


def totals(daemon: Daemon) -> tuple[int, int]:
    """Return the connections and bytes of the last line of the daemon's log."""
    ((connections, size),) = TOTALS.findall(daemon.text)
    return int(connections), int(size)


@contextmanager
def alive(pids: list[int]) -> Iterator[Callable[[], list[int]]]:
    """Yield a function that returns those of `pids` that still run; a new process with an old number doesn't count."""
    with ExitStack() as opened:
        found = {pid: os.pidfd_open(pid) for pid in pids}
        for descriptor in found.values():
            opened.callback(os.close, descriptor)
        yield lambda: [pid for pid, descriptor in found.items() if not select([descriptor], [], [], 0)[0]]


@pytest.mark.portable
def test_workersEchoExactlyOnEveryTransport(
    tmp_path: Path, certificates: Certificates, figure: Callable[[str], None]
) -> None:
    """Two workers echo exactly on every transport, and the totals are those of both."""
    tls = listenTLS(certificates.server)
    listen = ["127.0.0.1:0", "[::1]:0", f"unix:{tmp_path}/socket", tls, "127.0.0.1:0"]
    options = ("--workers=2", "--log-connections", "--proxy-from=127.0.0.2/32")
    with Daemon.start(tmp_path, *options, listen=listen) as daemon:
        v4, v6, unix, secure, proxied = daemon.addresses
        ways = [Way(v4), Way(v6), Way(unix)]
        ways += [Way(replace(proxied, header=header, source="127.0.0.2")) for header in HEADERS.values()]
        ways += [Way(secure, certificates.context(version), end) for version in (TLS_1_2, TLS_1_3) for end in ENDS]
        ways += [Way(replace(secure, header=HEADERS["PROXY v2"], source="127.0.0.2"), certificates.context(TLS_1_3))]
        sessions = 0
        for size in SIZES:
            data = randomBytes(size)
            for way in ways:
                for late in (False, True):
                    received = way.exchange(data, late)
                    sessions += 1
                    assert received == data.upper(), way
        eventually(lambda: len(daemon.connections) == sessions)
        assert daemon.stop() == 143
        peers = [connection["peer"] for connection in daemon.connections]
        assert totals(daemon) == (sessions, sum(SIZES) * 2 * len(ways))
    figure(f"{sessions} sessions of {len(ways)} kinds exact, totals {totals(daemon)}")
    assert peers.count("192.0.2.1:4242") == 3 * 2 * len(SIZES)
    assert all(re.fullmatch(r"\d+\.\d{3}", connection["seconds"]) for connection in daemon.connections)


@pytest.mark.usefixtures("manyConnections")
def test_connectionsAreSpreadOverWorkers(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """The kernel spreads 1000 connections over two workers, no worse than 60 to 40."""
    with Daemon.start(tmp_path, "--workers=2", "--max-connections=2000") as daemon, ExitStack() as opened:
        before = {pid: descriptors(pid) for pid in workers(daemon)}
        connections = [opened.enter_context(daemon.address.connect()) for _ in range(1000)]
        assert all(says(connection) for connection in connections)
        shares = [descriptors(pid) - before[pid] for pid in before]
    figure(f"1000 connections over two workers: {shares}")
    assert sum(shares) == 1000
    assert min(shares) >= 400


def test_sessionsAndDeathsLeaveNoDescriptor(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """Neither sessions nor workers that die leave a descriptor open, in the parent or in a worker."""
    listen = ("127.0.0.1:0", f"unix:{tmp_path}/socket")
    options = ("--workers=2", "--udp=127.0.0.1:0", "--max-connections-per-peer=500")
    with Daemon.start(tmp_path, *options, listen=listen) as daemon:
        before = sorted(map(descriptors, [daemon.pid, *workers(daemon)]))
        for _ in range(3):
            for _ in range(200):
                assert [address.echo(b"hello") for address in daemon.addresses] == [b"HELLO"] * 2
            eventually(lambda: sorted(map(descriptors, [daemon.pid, *workers(daemon)])) == before)
            victim = workers(daemon)[0]
            os.kill(victim, signal.SIGKILL)
            eventually(lambda: victim not in workers(daemon) and len(workers(daemon)) == 2)  # noqa: B023
            eventually(lambda: sorted(map(descriptors, [daemon.pid, *workers(daemon)])) == before)
    figure(f"descriptors of the parent and of two workers: {before}")


@pytest.mark.slow
def test_killedWorkerLosesOnlyItsConnections(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """A killed worker loses only its own connections, and is replaced; its slots and totals aren't lost."""
    options = ("--workers=2", "--max-connections=10", "--log-connections")
    with Daemon.start(tmp_path, *options) as daemon, ExitStack() as opened:
        lost = others = 0
        for _ in range(3):
            connections = [opened.enter_context(daemon.address.connect()) for _ in range(10)]
            assert all(says(connection) for connection in connections)
            owners = [owner(daemon, connection) for connection in connections]
            victim = owners[0]
            os.kill(victim, signal.SIGKILL)
            for connection, worker in zip(connections, owners, strict=True):
                if worker == victim:
                    assert connection.recv(1) == b""
                    lost += 1
                else:
                    assert says(connection)
                    connection.shutdown(SHUT_WR)
                    assert receiveAll(connection) == b""
                    others += 1
                connection.close()
            eventually(lambda: len(workers(daemon)) == 2 and victim not in workers(daemon))  # noqa: B023
            # A killed worker takes along the lines that it has not written.
            eventually(lambda: len(daemon.connections) == others)  # noqa: B023
        # There are ten slots again, and no more.
        waiting = [opened.enter_context(daemon.address.connect()) for _ in range(11)]
        for connection in waiting:
            connection.sendall(b"hello")
        served = eventually(lambda: len(served := _answered(waiting)) == 10 and served)
        time.sleep(0.3)
        assert len(_answered([connection for connection in waiting if connection not in served])) == 0
        for connection in served:
            connection.close()
        (last,) = set(waiting) - set(served)
        assert last.recv(5) == b"HELLO"
        last.close()
        eventually(lambda: len(daemon.connections) == others + 11)
        assert daemon.stop() == 143
        deaths = re.findall(r"worker \d+ ended by signal 9; starting a replacement", daemon.text)
        sessions, size = totals(daemon)
        assert sessions == others + 11
        # A check of the connections, each three seconds, also counts bytes of those that are lost later.
        assert 0 <= size - (others * 10 + 11 * 5) <= lost * 5
    figure(f"3 workers killed: {lost} connections of theirs lost, {others} of others' not; totals {totals(daemon)}")
    assert len(deaths) == 3


def _answered(connections: list[socket.socket]) -> list[socket.socket]:
    """Return the connections that are readable now or in a moment, without reading."""
    readable, _, _ = select(connections, [], [], 0.1)
    return readable


def test_killedWorkerIsShown(tmp_path: Path) -> None:
    """The status site has the totals of a killed worker, its open connections as killed ones, and its replacement."""
    with Daemon.start(tmp_path, "--workers=2", "--status=127.0.0.1:0") as daemon, ExitStack() as opened:
        connections = [opened.enter_context(daemon.address.connect()) for _ in range(10)]
        assert all(says(connection) for connection in connections)
        owners = [owner(daemon, connection) for connection in connections]
        before = shown(daemon, "/api/status")
        assert [worker["pid"] for worker in before["workers"]] == workers(daemon)
        numbers = {worker["pid"]: worker["number"] for worker in before["workers"]}
        os.kill(owners[0], signal.SIGKILL)
        after = eventually(lambda: (found := shown(daemon, "/api/status"))["worker_restarts"] and found)
        listed = shown(daemon, "/api/connections")["connections"]
        lost = owners.count(owners[0])
        (counts,) = after["totals"].values()
        assert (counts["opened"], counts["open"], counts["closed"]["killed"]) == (10, 10 - lost, lost)
        assert (counts["received"], counts["sent"]) == (50, 50)
        assert (after["worker_restarts"], after["silent_workers"]) == (1, [])
        assert {worker["number"] for worker in after["workers"]} == {1, 2, 3} - {numbers[owners[0]]}
        assert {connection["peer"]: connection["id"].partition(".")[0] for connection in listed} == {
            f"127.0.0.1:{connection.getsockname()[1]}": str(numbers[pid])
            for connection, pid in zip(connections, owners, strict=True)
            if pid != owners[0]
        }


def test_stoppedWorkerIsShown(tmp_path: Path) -> None:
    """The status site names a worker that is stopped, with the counts of its last check, and answers without it."""
    with Daemon.start(tmp_path, "--workers=2", "--status=127.0.0.1:0") as daemon, ExitStack() as opened:
        connections = [opened.enter_context(daemon.address.connect()) for _ in range(10)]
        assert all(says(connection) for connection in connections)
        stopped = owner(daemon, connections[0])
        numbers = {worker["pid"]: worker["number"] for worker in shown(daemon, "/api/status")["workers"]}
        os.kill(stopped, signal.SIGSTOP)
        status, _ = (shown(daemon, path, silent=[numbers[stopped]]) for path in ("/api/status", "/api/connections"))
        (counts,) = status["totals"].values()
        assert (counts["open"], counts["received"]) == (10, 50)
        os.kill(stopped, signal.SIGCONT)
        assert shown(daemon, "/api/connections")["total"] == 10


def shown(daemon: Daemon, path: str, silent: Sequence[int] = ()) -> Any:
    """Return the JSON that the daemon's status site has at `path`, once the workers `silent` alone are left out of it.

    Until then it may lack those that have no processor for a while.
    """
    ((host, port),) = re.findall(r"status site on http://(.+):(\d+)", daemon.text)

    def ask() -> Any:
        with closing(HTTPConnection(host, int(port), timeout=10)) as connection:
            connection.request("GET", path)
            return json.load(connection.getresponse())

    return eventually(lambda: (found := ask())["silent_workers"] == [*silent] and found)


@pytest.mark.slow
def test_killedWorkersUnderLoadLoseNoSlot(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """Workers that are killed while connections come and go leave as many slots as before."""
    with Daemon.start(tmp_path, "--workers=2", "--max-connections=10") as daemon:

        def session() -> None:
            with suppress(ConnectionResetError, BrokenPipeError), daemon.address.connect() as connection:
                assert not says(connection) or receiveEnd(connection)

        def receiveEnd(connection: socket.socket) -> bool:
            endSending(connection)
            return receiveAll(connection) == b""

        with load(session, 8) as outcomes:
            for _ in range(6):
                time.sleep(0.4)
                pids = eventually(lambda: len(pids := workers(daemon)) == 2 and pids)
                os.kill(pids[0], signal.SIGKILL)
                eventually(lambda: pids[0] not in workers(daemon))  # noqa: B023
            eventually(lambda: len(workers(daemon)) == 2)
        rounds = _rounds(daemon, 20)
    figure(f"{len(outcomes)} sessions while 6 workers were killed; then 20 clients were served {rounds}")
    assert not [outcome for outcome in outcomes if outcome]
    assert rounds == [10, 10]


def _rounds(daemon: Daemon, count: int) -> list[int]:
    """Connect `count` clients, which leave when they are served; return how many are served together, in turn."""
    rounds = []
    with ExitStack() as opened:
        addresses = daemon.addresses
        waiting = [opened.enter_context(addresses[i % len(addresses)].connect()) for i in range(count)]
        for connection in waiting:
            connection.sendall(b"hello")
        while waiting:
            expected = min(len(waiting), 10)
            served = eventually(lambda: len(found := _answered(waiting)) >= expected and found)  # noqa: B023
            time.sleep(0.2)
            served = _answered(waiting)
            rounds.append(len(served))
            for connection in served:
                assert connection.recv(5) == b"HELLO"
                connection.close()
                waiting.remove(connection)
    return rounds


@pytest.mark.parametrize("count", [2, 3])
def test_workersShareMaximum(tmp_path: Path, figure: Callable[[str], None], count: int) -> None:
    """The maximum is for all workers and ports together, exactly: 30 clients are served 10 at a time, never 11."""
    listen = ("127.0.0.1:0", f"unix:{tmp_path}/socket")
    with Daemon.start(tmp_path, f"--workers={count}", "--max-connections=10", listen=listen) as daemon:
        before = {pid: descriptors(pid) for pid in workers(daemon)}
        rounds = [_rounds(daemon, 30) for _ in range(5)]
        eventually(lambda: {pid: descriptors(pid) for pid in workers(daemon)} == before)
    figure(f"30 clients at a maximum of 10, {count} workers, five times: {rounds}")
    assert rounds == [[10, 10, 10]] * 5


@pytest.mark.slow
@pytest.mark.parametrize("header", ["", "PROXY v1"])
def test_workersShareMaximumPerPeer(tmp_path: Path, header: str) -> None:
    """The maximum of each peer is for all workers together; connections that end, or whose worker dies, don't count."""
    options = ["--workers=2", "--max-connections-per-peer=5", *["--proxy-from=127.0.0.1"] * bool(header)]
    with Daemon.start(tmp_path, *options) as daemon, ExitStack() as opened:
        address = replace(daemon.address, header=HEADERS.get(header, b""))
        before = sum(map(descriptors, workers(daemon)))
        for attempt in range(3):
            connections = []
            for _ in range(21):
                with suppress(ConnectionResetError):  # a refusal may come before connect(2) returns
                    connections.append(opened.enter_context(address.connect()))
            served = []
            for connection in connections:
                with suppress(ConnectionResetError, BrokenPipeError):
                    if says(connection):
                        served.append(connection)
            assert len(served) == 5
            assert opened.enter_context(replace(daemon.address, source="127.0.0.2").connect()).send(b"x")
            assert all(says(connection) for connection in served)
            if attempt == 0:
                for connection in served:
                    connection.close()
                eventually(lambda: sum(map(descriptors, workers(daemon))) == before + 1)  # that of the other address
                _askedByAll(daemon)
            else:
                for pid in workers(daemon):
                    os.kill(pid, signal.SIGKILL)
                eventually(lambda: len(re.findall("ended by signal 9", daemon.text)) == 2 * attempt)  # noqa: B023
                eventually(lambda: len(workers(daemon)) == 2)
        assert daemon.stop() == 143
        refusals = [int(count) for count in re.findall(r"refused (\d+) connections? over", daemon.text)]
        assert sum(refusals) == 3 * 16
        assert len(refusals) == 2


def _askedByAll(daemon: Daemon) -> None:
    """Connect to every worker, which then asks the parent, after it has reported the connections that have ended."""
    asked: set[int] = set()
    with ExitStack() as opened:
        for number in range(100):
            connection = opened.enter_context(replace(daemon.address, source=f"127.0.3.{number}").connect())
            assert says(connection)
            asked.add(owner(daemon, connection))
            if asked == set(workers(daemon)):
                return
    raise AssertionError("the kernel gave all of a hundred connections to the same worker")


@pytest.mark.slow
def test_repeatedDeathsDelayReplacement(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """A worker that keeps dying is replaced at once, then after longer and longer delays, with a log line each time."""
    with Daemon.start(tmp_path, "--workers=2") as daemon:
        steady, victim = workers(daemon)
        delays = []
        for _ in range(5):
            began = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            (victim,) = eventually(lambda: set(workers(daemon)) - {steady, victim})  # noqa: B023
            delays.append(time.monotonic() - began)
            assert daemon.address.echo(b"hello") == b"HELLO"
        assert steady in workers(daemon)
    lines = daemon.text.count("\n")
    planned = [float(delay or 0) for delay in re.findall(r"starting a replacement(?: in (\d+\.\d) s)?\n", daemon.text)]
    figure(f"replaced after {', '.join(f'{delay:.2f}' for delay in delays)} s, planned {planned}; {lines} lines of log")
    assert daemon.text.count("ended by signal 9") == len(planned) == 5
    assert planned[0] == 0
    assert all(later >= 0.5 * 1.5**i - ROUNDED for i, later in enumerate(planned[1:]))
    assert all(delay >= later - ROUNDED for delay, later in zip(delays, planned, strict=True))
    assert lines < 20


@pytest.mark.slow
def test_stopDrainsAllWorkers(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """SIGTERM drains all workers: queued connections are served, slow readers get all, and then the daemon ends."""
    data = randomBytes(4 * MIB)
    options = ("--workers=2", "--drain-timeout=600")
    with Daemon.start(tmp_path, *options) as daemon, ExitStack() as opened:
        address = daemon.address
        pids = workers(daemon)
        idle = [opened.enter_context(address.connect()) for _ in range(10)]
        assert all(says(connection) for connection in idle)
        slow = [opened.enter_context(address.connect()) for _ in range(4)]
        received: list[bytes] = []

        def readSlowly(connection: socket.socket) -> None:
            chunks = []
            while chunk := connection.recv(65536):
                chunks.append(chunk)
                time.sleep(0.02)
            received.append(b"".join(chunks))

        reading = [threading.Thread(target=readSlowly, args=[connection]) for connection in slow]
        for connection, thread in zip(slow, reading, strict=True):
            thread.start()
            opened.callback(thread.join, 60)
            connection.sendall(data)
            connection.shutdown(SHUT_WR)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        queued = [opened.enter_context(address.connect()) for _ in range(300)]
        for connection in queued:
            connection.sendall(b"hello")
            connection.shutdown(SHUT_WR)
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        eventually(lambda: "shutting down" in daemon.text)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        served = sum(receiveAll(connection) == b"HELLO" for connection in queued)
        ended = [receiveAll(connection) for connection in idle]
        for connection in idle:
            connection.close()  # the workers wait for their ends
        code = daemon.wait(60)
        stopped = time.monotonic() - began
        for thread in reading:
            thread.join()
    figure(f"{served} of 300 queued served, exit code {code} after {stopped:.2f} s")
    assert served == 300
    assert received == [data.upper()] * 4
    assert ended == [b""] * 10
    assert code == 143


def test_connectionsBeyondMaximumAreServedDuringStop(tmp_path: Path) -> None:
    """Connections that wait for a slot are served during a stop when others end."""
    options = ("--workers=2", "--max-connections=10", "--drain-timeout=600")
    with Daemon.start(tmp_path, *options) as daemon:
        connections = [daemon.address.connect() for _ in range(40)]
        for connection in connections:
            connection.sendall(b"hello")
        daemon.signal(signal.SIGTERM)
        waiting = list(connections)
        while waiting:
            for connection in eventually(lambda: _answered(waiting)):
                assert connection.recv(5) == b"HELLO"
                connection.close()
                waiting.remove(connection)
        assert daemon.wait() == 143
        assert totals(daemon) == (40, 200)


@pytest.mark.portable
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_secondSignalEndsAllWorkers(tmp_path: Path, number: int) -> None:
    """A second signal ends all workers at once, also when the process group gets both, as from a terminal."""
    options = ("--workers=2", "--stall-timeout=600", "--drain-timeout=600")
    with Daemon.start(tmp_path, *options) as daemon, daemon.address.connect() as never:
        offer(never, 600 * MIB, 0.3)
        pids = workers(daemon)
        with alive(pids) as living:
            for _ in range(2):
                for pid in (*pids, daemon.pid):
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)
                eventually(lambda: "shutting down" in daemon.text)
            assert daemon.wait(60) == 128 + number
            assert living() == []
        assert "ended by" not in daemon.text


def test_stuckWorkerIsKilledAfterDeadline(tmp_path: Path) -> None:
    """A worker that doesn't end is killed some time after the deadline of a stop."""
    with Daemon.start(tmp_path, "--workers=2", "--drain-timeout=1") as daemon:
        pids = workers(daemon)
        with alive(pids) as living:
            os.kill(pids[0], signal.SIGSTOP)
            began = time.monotonic()
            daemon.signal(signal.SIGTERM)
            assert daemon.wait(60) == 143
            stopped = time.monotonic() - began
            assert living() == []
        assert "ended by signal 9" in daemon.text
    assert stopped >= 1 + GRACE


def test_workersEndWithTheirParent(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """When the parent is killed its workers end too, idle or busy, and the port is free."""
    listen = [unused().target]  # an address that no other process gets, once it's free
    with Daemon.start(tmp_path, "--workers=2", listen=listen) as daemon, ExitStack() as opened:
        for size in (0, 5, 600 * MIB):
            offer(opened.enter_context(daemon.address.connect()), size, 0.2)
        with alive(workers(daemon)) as living:
            assert len(living()) == 2
            began = time.monotonic()
            daemon.process.kill()
            eventually(lambda: not living())
            figure(f"gone {(time.monotonic() - began) * 1000:.0f} ms after the parent")
        daemon.process.wait()
        with pytest.raises(ConnectionRefusedError):
            daemon.address.connect()


def test_startingWorkersEndWithTheirParent(tmp_path: Path) -> None:
    """When the parent is killed before its workers serve, they end too."""
    for pause in (0.0, 0.05, 0.1, 0.2, 0.3):
        command = [*foreground(), "echoup", "--workers=2", "--listen=127.0.0.1:0"]
        with ending(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)) as process:
            daemon = Daemon(process, tmp_path / "log")
            pids = eventually(lambda: len(pids := workers(daemon)) == 2 and pids)  # noqa: B023
            with alive(pids) as living:
                time.sleep(pause)
                process.kill()
                eventually(lambda: not living())


def test_workersIgnoreSignals(tmp_path: Path) -> None:
    """A worker ignores every signal that ends or reloads the daemon, except SIGKILL."""
    with Daemon.start(tmp_path, "--workers=2") as daemon:
        pids = workers(daemon)
        for pid in pids:
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGTERM):
                os.kill(pid, number)
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            daemon.signal(number)
        time.sleep(0.3)
        assert all(daemon.address.echo(b"hello") == b"HELLO" for _ in range(20))
        assert workers(daemon) == pids


def test_reloadReachesAllWorkers(tmp_path: Path, certificates: Certificates) -> None:
    """SIGHUP renews the certificates of all workers, with one line for each listener; an unreadable one stays."""
    path = tmp_path / "server.pem"
    first, second = (Path(certificates.issue(f"worker{i}", "localhost")).read_bytes() for i in range(2))
    path.write_bytes(first)
    listen = [f"ssl:0:interface=127.0.0.1:privateKey={path}"] * 2
    context = certificates.context()
    with Daemon.start(tmp_path, "--workers=2", listen=listen) as daemon:

        def shown() -> set[bytes | None]:
            found = set()
            for _ in range(20):
                for address in daemon.addresses:
                    with TLSConnection.to(address, context) as connection:
                        found.add(connection.tls.getpeercert(binary_form=True))
            return found

        before = shown()
        path.write_bytes(second)
        assert shown() == before
        daemon.signal(signal.SIGHUP)
        eventually(lambda: daemon.text.count("reloaded the certificate") == 2)
        after = eventually(lambda: len(found := shown()) == 1 and found != before and found)
        path.unlink()
        daemon.signal(signal.SIGHUP)
        eventually(lambda: daemon.text.count("cannot reload the certificate") == 2)
        assert shown() == after
        # A new worker can't read the file, and still has the same certificate as the others.
        for worker in workers(daemon):
            os.kill(worker, signal.SIGKILL)
            eventually(lambda worker=worker: worker not in workers(daemon) and len(workers(daemon)) == 2)  # type: ignore[misc]
        assert shown() == after
        path.write_bytes(first)
        daemon.signal(signal.SIGHUP)
        eventually(lambda: daemon.text.count("reloaded the certificate") == 4)
        eventually(lambda: shown() == before)
    assert daemon.text.count("reloaded the certificate") == 4
    assert daemon.text.count("cannot reload the certificate") == 2
    assert daemon.text.count("starting a replacement\n") == daemon.text.count("ended by signal 9") == 2


def failure(folder: Path, *options: str, command: list[str] | None = None) -> str:
    """Run a daemon that can't start, and return the one line on its stderr."""
    ended = subprocess.run(
        [*(command or foreground()), "echoup", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "Traceback" not in ended.stdout
    return ended.stderr


def test_takenPortIsRefused(tmp_path: Path) -> None:
    """A port on which another process listens is refused, also if that is a daemon with workers."""
    words = "twistd echoup: address already in use: cannot listen on {}\n"
    with socket.create_server(("127.0.0.1", 0)) as plain, Daemon.start(tmp_path, "--workers=2") as daemon:
        for port in (plain.getsockname()[1], daemon.address.address[1]):
            for count in (1, 2):
                name = f"127.0.0.1:{port}"
                assert failure(tmp_path, f"--workers={count}", f"--listen={name}") == words.format(name)
        assert failure(tmp_path, "--workers=2", "--listen=127.0.0.1:0", f"--listen=unix:{tmp_path}/no/socket")
        with socket.socket(type=socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            name = f"127.0.0.1:{other.getsockname()[1]}"
            options = ("--workers=2", f"--listen=unix:{tmp_path}/socket", f"--udp={name}")
            assert failure(tmp_path, *options) == words.format(f"udp:{name}")
        assert {path.name for path in tmp_path.iterdir()} == {"log"}
        assert daemon.address.echo(b"hello") == b"HELLO"


@pytest.mark.parametrize("text", ["0", "x", "257"])
def test_badNumberOfWorkersIsUsageError(tmp_path: Path, text: str) -> None:
    """A bad number of workers is reported in one line."""
    words = f"twistd echoup: --workers: {text!r} is neither auto nor a whole number from 1 to 256\n"
    assert failure(tmp_path, f"--workers={text}", "--listen=127.0.0.1:0") == words


def test_workerThatCannotListenEndsStart(tmp_path: Path) -> None:
    """A worker that can't listen, because its socket has another domain, ends the start with one line.

    In the background the line goes to twistd's parent process and to the log.
    """
    misleading = (
        "import sys; from echoup.server.workers import supervisor as workers; from twisted.scripts import twistd;"
        "listener = workers.InheritedListener;"
        "workers.InheritedListener = lambda name, domain, *rest: listener(name, 'UNIX', *rest);"
        "sys.argv[0] = 'twistd'; twistd.run()"
    )
    options = ("--workers=2", "--listen=127.0.0.1:0")
    words = "the socket's domain is INET: cannot listen on 127.0.0.1:0: cannot start the workers"
    command = [sys.executable, "-c", misleading]
    assert failure(tmp_path, *options, command=[*command, "-n", "--pidfile="]) == f"twistd echoup: {words}\n"
    with endingDaemon(tmp_path / "twistd.pid"):
        ended = subprocess.run(
            [*command, "echoup", *options], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert ended.returncode == 1
        assert words[:50] in ended.stderr
        assert words in (tmp_path / "twistd.log").read_text()
        eventually(lambda: not (tmp_path / "twistd.pid").exists())


def test_autoKeepsWithinTheQuota(tmp_path: Path) -> None:
    """`auto` is no more workers than the quota of a control group keeps busy, and the log says so."""
    cores = len(os.sched_getaffinity(0))
    with (
        limitedTo(1) as command,
        Daemon.start(tmp_path, "--workers=auto", command=[*command, *foreground()]) as daemon,
    ):
        assert workers(daemon) == []
        assert daemon.address.echo(b"hello") == b"HELLO"
        said = f"using 1 of {counted(cores, 'core')}: the control group's CPU quota is 1"
        assert (said in daemon.text) == (cores > 1)


def test_autoIsOneWorkerPerCore(tmp_path: Path) -> None:
    """`auto` is one worker for each usable core; with one core, as without the option, there is a single process."""
    cores = countProcessors()
    first = min(os.sched_getaffinity(0))
    for number, (options, command, expected) in enumerate(
        (
            (["--workers=auto"], [], cores if cores > 1 else 0),
            (["--workers=auto"], ["taskset", "-c", str(first)], 0),
            (["--workers=1"], [], 0),
            ([], [], 0),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        with Daemon.start(folder, *options, command=[*command, *foreground()]) as daemon:
            assert len(workers(daemon)) == expected
            assert daemon.address.echo(b"hello") == b"HELLO"
            daemon.stop()
            assert totals(daemon) == (1, 5)
    environment = {"ECHOUP_WORKERS": "3"}
    with Daemon.start(tmp_path, environment=environment) as daemon:
        assert len(workers(daemon)) == 3


@pytest.mark.parametrize("domain", ["INET", "UNIX"])
def test_workersShareSystemdSocket(tmp_path: Path, domain: str) -> None:
    """All workers accept at a socket of systemd's, which outlives them: a connection during a restart is served."""
    path = tmp_path / "held"
    with socket.socket(socket.AF_INET if domain == "INET" else socket.AF_UNIX) as held:
        held.bind(("127.0.0.1", 0) if domain == "INET" else str(path))
        held.listen(4096)
        address = Address(held.family, held.getsockname())
        for _ in range(2):
            early = address.connect()
            early.sendall(b"early")
            command = [sys.executable, "-c", ACTIVATE, str(held.fileno()), *foreground()]
            listen = [f"systemd:domain={domain}:index=0"]
            with (
                Daemon.start(
                    tmp_path, "--workers=2", listen=listen, command=command, inherited=[held.fileno()]
                ) as daemon,
                early,
            ):
                assert early.recv(5) == b"EARLY"
                early.shutdown(SHUT_WR)
                assert all(address.echo(b"hello") == b"HELLO" for _ in range(100))
                assert daemon.stop() == 143
                assert totals(daemon) == (101, 505)
        assert domain == "INET" or path.is_socket()


def test_unixSocketLastsAsLongAsDaemon(tmp_path: Path) -> None:
    """A Unix socket's file and lock outlive workers that die, and are removed at the end of the daemon."""
    path = tmp_path / "socket"
    listen = [f"unix:{path}:mode=600"]
    with Daemon.start(tmp_path, "--workers=2", listen=listen) as daemon:
        assert path.stat().st_mode & 0o777 == 0o600
        for pid in workers(daemon):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: daemon.text.count("ended by signal 9") == 2)
        assert daemon.address.echo(b"hello") == b"HELLO"
        assert daemon.stop() == 143
    assert [entry.name for entry in tmp_path.iterdir()] == ["log"]
    daemon = Daemon.start(tmp_path, "--workers=2", listen=listen)
    with alive(workers(daemon)) as living:
        daemon.kill()
        eventually(lambda: not living())
    with Daemon.start(tmp_path, "--workers=2", listen=listen) as daemon:
        assert daemon.address.echo(b"hello") == b"HELLO"


def test_datagramsAreAnsweredWhileWorkersDie(tmp_path: Path) -> None:
    """UDP is served with workers too, also while workers die."""
    with Daemon.start(tmp_path, "--workers=2", "--udp=127.0.0.1:0") as daemon:
        port = int(re.findall(r"listening on udp:127\.0\.0\.1:(\d+)", daemon.text)[0])
        with client(("127.0.0.1", port)) as asking:
            for pid in (0, *workers(daemon)):
                if pid:
                    os.kill(pid, signal.SIGKILL)
                asking.send(b"hello")
                assert asking.recv(100) == b"HELLO"


def test_connectionsToKilledWorkerWaitForNext(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """Connections to a killed worker wait in its queue for the next one, and aren't refused."""
    with Daemon.start(tmp_path, "--workers=2") as daemon, ExitStack() as opened:
        for pid in workers(daemon):
            os.kill(pid, signal.SIGKILL)
        connections = [opened.enter_context(daemon.address.connect()) for _ in range(200)]
        for connection in connections:
            connection.sendall(b"hello")
        assert [connection.recv(5) for connection in connections] == [b"HELLO"] * 200
    figure("200 of 200 clients that came when all workers were killed were served")


def test_workersServeInBackground(tmp_path: Path) -> None:
    """In the background the daemon serves with workers, logs into its file and stops."""
    command = [*twistd(), "echoup", "--workers=2", "--listen=127.0.0.1:0", "--log-connections"]
    with endingDaemon(tmp_path / "twistd.pid"):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
        pid = int((tmp_path / "twistd.pid").read_text())
        log = tmp_path / "twistd.log"
        port = int(re.findall(r"listening on 127\.0\.0\.1:(\d+)", log.read_text())[0])
        assert Address(socket.AF_INET, ("127.0.0.1", port)).echo(b"hello") == b"HELLO"
        eventually(lambda: log.read_text().count("connection id=") == 1)
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: not (tmp_path / "twistd.pid").exists())
    assert "served 1 connection, 5 bytes" in log.read_text()
