"""The promise Graceful: how the daemon stops, and which signals don't stop it."""

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from socket import SHUT_WR

import pytest

from echoup.server.connections import QUIET
from tests.support.addresses import Address, receiveAll, unused
from tests.support.authorities import Certificates
from tests.support.chance import randomBytes
from tests.support.commands import listenTLS
from tests.support.daemon import Daemon, foreground
from tests.support.ending import ending
from tests.support.loads import offer
from tests.support.reactors import MULTIPLEXERS
from tests.support.sizes import MIB
from tests.support.tls import TLSConnection
from tests.support.waiting import Pauses, eventually

pytestmark = pytest.mark.usefixtures("reactor")


@pytest.mark.slow
@pytest.mark.parametrize("reactor", MULTIPLEXERS, indirect=True)
def test_stopServesQueueAndFlight(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """A stop serves the connections in the kernel's queue and the data in flight, and then ends before the deadline.

    500 clients wait in the kernel's queue, one reads 4 MiB slowly, ten are idle.
    """
    data = randomBytes(4 * MIB)
    with Daemon.start(tmp_path, "--drain-timeout=600") as daemon, ExitStack() as opened:
        address = daemon.address
        idle = [opened.enter_context(address.connect()) for _ in range(10)]
        slow = opened.enter_context(address.connect())
        received: list[bytes] = []

        def readSlowly() -> None:
            while chunk := slow.recv(65536):
                received.append(chunk)
                time.sleep(0.02)

        with reading(readSlowly):
            slow.sendall(data)
            slow.shutdown(SHUT_WR)
            daemon.signal(signal.SIGSTOP)
            queued = [opened.enter_context(address.connect()) for _ in range(500)]
            for connection in queued:
                connection.sendall(b"hello")
                connection.shutdown(SHUT_WR)
            began = time.monotonic()
            daemon.signal(signal.SIGTERM)
            daemon.signal(signal.SIGCONT)
            served = sum(receiveAll(connection) == b"HELLO" for connection in queued)
            ended = [receiveAll(connection) for connection in idle]
            for connection in idle:
                connection.close()  # the daemon waits for their ends
            code = daemon.wait(60)
            stopped = time.monotonic() - began
    figure(
        f"{served} of 500 queued served, {len(b''.join(received))} of {len(data)} bytes read slowly, "
        f"exit code {code} after {stopped:.2f} s"
    )
    assert served == 500
    assert b"".join(received) == data.upper()
    assert ended == [b""] * 10
    assert code == 143


@contextmanager
def reading(read: Callable[[], None]) -> Iterator[None]:
    """Run `read` in a thread, and wait for its end."""
    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize("workers", [1, 2])
def test_deadlineEndsStop(tmp_path: Path, figure: Callable[[str], None], workers: int) -> None:
    """With a peer that never reads a stop ends at the deadline, not earlier and not at the stall timeout."""
    timeout = 1.0
    options = (f"--workers={workers}", "--stall-timeout=600", f"--drain-timeout={timeout}")
    with Daemon.start(tmp_path, *options) as daemon, daemon.address.connect() as never:
        offer(never, 600 * MIB, 0.3)
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        code = daemon.wait(60)
        stopped = time.monotonic() - began
    figure(f"exit code {code} after {stopped:.2f} s, with a deadline of {timeout:g} s")
    assert code == 143
    assert stopped >= timeout - 0.1


@pytest.mark.portable
def test_dataInKernelBeforeStopIsEchoed(tmp_path: Path) -> None:
    """Data that the kernel has received before the stop is echoed, also on a connection that was quiet."""
    with Daemon.start(tmp_path) as daemon:
        connections = [daemon.address.connect() for _ in range(100)]
        for connection in connections:
            connection.sendall(b"hello")
            assert connection.recv(5) == b"HELLO"
        time.sleep(0.5)
        daemon.signal(signal.SIGSTOP)
        for connection in connections:
            connection.sendall(b"again")
        daemon.signal(signal.SIGTERM)
        daemon.signal(signal.SIGCONT)
        for connection in connections:
            with connection:
                assert receiveAll(connection) == b"AGAIN"
        assert daemon.wait() == 143


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_stopResetsNoNewConnection(tmp_path: Path, figure: Callable[[str], None], workers: int) -> None:
    """Clients that connect all the time during a stop are served or refused, and none is reset.

    There are three stops, because a reset depends on the moment. A client that has no processor for a while sends too
    late, and the daemon may end the connection: it is late.
    """
    ends: Counter[str] = Counter()

    def visit(address: Address) -> None:
        while True:
            began = time.monotonic()
            try:
                connection = address.connect()
            except ConnectionRefusedError:
                ends["refused"] += 1
                return
            with connection:
                try:
                    connection.sendall(b"hello")
                    cut = "late" if time.monotonic() - began > QUIET - 0.1 else "closed"
                    ends["served" if connection.recv(5) == b"HELLO" else cut] += 1
                except ConnectionError:
                    ends["reset"] += 1

    for _ in range(3):
        # At an address that no other process gets when the daemon has ended, so that connecting is refused then.
        listen = [unused().target]
        with Daemon.start(tmp_path, f"--workers={workers}", listen=listen) as daemon:
            threads = [threading.Thread(target=visit, args=[daemon.address]) for _ in range(8)]
            for thread in threads:
                thread.start()
            time.sleep(0.2)
            daemon.signal(signal.SIGTERM)
            for thread in threads:
                thread.join()
            assert daemon.wait() == 143
    figure(f"over three stops, with {workers} workers: {dict(ends)}")
    assert ends.keys() - {"late"} == {"served", "refused"}


@pytest.mark.parametrize("isStopped", [True, False])
def test_partsOfTLSRecordAreMovement(tmp_path: Path, certificates: Certificates, isStopped: bool) -> None:
    """While a TLS record arrives in small pieces neither a stop nor --idle-timeout ends the connection.

    When this process has no processor for a while, the pieces come too late and the daemon may end the connection:
    such an attempt is repeated.
    """
    data = randomBytes(2**14)
    listen, context = [listenTLS(certificates.server)], certificates.context()

    for _ in range(20):
        received = b""
        with Daemon.start(tmp_path, "--idle-timeout=0.5", listen=listen) as daemon:
            pauses = Pauses()
            # Suppressed: the connection was ended halfway.
            with suppress(OSError), TLSConnection.to(daemon.address, context) as connection:
                record = connection.seal(data)
                for start in range(0, len(record), 500):
                    connection.socket.sendall(record[start : start + 500])
                    if isStopped and not start:
                        daemon.signal(signal.SIGTERM)
                    pauses.note()
                    time.sleep(0.05)
                received = connection.receiveAll()
            pauses.note()
        if received == data.upper() or pauses.longest < QUIET - 0.1:
            break
    assert received == data.upper()


@pytest.mark.portable
def test_stopWithQuietConnectionsIsShort(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """With only quiet connections a stop doesn't wait for the deadline."""
    with Daemon.start(tmp_path, "--drain-timeout=600") as daemon, daemon.address.connect() as connection:
        connection.sendall(b"hello")
        assert connection.recv(5) == b"HELLO"
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        assert connection.recv(1) == b""
        connection.close()
        assert daemon.wait() == 143
        figure(f"stopped {time.monotonic() - began:.2f} s after SIGTERM")


def test_busyConnectionIsServedDuringStop(tmp_path: Path) -> None:
    """A busy connection is served for most of the time to the deadline, then ended without loss."""
    for _ in range(20):  # it isn't busy when this process has no processor for a while
        with Daemon.start(tmp_path, "--drain-timeout=2", "--log-connections") as daemon:
            exchanges, pauses = 0, Pauses()
            with daemon.address.connect() as busy:
                daemon.signal(signal.SIGTERM)
                while True:
                    busy.sendall(b"hello")
                    answer = busy.recv(5)
                    pauses.note()
                    if not answer:
                        break
                    assert answer == b"HELLO"
                    exchanges += 1
                    time.sleep(0.05)
            daemon.wait()
            assert "reason=stopping" in daemon.text
        if exchanges > 10 or pauses.longest < 0.1:
            break
    assert exchanges > 10


def test_connectionsBeyondMaximumAreServedDuringStop(tmp_path: Path) -> None:
    """Clients that wait in the kernel's queue because of the maximum are served during a stop when others end."""
    with Daemon.start(tmp_path, "--max-connections=10", "--drain-timeout=600") as daemon:
        connections = [daemon.address.connect() for _ in range(40)]
        for connection in connections:
            connection.sendall(b"hello")
        assert connections[0].recv(5) == b"HELLO"
        daemon.signal(signal.SIGTERM)
        for connection in connections[1:]:
            assert connection.recv(5) == b"HELLO"
            connection.close()
        connections[0].close()
        assert daemon.wait() == 143


@pytest.mark.portable
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_secondSignalEndsStop(tmp_path: Path, number: int) -> None:
    """A second signal ends the daemon before the deadline, without a traceback."""
    options = ("--stall-timeout=600", "--drain-timeout=600")
    with Daemon.start(tmp_path, *options) as daemon, daemon.address.connect() as never:
        offer(never, 600 * MIB, 0.3)
        daemon.signal(number)
        eventually(lambda: "shutting down" in daemon.text)
        daemon.signal(number)
        assert daemon.wait(60) == 128 + number


def test_otherSignalsDoNotEndDaemon(tmp_path: Path) -> None:
    """SIGHUP, SIGUSR1 and SIGUSR2 don't end the daemon."""
    with Daemon.start(tmp_path) as daemon:
        assert daemon.address.echo(b"hello") == b"HELLO"
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            daemon.signal(number)
        assert daemon.address.echo(b"hello") == b"HELLO"
        assert daemon.process.poll() is None


def test_stopRemovesUnixSocket(tmp_path: Path) -> None:
    """A stop removes the Unix socket, and doesn't fail if it has been removed already."""
    first, second = tmp_path / "first", tmp_path / "second"
    with Daemon.start(tmp_path, listen=[f"unix:{first}", f"unix:{second}"]) as daemon:
        second.unlink()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 143
    assert not first.exists()


def test_firstProcessOfNamespaceStops(tmp_path: Path) -> None:
    """As process 1, the first of a container, it stops on SIGTERM too, with 143, or 0 where the kernel shields it."""
    log = tmp_path / "log"
    inNamespace = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*inNamespace, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system lets its users make no process namespaces")
    command = [*inNamespace, *foreground(), f"--logfile={log}"]
    with ending(subprocess.Popen([*command, "echoup", "--listen=127.0.0.1:0"])) as parent:
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        daemon = Daemon(parent, log, eventually(lambda: int(children.read_text() or 0)))
        eventually(lambda: log.exists() and daemon.addresses and daemon.isRunning)
        assert daemon.address.echo(b"hello") == b"HELLO"
        os.kill(daemon.pid, signal.SIGTERM)
        assert daemon.wait() in (0, 143)
        assert "Traceback" not in daemon.text
