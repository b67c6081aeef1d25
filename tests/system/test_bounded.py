"""The promises Bounded and Nothing hangs: the cost of a peer, and the connections that are aborted."""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit
from selectors import EVENT_READ, DefaultSelector
from socket import SHUT_WR, socket

import pytest

from tests.support.addresses import endSending, receiveAll
from tests.support.chance import randomBytes
from tests.support.daemon import Daemon, foreground
from tests.support.loads import Growth, isCut, offer
from tests.support.reactors import MULTIPLEXERS
from tests.support.sizes import MIB
from tests.support.sockets import reset
from tests.support.waiting import Pauses, eventually

pytestmark = pytest.mark.usefixtures("reactor")


@pytest.mark.slow
@pytest.mark.parametrize("reactor", MULTIPLEXERS, indirect=True)
def test_peerThatNeverReadsIsBoundedAndAborted(tmp_path: Path, reactor: str, figure: Callable[[str], None]) -> None:
    """A peer that sends and never reads costs little memory and no CPU time, and is aborted."""
    # Twisted's poll reactor waits for whole milliseconds (PollReactor.doPoll) and polls without a pause for the rest:
    # for up to a millisecond before each of ten ticks a second.
    spinning = 0.01 if reactor == "poll" else 0
    with Daemon.start(tmp_path, "--stall-timeout=6", "--log-connections") as daemon:
        assert daemon.address.echo(b"warm") == b"WARM"
        memory = daemon.memory
        with daemon.address.connect() as connection:
            growth = Growth(connection)
            sent = offer(connection, 600 * MIB, 1.5, growth.look)
            growth.look()
            cpu, began = daemon.cpu, time.monotonic()
            time.sleep(2)
            busy = (daemon.cpu - cpu) / (time.monotonic() - began)
            grown = daemon.memory - memory
            eventually(lambda: isCut(connection))
            stalled = time.monotonic() - growth.before
        eventually(lambda: "reason=stalled" in daemon.text)
    figure(
        f"took {sent / MIB:.1f} of 600 MiB, memory grew by {grown / MIB:.1f} MiB, "
        f"CPU {busy:.2%}, aborted {stalled:.1f} s after the last byte of progress, with a stall timeout of 6 s"
    )
    assert sent < 600 * MIB
    assert grown <= 4 * MIB
    assert busy <= 0.01 + spinning
    assert stalled >= 5.9


