"""`python -m benchmarks.stop [CONNECTIONS]`: the longest turn of the daemon's reactor during a shutdown."""

import json
import signal
import sys
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from socket import create_connection
from tempfile import TemporaryDirectory

from benchmarks.machine import cores, describeMachine, inWords
from benchmarks.measure import raiseDescriptorLimit
from benchmarks.process import endingChildren, pinned, running
from benchmarks.report import layout

CONNECTIONS = 20_000
REACTORS = ("epoll", "uvloop")
SOURCES = 250
"""The number of addresses to connect from: each has 28 000 ports."""

HEARTBEAT = str(Path(__file__).parent / "peers" / "heartbeat.py")
DAEMON = ("-n", "--pidfile=", "echoup", "--listen", "127.0.0.1:0", "--max-connections", "0")
HEADS = ("reactor", "longest turn, ms", "CPU of one, ms", "stop, s", "CPU, s", "ended", "reset")


def main() -> None:
    """Stop a daemon with idle connections, on each reactor, and print a table."""
    wanted = int(sys.argv[1]) if sys.argv[1:] else CONNECTIONS
    count = min(wanted, raiseDescriptorLimit(wanted))
    with endingChildren(), TemporaryDirectory(prefix="benchmarks-") as folder:
        rows = [[reactor, *measure(reactor, count, Path(folder))] for reactor in REACTORS]
    print(layout(HEADS, rows))
    print(f"\n{count} idle connections. {inWords(describeMachine())}")


def measure(reactor: str, count: int, folder: Path) -> list[str]:
    """Return the figures of one shutdown, as cells of the table."""
    serverCores, clientCores = cores()
    figures = folder / "figures"
    command = (sys.executable, HEARTBEAT, str(figures), "shutdown", f"--reactor={reactor}", *DAEMON)
    ours, theirs = Pipe()
    with running(command, serverCores, folder / "log") as server, pinned(clientCores):
        client = Process(target=hold, args=(server.port, count, theirs), daemon=True)
        client.start()
        theirs.close()
        ours.recv()
        server.settle()
        server.process.send_signal(signal.SIGTERM)
        ended, reset = ours.recv()
        server.process.wait(60)
        client.join()
    said = json.loads(figures.read_text())
    turns = [f"{said[name] * 1000:.1f}" for name in ("turn", "turnCPU")]
    return [*turns, f"{said['seconds']:.2f}", f"{said['cpu']:.2f}", str(ended), str(reset)]


def hold(port: int, count: int, pipe: Connection) -> None:
    """Open connections, exchange a byte on each, and read all of them to the end.

    Send a word through `pipe` when they are open, and at the end how many were ended and how many were reset.
    """
    with DefaultSelector() as selector:
        for number in range(count):
            connection = create_connection(("127.0.0.1", port), source_address=(f"127.0.0.{2 + number % SOURCES}", 0))
            connection.sendall(b"x")
            assert connection.recv(1) == b"X"
            selector.register(connection, EVENT_READ, connection)
        pipe.send("open")
        ended = reset = 0
        while selector.get_map():
            for key, _ in selector.select():
                try:
                    assert not key.data.recv(1)
                    ended += 1
                except ConnectionResetError:
                    reset += 1
                selector.unregister(key.data)
                key.data.close()
    pipe.send((ended, reset))


if __name__ == "__main__":
    main()
