"""UDP by the real daemon: exact, from the address that was asked, and no danger to a third party."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from select import select
from socket import (
    AF_INET,
    CMSG_SPACE,
    IPPROTO_RAW,
    IPPROTO_UDP,
    SO_RCVBUF,
    SOCK_RAW,
    SOL_SOCKET,
    inet_aton,
    socket,
)
from struct import Struct, pack

import pytest

from echoup.server.datagram.port import DATAGRAMS_PER_TURN, RECEIVE_BUFFER, SO_RCVBUFFORCE
from echoup.server.datagram.reflection import RETURN
from tests.support.chance import randomBytes
from tests.support.daemon import Daemon
from tests.support.datagrams import client, mark, ports, receiveMarked
from tests.support.ending import ending
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("reactor")

SO_TIMESTAMPNS = 35  # Linux has it, Python 3.11 doesn't
_TIMESPEC = Struct("@ll")


def answer(address: tuple[str, int], data: bytes) -> bytes:
    """Return the answer of `address` to `data`."""
    with client(address) as asking:
        asking.send(data)
        return asking.recv(65_536)


def isQuiet(daemon: Daemon) -> bool:
    """Whether the log of a daemon that has ended has at most one line about refused datagrams, but for the last."""
    return daemon.textBeforeStop.count("refused") <= 1


def spoof(source: tuple[str, int], destination: tuple[str, int], data: bytes) -> None:
    """Send `data` as if it came from `source`; skip the test without the privilege."""
    header = pack(
        "!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, IPPROTO_UDP, 0, inet_aton(source[0]), inet_aton(destination[0])
    )
    try:
        raw = socket(AF_INET, SOCK_RAW, IPPROTO_RAW)
    except PermissionError:
        pytest.skip("raw sockets are not permitted")
    with raw:
        raw.sendto(header + pack("!HHHH", source[1], destination[1], 8 + len(data), 0) + data, (destination[0], 0))


@pytest.mark.portable
def test_everySizeIsExact(tmp_path: Path) -> None:
    """A datagram of every size comes back whole and in upper case, over IPv4 and IPv6."""
    with Daemon.start(tmp_path, "--udp=127.0.0.1:0", "--udp=[::1]:0") as daemon:
        for address, largest in zip(ports(daemon), (65_507, 65_527), strict=True):
            for size in (0, 1, 1400, 8191, 8192, 8193, 65_507, largest):
                data = randomBytes(size)
                assert answer(address, data) == data.upper(), (address, size)
    assert isQuiet(daemon)


def test_answerComesFromTheAskedAddress(tmp_path: Path) -> None:
    """If the daemon listens on every address, each answer comes from the one that was asked."""
    with Daemon.start(tmp_path, "--udp=0") as daemon:
        found = dict(ports(daemon))
        for host in ("127.0.0.1", "127.0.0.2", "127.3.2.1", "::1"):
            address = (host, found["::" if ":" in host else "0.0.0.0"])  # noqa: S104  # the daemon's
            assert answer(address, b"hello") == b"HELLO"


@pytest.mark.portable
def test_answerHasTheTOSThatArrived(tmp_path: Path) -> None:
    """DSCP and ECN of an answer are those of its datagram, at one address and at all, over IPv4 and IPv6."""
    with Daemon.start(tmp_path, "--udp=127.0.0.1:0", "--udp=[::1]:0", "--udp=*:0") as daemon:
        *alone, (_, port), (_, port6) = ports(daemon)
        for address in (*alone, ("127.0.0.2", port), ("::1", port6)):
            with client(address) as asking:
                for tos in (0x2E << 2, 0, 1, 2, 3, 0x28 | 3, 0):
                    mark(asking, tos)
                    asking.send(b"with %d" % tos)
                    assert receiveMarked(asking) == (b"WITH %d" % tos, tos), address
    assert isQuiet(daemon)


def test_burstIsAnswered(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """Nearly all of a thousand datagrams at once are answered, three times."""
    with Daemon.start(tmp_path, "--udp=127.0.0.1:0") as daemon, client(ports(daemon)[0]) as asking:
        for option in (SO_RCVBUF, SO_RCVBUFFORCE):
            with suppress(OSError):
                asking.setsockopt(SOL_SOCKET, option, RECEIVE_BUFFER)
        if asking.getsockopt(SOL_SOCKET, SO_RCVBUF) < RECEIVE_BUFFER:
            pytest.skip("the kernel doesn't keep a burst for us: net.core.rmem_max is too small")
        counts = []
        for burst in range(3):
            datagrams = [(b"%d %d " % (burst, i)).ljust(1400, b"x") for i in range(1000)]
            for datagram in datagrams:
                asking.send(datagram)
            answers: set[bytes] = set()
            with suppress(TimeoutError):
                while len(answers) < len(datagrams):
                    answers.add(asking.recv(65_536))
            assert answers <= {datagram.upper() for datagram in datagrams}
            counts.append(len(answers))
        figure(f"answered {counts} of 1000 x 1400 B at once")
        assert min(counts) >= 990
    assert isQuiet(daemon)


@contextmanager
def twoDaemons(folder: Path) -> Iterator[tuple[Daemon, Daemon]]:
    """Run two daemons."""
    folders = [folder / name for name in ("one", "two")]
    for each in folders:
        each.mkdir()
    with Daemon.start(folders[0], "--udp=127.0.0.1:0") as one, Daemon.start(folders[1], "--udp=127.0.0.1:0") as two:
        yield one, two


def test_spoofedDatagramDiesOutBetweenTwoDaemons(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """Between two daemons each spoofed datagram is answered at most once by each, whatever its bytes.

    They talk through a relay, which counts: each takes its side of the relay for the other daemon. A reply that comes
    back after RETURN is answered again, so a run that a busy machine has delayed for so long tells nothing.
    """
    spoofed = [b"", b"a", b"A", b"hello", b"HELLO", bytes(1400), randomBytes(60_000), *(b"%d" % i for i in range(200))]
    with (
        twoDaemons(tmp_path) as (one, two),
        client(ports(one)[0]) as toOne,
        client(ports(two)[0]) as toTwo,
    ):

        def relay() -> int:
            """Send the datagrams, and return how many the relay passed on; 0 if that took too long."""
            began = ended = time.monotonic()
            for datagram in spoofed:
                toTwo.send(datagram)
            count = 0
            while count < 10 * len(spoofed) and (readable := select([toOne, toTwo], [], [], 3)[0]):
                for side in readable:
                    (toTwo if side is toOne else toOne).send(side.recv(65_536))
                    count += 1
                ended = time.monotonic()
            return count if ended - began < RETURN else 0

        relayed = eventually(relay)
        figure(f"{len(spoofed)} spoofed datagrams between two daemons became {relayed} more")
        assert len(spoofed) < relayed <= 2 * len(spoofed)
        for daemon in (one, two):
            assert answer(ports(daemon)[0], b"hello") == b"HELLO"
    assert "it is this daemon's own reply" in two.text
    assert isQuiet(one)
    assert isQuiet(two)


def test_spoofedDatagramsLeaveTwoDaemonsIdle(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """Without a relay, too, spoofed datagrams die out: the daemons' processor time and log show it."""
    with twoDaemons(tmp_path) as (one, two):
        for i in range(100):
            spoof(ports(one)[0], ports(two)[0], b"spoofed %d" % i)
        # It is `two` that recognises its replies first, unless `one` got no turn for as long as RETURN.
        eventually(lambda: "it is this daemon's own reply" in one.text + two.text)
        time.sleep(1)
        cpu, began = one.cpu + two.cpu, time.monotonic()
        time.sleep(1)
        busy = (one.cpu + two.cpu - cpu) / (time.monotonic() - began)
        figure(f"a second after 100 spoofed datagrams two daemons use {busy:.2%} of a core")
        assert busy < 0.05
    assert isQuiet(one)
    assert isQuiet(two)


