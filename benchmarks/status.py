"""`python -m benchmarks.status`: what the status site costs, and how long an answer delays the connections."""

import json
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe, Process
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event, Thread

import click

from benchmarks.load import LoadError, compileLoad
from benchmarks.machine import cores, describeMachine, inWords
from benchmarks.measure import Bench, raiseDescriptorLimit
from benchmarks.options import roundsOption, secondsOption
from benchmarks.peer import Peer
from benchmarks.process import endingChildren, pinned, running
from benchmarks.report import layout
from benchmarks.scenario import Scenario
from benchmarks.stop import HEARTBEAT, REACTORS, hold

PATHS = ("/metrics", "/api/status", "/api/connections", "/readyz")
REQUESTS = 5
"""Requests for each path; the median of their times counts, and the longest turn of all."""

TWISTD = str(Path(sys.executable).parent / "twistd")
DAEMON = ("-n", "--pidfile=", "echoup", "--max-connections=0")
LISTEN = ("--listen", "127.0.0.1:0")

EACH = 1.0
"""Seconds between two scrapes under load."""

LOAD = Scenario("64b-100", "exchange", 100, 64)

REQUEST_HEADS = ("reactor", "path", "bytes", "answer, ms", "longest turn, ms", "CPU of one, ms")
START_HEADS = ("a start", "CPU, ms", "RSS, MiB")
MESSAGE_HEADS = (LOAD.title, "CPU, µs/message", "× without")


@click.command()
@click.argument("connections", default=10_000, type=click.IntRange(1))
@roundsOption
@secondsOption(3.0, "each message's cost")
def main(connections: int, rounds: int, seconds: float) -> None:
    """Print what requests cost while CONNECTIONS are open, and what a start and a message cost without and with it."""
    connections = min(connections, raiseDescriptorLimit(connections))
    with endingChildren(), TemporaryDirectory(prefix="benchmarks-") as name:
        folder = Path(name)
        try:
            requests = [row for reactor in REACTORS for row in measureRequests(reactor, connections, folder)]
            click.echo(f"{connections} open connections:\n\n{layout(REQUEST_HEADS, requests)}\n")
            click.echo(layout(START_HEADS, measureStarts(rounds, folder)) + "\n")
            click.echo(layout(MESSAGE_HEADS, measureMessages(rounds, seconds, folder)))
        except LoadError as error:
            raise click.ClickException(str(error)) from None
    click.echo(f"\n{inWords(describeMachine())}")


@dataclass(frozen=True)
class Answered:
    """An answer, and when the request for it began and ended, in seconds of the monotonic clock."""

    size: int
    began: float
    ended: float


def ask(site: Path, path: str) -> Answered:
    """Send one request to the status site on the Unix socket `site`."""
    began, answer = time.monotonic(), b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(site))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        while data := connection.recv(1 << 20):
            answer += data
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise LoadError(f"{path} was answered with {answer[:50]!r}")
    return Answered(len(answer), began, time.monotonic())


def measureRequests(reactor: str, connections: int, folder: Path) -> list[list[str]]:
    """Return the rows of one reactor: the size, the median time of an answer, and the longest turn meanwhile."""
    serverCores, clientCores = cores()
    figures, site = folder / "figures", folder / "status"
    figures.unlink(missing_ok=True)
    command = (sys.executable, HEARTBEAT, str(figures), "run", f"--reactor={reactor}", *DAEMON)
    ours, theirs = Pipe()
    with (
        running((*command, f"--status=unix:{site}", *LISTEN), serverCores, folder / "log") as server,
        pinned(clientCores),
    ):
        client = Process(target=hold, args=(server.port, connections, theirs), daemon=True)
        client.start()
        ours.recv()
        answers = {path: [_askAfterAPause(site, path) for _ in range(REQUESTS)] for path in PATHS}
        server.process.send_signal(signal.SIGTERM)
        while not figures.exists():
            time.sleep(0.01)
        client.kill()
        client.join()
    long = json.loads(figures.read_text())["long"]
    return [[reactor, path, *cells(each, long)] for path, each in answers.items()]


def _askAfterAPause(site: Path, path: str) -> Answered:
    time.sleep(0.05)
    return ask(site, path)


def cells(answers: Sequence[Answered], long: Sequence[tuple[float, float, float]]) -> list[str]:
    """Return the cells of a row; `long` are turns: when each ended, and its seconds of wall and CPU time."""
    turns = [
        (turn, cpu) for ended, turn, cpu in long if any(each.began < ended < each.ended + turn for each in answers)
    ]
    longest = [max((turn[kind] for turn in turns), default=0.0) * 1000 for kind in (0, 1)]
    took = median(each.ended - each.began for each in answers) * 1000
    return [str(answers[-1].size), f"{took:.0f}", *(f"{each:.1f}" for each in longest)]


def measureStarts(rounds: int, folder: Path) -> list[list[str]]:
    """Return the medians of CPU time and memory of a daemon that has just started, without and with the site."""
    site = folder / "status"
    kinds = {"without --status": (), "with --status": (f"--status=unix:{site}",)}
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, options in kinds.items():
            command = (TWISTD, "--reactor=uvloop", *DAEMON, *options, *LISTEN)
            with running(command, cores()[0], folder / "log") as server:
                processes = server.settle()
                found[kind].append((sum(each.cpu for each in processes), sum(each.memory for each in processes)))
    medians = {kind: [median(values) for values in zip(*each, strict=True)] for kind, each in found.items()}
    return [[kind, f"{cpu * 1000:.0f}", f"{memory / 2**20:.1f}"] for kind, (cpu, memory) in medians.items()]


def measureMessages(rounds: int, seconds: float, folder: Path) -> list[list[str]]:
    """Return the CPU time of a message without the site, with it, and while it is scraped; one after the other."""
    site = folder / "status"
    bench = Bench({"tcp": compileLoad(folder)}, folder, seconds, *cores())
    plain = (TWISTD, "--reactor=uvloop", *DAEMON)
    without = Peer("without", "without --status", {"tcp": (*plain, *LISTEN)})
    having = Peer("with", "with --status", {"tcp": (*plain, f"--status=unix:{site}", *LISTEN)})
    kinds = {without.title: without, having.title: having, "scraped every second": having}
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(rounds):
        order = [*kinds][number % len(kinds) :] + [*kinds][: number % len(kinds)]
        for kind in order:
            done = Event()
            scraping = Thread(target=scrape, args=(site, done))
            if kind.startswith("scraped"):
                scraping.start()
            try:
                found[kind].append(bench.measure(kinds[kind], LOAD).cpu)
            finally:
                done.set()
                if scraping.ident:
                    scraping.join()
    ratios = {
        kind: median(value / base for value, base in zip(each, found[without.title], strict=True))
        for kind, each in found.items()
    }
    return [[kind, f"{median(each):.2f}", f"{ratios[kind]:.2f}"] for kind, each in found.items()]


def scrape(site: Path, done: Event) -> None:
    """Scrape regularly until it is `done`; the daemon may not have started yet, or have ended."""
    while not done.wait(EACH):
        with suppress(OSError, LoadError):
            ask(site, "/metrics")


if __name__ == "__main__":
    main()
