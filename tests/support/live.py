"""A client that sends something every few milliseconds, and reports how long the answers took.

`python -m tests.support.live HOST PORT [tls]` runs until its input ends, and prints the number of answers, and the 99th
percentile and the maximum of their times in milliseconds. It is a process of its own, so that the test's own work isn't
measured.
"""

import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from select import select

from tests.support.addresses import Address


@dataclass
class Latency:
    """The times that a live client measured, once it has ended."""

    answers: int = 0
    p99: float = 0.0
    """In milliseconds, like `longest`."""
    longest: float = 0.0

    def __str__(self) -> str:
        return f"a live client's p99 of {self.answers} answers {self.p99:.1f} ms, longest {self.longest:.1f} ms"


@contextmanager
def living(address: Address) -> Iterator[Latency]:
    """Run a live client, and yield its times, which are set when it has ended."""
    command = [sys.executable, "-m", __name__, *map(str, address.address), *["tls"] * address.isTLS]
    latency = Latency()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"alive\n"
        try:
            yield latency
        finally:
            output, _ = process.communicate(timeout=30)
    answers, p99, longest = output.split()
    latency.answers, latency.p99, latency.longest = int(answers), float(p99), float(longest)


def _live(connection: socket.socket) -> None:
    took: list[float] = []
    while not select([sys.stdin], [], [], 0.003)[0]:
        began = time.perf_counter()
        connection.sendall(b"x" * 64)
        answer = b""
        while len(answer) < 64:
            if not (more := connection.recv(64)):
                raise ConnectionError("the server ended the connection")
            answer += more
        if not took:
            print("alive", flush=True)
        took.append((time.perf_counter() - began) * 1000)
    took.sort()
    print(len(took), took[len(took) * 99 // 100], took[-1])


if __name__ == "__main__":
    _, host, port, *kind = sys.argv
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if kind:
            context = ssl._create_unverified_context()  # noqa: S323  # only its time counts
            with context.wrap_socket(connection) as secured:
                _live(secured)
        else:
            _live(connection)