def test_emptyDatagramsFromItselfDoNotBlockIt(tmp_path: Path) -> None:
    """Empty datagrams, from clients and in the daemon's own name, keep it from nothing else."""
    with Daemon.start(tmp_path, "--udp=127.0.0.1:0") as daemon, ExitStack() as opened:
        (address,) = ports(daemon)
        for _ in range(3):
            spoof(address, address, b"")
            asking = opened.enter_context(client(address))  # no port twice, or the answer would be an own reply
            asking.send(b"")
            assert asking.recv(1) == b""
        assert daemon.address.echo(b"hello") == b"HELLO"
        eventually(lambda: "the source port is one of this daemon's" in daemon.text)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(60) == 128 + signal.SIGTERM
    assert isQuiet(daemon)


def test_systemPortsAndOwnPortsGetNothing(tmp_path: Path) -> None:
    """Ports below 1024, and the daemon's own at any address, get no answer; other ports do."""
    with Daemon.start(tmp_path, "--udp=127.0.0.1:0", "--udp=127.0.0.1:0") as daemon:
        address, other = ports(daemon)
        host = f"127.2.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"  # of no other run of the test at the same time
        for number in (address[1], other[1], 1023):
            with suppress(PermissionError), client(address, (host, number), 0.2) as asking:  # of the port below 1024
                asking.send(b"hello")
                with pytest.raises(TimeoutError):
                    asking.recv(1)
            assert answer(address, b"hello") == b"HELLO"
    assert isQuiet(daemon)