@pytest.mark.slow
def test_slowReaderIsNotAborted(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """A peer that reads 10 KiB in each of three stall periods is not aborted, and its echo is exact.

    Its receive buffer is small, because its kernel acknowledges only after a good part of that is read. When this
    process has no processor for a while, it reads too late and may be aborted: such an attempt is repeated.
    """
    data = randomBytes(32 * MIB)
    for _ in range(5):
        sent, received, isAborted = 0, b"", True
        with (
            Daemon.start(tmp_path, "--stall-timeout=2") as daemon,
            daemon.address.connect(receiveBuffer=4096) as connection,
        ):
            connection.setblocking(False)
            began, pauses = time.monotonic(), Pauses()
            with suppress(ConnectionError):
                while (lived := time.monotonic() - began) < 7 or len(received) < 30 * 1024:
                    try:
                        sent += connection.send(data[sent:])
                    except BlockingIOError:
                        time.sleep(0.125)
                        with suppress(BlockingIOError):  # the daemon may have had no processor
                            received += connection.recv(640)
                    pauses.note()
                isAborted = isCut(connection)
            pauses.note()
        assert received == data[: len(received)].upper()
        assert sent < len(data)
        if not isAborted or pauses.longest < 0.3:
            break
    figure(f"lived {lived:.0f} s with a stall timeout of 2 s, at {len(received) / lived:.0f} B/s")
    assert not isAborted


def test_peerThatDoesNotReadAfterItsEndIsAborted(tmp_path: Path) -> None:
    """A peer that has sent its end and reads nothing is aborted after the stall timeout."""
    with Daemon.start(tmp_path, "--stall-timeout=2", "--log-connections") as daemon:
        with daemon.address.connect() as connection:
            sent = 600 * MIB
            with suppress(ConnectionError):  # without a processor for two seconds, this process is too late
                sent = offer(connection, sent, 0.3)
                endSending(connection)
            log = eventually(lambda: "reason=" in daemon.text and daemon.text)
            assert "reason=stalled" in log
            assert int(re.findall(r"bytes=(\d+)", log)[0]) < sent
        assert daemon.address.echo(b"hello") == b"HELLO"


def test_peerStallsWithRoomInSendBuffer(tmp_path: Path) -> None:
    """A peer that reads nothing stalls also while its echo fits into the kernel's send buffer."""
    with (
        Daemon.start(tmp_path, "--stall-timeout=1", "--idle-timeout=0", "--log-connections") as daemon,
        daemon.address.connect(receiveBuffer=4096) as connection,
    ):
        connection.sendall(b"x" * 40_000)
        eventually(lambda: "bytes=40000 " in daemon.text and "reason=stalled" in daemon.text)


def test_unixPeerWithRoomDoesNotStall(tmp_path: Path) -> None:
    """A peer of a Unix socket whose buffer has room for all of its echo never stalls."""
    with (
        Daemon.start(tmp_path, "--stall-timeout=0.5", listen=[f"unix:{tmp_path}/socket"]) as daemon,
        daemon.address.connect() as connection,
    ):
        connection.sendall(b"hello")
        time.sleep(2)
        connection.sendall(b"world")
        connection.shutdown(SHUT_WR)
        assert receiveAll(connection) == b"HELLOWORLD"


def test_idleConnectionIsEnded(tmp_path: Path) -> None:
    """A connection on which nothing moves is ended cleanly, and is closed when the peer ends its side too."""
    with Daemon.start(tmp_path, "--idle-timeout=3", "--log-connections") as daemon:
        before = daemon.descriptors
        with daemon.address.connect() as connection:
            connection.sendall(b"hello")
            assert receiveAll(connection) == b"HELLO"
            assert daemon.descriptors == before + 1
        eventually(lambda: "reason=idle" in daemon.text)
        eventually(lambda: daemon.descriptors == before)


def test_peerThatSendsAfterTheEndIsAborted(tmp_path: Path) -> None:
    """After the daemon's end, data is discarded and the connection aborted: the peer can't keep it open."""
    with Daemon.start(tmp_path, "--idle-timeout=0.5", "--stall-timeout=1", "--log-connections") as daemon:
        before = daemon.descriptors
        with daemon.address.connect() as connection:
            assert receiveAll(connection) == b""

            def sendMore() -> bool:
                try:
                    connection.send(b"more")
                except (ConnectionResetError, BrokenPipeError):
                    return True
                return False

            eventually(sendMore)
        eventually(lambda: "bytes=0 " in daemon.text and "reason=idle" in daemon.text)
        eventually(lambda: daemon.descriptors == before)


def test_movingConnectionIsNotIdle(tmp_path: Path) -> None:
    """A connection on which bytes move more often than the idle timeout is not ended."""
    with Daemon.start(tmp_path, "--idle-timeout=3") as daemon, daemon.address.connect() as connection:
        for _ in range(8):
            connection.sendall(b"hello")
            assert connection.recv(5) == b"HELLO"
            time.sleep(0.5)


@pytest.mark.usefixtures("manyConnections")
def test_idleConnectionCostsLittleMemory(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """An idle connection costs at most 4 KiB of memory."""
    with Daemon.start(tmp_path) as daemon:
        assert daemon.address.echo(b"warm") == b"WARM"
        before = daemon.memory
        connections = [daemon.address.connect() for _ in range(1000)]
        for connection in connections:
            connection.sendall(b"hello")
            assert connection.recv(5) == b"HELLO"
        each = (daemon.memory - before) / len(connections)
        for connection in connections:
            connection.close()
    figure(f"{each / 1024:.1f} KiB for each of 1000 idle connections")
    assert each <= 4 * 1024


def test_resetsLeaveNothingBehind(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """Resets leave no descriptor, no traceback and no line in the log."""
    with Daemon.start(tmp_path) as daemon:
        before, log = daemon.descriptors, daemon.text
        for _ in range(200):
            connection = daemon.address.connect()
            connection.sendall(b"hello")
            reset(connection)
        after = eventually(lambda: daemon.descriptors == before and daemon.descriptors)
        assert daemon.address.echo(b"hello") == b"HELLO"
    figure(f"200 resets, {len(daemon.textBeforeStop) - len(log)} bytes logged, descriptors {before}, {after}")
    assert daemon.textBeforeStop == log


def test_daemonRecoversFromNoDescriptors(tmp_path: Path, figure: Callable[[str], None], reactor: str) -> None:
    """Without free descriptors the daemon serves the open connections, refuses others, logs that, and recovers."""
    isUvloop = reactor == "uvloop"
    with Daemon.start(tmp_path, descriptors=50 if isUvloop else 40) as daemon:
        before = daemon.descriptors
        connections = [daemon.address.connect() for _ in range(100)]
        served = refused = 0
        for connection in connections:
            try:
                connection.sendall(b"hello")
                answer = connection.recv(5)
            except ConnectionResetError:
                answer = b""
            served += answer == b"HELLO"
            refused += not answer
        for connection in connections:
            connection.close()
        eventually(lambda: daemon.descriptors == before)
        recovered = daemon.address.echo(b"again") == b"AGAIN"
    size = len(daemon.text)
    figure(f"{served} served, {refused} refused of 100, {size} bytes of log, recovered {recovered}")
    # libuv refuses them itself, in C, and reports nothing.
    assert isUvloop or "refused 1 connection: no file descriptors left" in daemon.text
    assert recovered
    assert served >= 25
    assert served + refused == 100
    assert size < 10_000


@pytest.mark.parametrize("reactor", MULTIPLEXERS, indirect=True)
def test_connectionsBeyondMaximumWait(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """Connections beyond the maximum wait, and exactly as many as have room are accepted when others end."""
    listen = ("127.0.0.1:0", f"unix:{tmp_path}/socket")
    with Daemon.start(tmp_path, "--max-connections=10", listen=listen) as daemon:
        before = daemon.descriptors
        waiting = [daemon.addresses[i % 2].connect() for i in range(30)]
        for connection in waiting:
            connection.sendall(b"hello")
        rounds = []
        while waiting:
            eventually(lambda: _readable(waiting) >= min(10, len(waiting)))
            served = [connection for connection in waiting if _answered(connection)]
            rounds.append(len(served))
            for connection in served:
                connection.close()
                waiting.remove(connection)
        eventually(lambda: daemon.descriptors == before)
    figure(f"30 clients at a maximum of 10 were served {rounds}")
    assert rounds == [10, 10, 10]


def _readable(connections: list[socket]) -> int:
    with DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, EVENT_READ)
        return len(selector.select(0))


def _answered(connection: socket) -> bool:
    connection.settimeout(0.1)
    try:
        return connection.recv(5) == b"HELLO"
    except TimeoutError:
        return False


def test_connectionsBeyondMaximumPerPeerAreClosed(tmp_path: Path) -> None:
    """Connections beyond the maximum from one address are closed, with one log line; other addresses are served."""
    with Daemon.start(tmp_path, "--max-connections-per-peer=5") as daemon:
        before = daemon.descriptors
        inside = [daemon.address.connect() for _ in range(5)]
        for _ in range(20):
            with pytest.raises(ConnectionResetError), daemon.address.connect() as connection:
                connection.recv(1)
        for connection in inside:
            connection.sendall(b"hello")
            assert connection.recv(5) == b"HELLO"
        with socket() as other:
            other.bind(("127.0.0.2", 0))
            other.connect(daemon.address.address)
            other.sendall(b"other")
            assert other.recv(5) == b"OTHER"
        for connection in inside:
            connection.close()
        eventually(lambda: daemon.descriptors == before)
        assert daemon.address.echo(b"again") == b"AGAIN"
    assert daemon.textBeforeStop.count("--max-connections-per-peer") == 1


@pytest.mark.parametrize("reactor", ["select"], indirect=True)
@pytest.mark.usefixtures("manyDescriptors")
def test_selectReactorStopsAcceptingBeforeItsLimit(tmp_path: Path) -> None:
    """Clients beyond the limit of select(2) wait, and the select reactor serves the others."""
    if getrlimit(RLIMIT_NOFILE)[0] < 1200:
        pytest.skip("this user may not open as many files as there are clients here (ulimit -Hn)")
    with Daemon.start(tmp_path, "--max-connections=0") as daemon:
        before = daemon.descriptors
        connections = [daemon.address.connect() for _ in range(1100)]
        eventually(lambda: daemon.descriptors >= before + 880)
        connections[0].sendall(b"hello")
        assert connections[0].recv(5) == b"HELLO"
        for connection in connections:
            connection.close()
        eventually(lambda: daemon.descriptors == before)
    assert "the select reactor serves at most 880 connections" in daemon.text


def test_softLimitOfDescriptorsIsRaised(tmp_path: Path) -> None:
    """The daemon raises the soft limit of descriptors to the hard one, so that it refuses no connection for it."""
    command = ["sh", "-c", 'ulimit -S -n 40 && exec "$@"', "sh", *foreground()]
    with Daemon.start(tmp_path, command=command) as daemon:
        connections = [daemon.address.connect() for _ in range(100)]
        for connection in connections:
            with connection:
                connection.sendall(b"hello")
                assert connection.recv(5) == b"HELLO"


@pytest.mark.slow
def test_sessionsLeaveNoMemoryBehind(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """The memory after 10 000 sessions is within 5 MiB of that after the first 1000."""
    with Daemon.start(tmp_path) as daemon:
        memory = []
        for sessions in (1000, 9000):
            for _ in range(sessions):
                daemon.address.echo(b"hello")
            memory.append(daemon.memory)
    grown = memory[1] - memory[0]
    figure(f"{memory[0] / MIB:.1f} MiB after 1000 sessions, {memory[1] / MIB:.1f} MiB after 10 000")
    assert grown <= 5 * MIB
