"""`python -m benchmarks.memory`: the memory of a connection, in the daemon on uvloop and in the kernel at that end."""

import signal
import ssl
import sys
from array import array
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from os import sysconf
from pathlib import Path
from socket import IPPROTO_TCP, SO_LINGER, SOL_SOCKET, TCP_NODELAY, create_connection, socket
from statistics import median
from struct import pack
from tempfile import TemporaryDirectory

from benchmarks.certificate import makeCertificate
from benchmarks.machine import cores, describeMachine, inWords
from benchmarks.measure import raiseDescriptorLimit
from benchmarks.peer import CERTIFICATE
from benchmarks.process import Server, endingChildren, running

ROUNDS = 3
WARM = 100
"""Connections that are opened first, so that one-time allocations don't count."""

SO_MEMINFO = 55
"""The socket option with nine counters of bytes, in the order of SK_MEMINFO_… in <linux/sock_diag.h>."""

DAEMON = (str(Path(sys.executable).parent / "twistd"), "-n", "--reactor=uvloop", "--pidfile=", "echoup")
OPTIONS = ("--max-connections=0", "--stall-timeout=600", "--listen")


@dataclass(frozen=True)
class State:
    """Connections that have exchanged `size` bytes. Then `more` bytes arrive at a stopped daemon, or `endless` ones."""

    title: str
    connections: int
    size: int = 64
    more: int = 0
    endless: bool = False


STATES = (
    State("idle", 5000),
    State("64 KiB have arrived", 1000, 65536, more=65536),
    State("its peer never reads", 50, endless=True),
)


def main() -> None:
    """Print a table of the median KiB per connection."""
    raiseDescriptorLimit()
    print("| a connection | daemon, KiB | kernel's objects, KiB | kernel's buffers, KiB |\n|---|---:|---:|---:|")
    with endingChildren(), TemporaryDirectory() as name:
        pem = Path(name, CERTIFICATE)
        makeCertificate(pem)
        secured = f"ssl:0:interface=127.0.0.1:privateKey={pem}"
        for state in STATES:
            for title, listen in (state.title, "127.0.0.1:0"), (f"{state.title}, TLS", secured):
                rounds = [measure(state, listen, Path(name)) for _ in range(ROUNDS)]
                each = [median(kinds) / state.connections / 1024 for kinds in zip(*rounds, strict=True)]
                print(f"| {title} | {' | '.join(f'{kib:.1f}' for kib in each)} |", flush=True)
    print(f"\n{inWords(describeMachine())}")


def measure(state: State, listen: str, folder: Path) -> list[float]:
    """Start a daemon, bring connections into a state, and return the growth of each kind of memory."""
    with running((*DAEMON, *OPTIONS, listen), cores()[0], folder / "log") as server, ExitStack() as stack:

        def connections(count: int) -> list[socket]:
            made = [stack.enter_context(connect(server.port, listen.startswith("ssl"))) for _ in range(count)]
            for connection in made:
                exchange(connection, state.size)
            return made

        connections(WARM)
        before = memory(server, [])
        ours = connections(state.connections)
        if state.more:
            server.process.send_signal(signal.SIGSTOP)
        for connection in ours:
            connection.settimeout(0.1)
            with suppress(TimeoutError):
                connection.sendall(b"x" * state.more)
                while state.endless:
                    connection.send(b"x" * 65536)
        return [after - less for after, less in zip(memory(server, ours), before, strict=True)]


def connect(port: int, secure: bool) -> socket:
    """Connect, with TLS on request. Closing resets the connection, so that nothing of it stays in the kernel."""
    connection = create_connection(("127.0.0.1", port))
    connection.setsockopt(SOL_SOCKET, SO_LINGER, pack("ii", 1, 0))
    connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    # The certificate is this program's own.
    return ssl._create_unverified_context().wrap_socket(connection) if secure else connection  # noqa: S323


def exchange(connection: socket, size: int) -> None:
    """Send a message and read the whole reply."""
    connection.sendall(b"x" * size)
    while size:
        size -= len(connection.recv(size))


def memory(server: Server, ours: list[socket]) -> tuple[float, float, float]:
    """Return bytes: the daemon's RSS, the kernel's objects, and its TCP buffers.

    The objects are half of the machine's slabs, because both ends of each connection are on it. The buffers are those
    of all sockets minus those of `ours`.
    """
    rss = sum(process.memory for process in server.settle())
    counters = [array("I", connection.getsockopt(SOL_SOCKET, SO_MEMINFO, 36)) for connection in ours]
    buffered = number("/proc/net/sockstat", "TCP:", -1) * sysconf("SC_PAGE_SIZE")
    received, reserved, sent = (sum(each[kind] for each in counters) for kind in (0, 4, 5))
    return rss, number("/proc/meminfo", "Slab:", 1) * 1024 / 2, buffered - received - reserved - sent


def number(path: str, name: str, column: int) -> int:
    """Return a number from the line that begins with `name`."""
    return next(int(line.split()[column]) for line in Path(path).read_text().splitlines() if line.startswith(name))


if __name__ == "__main__":
    main()