def _stamped(asking: socket) -> tuple[bytes, int]:
    """Return an answer and when the kernel got it, in nanoseconds; 0 if it has not begun to record times."""
    data, ancillary, _, _ = asking.recvmsg(64, CMSG_SPACE(_TIMESPEC.size))
    seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2]) if ancillary else (0, 0)
    return data, seconds * 10**9 + nanoseconds


def test_connectionIsServedWithinTwoTurns(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """However many datagrams wait, at most two turns of them are answered before a connection's request.

    Two, because the request may come when a turn has begun. The kernel's timestamps tell the order of the answers.
    """
    count = 3 * DATAGRAMS_PER_TURN
    with Daemon.start(tmp_path, "--udp=127.0.0.1:0") as daemon, ExitStack() as opened:
        connection = opened.enter_context(daemon.address.connect())
        asking = opened.enter_context(client(ports(daemon)[0]))
        for each in (connection, asking):
            each.setsockopt(SOL_SOCKET, SO_TIMESTAMPNS, 1)

        def isStamped() -> bool:
            connection.send(b"hello")
            return _stamped(connection)[1] > 0

        eventually(isStamped)
        before = []
        for _ in range(20):
            daemon.signal(signal.SIGSTOP)
            for _ in range(count):
                asking.send(b"hello")
            connection.send(b"hello")
            daemon.signal(signal.SIGCONT)
            data, answered = _stamped(connection)
            assert data == b"HELLO"
            before.append(sum(_stamped(asking)[1] < answered for _ in range(count)))
        figure(f"of {count} datagrams {min(before)} to {max(before)} were answered before a connection's request")
        assert max(before) <= 2 * DATAGRAMS_PER_TURN


def test_connectionIsServedDuringAFlood(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """During a flood of datagrams a connection is served again and again.

    How soon depends on the machine; `test_connectionIsServedWithinTwoTurns` counts the datagrams that come first.
    """
    times: list[float] = []
    with Daemon.start(tmp_path, "--udp=127.0.0.1:0") as daemon, daemon.address.connect() as connection:
        ((_, port),) = ports(daemon)
        command = f"from tests.support.datagrams import flood; flood({port}, 10_000_000)"
        with ending(subprocess.Popen([sys.executable, "-c", command])) as flooding:
            while len(times) <= 100 and flooding.poll() is None:
                began = time.perf_counter()
                connection.sendall(b"hello")
                assert connection.recv(5) == b"HELLO"
                times.append(time.perf_counter() - began)
                time.sleep(0.001)
        p99 = sorted(times)[len(times) * 99 // 100] * 1000
        figure(f"99 of 100 of {len(times)} answers within {p99:.1f} ms")
        assert len(times) > 100
    assert isQuiet(daemon)


def test_datagramsBeforeASIGTERMAreAnswered(tmp_path: Path) -> None:
    """Datagrams that came before a SIGTERM are answered."""
    with Daemon.start(tmp_path, "--udp=127.0.0.1:0") as daemon, client(ports(daemon)[0]) as asking:
        daemon.signal(signal.SIGSTOP)
        for i in range(100):
            asking.send(b"datagram %d" % i)
        daemon.signal(signal.SIGTERM)
        daemon.signal(signal.SIGCONT)
        assert [asking.recv(65_536) for _ in range(100)] == [b"DATAGRAM %d" % i for i in range(100)]
        assert daemon.wait(60) == 128 + signal.SIGTERM
    assert isQuiet(daemon)
