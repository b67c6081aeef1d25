"""`python -m benchmarks.pipe`: a stream through `echoup connect` and back, compared to socat and ncat."""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from threading import Thread
from typing import IO

import click

from benchmarks.cost import Cost, costOf, costTable
from benchmarks.load import LoadError
from benchmarks.machine import describeMachine, inWords
from benchmarks.options import roundsOption
from benchmarks.process import endingChildren, running
from benchmarks.scenario import MIB, inBytes

COMMANDS = Path(sys.executable).parent
DAEMON = (str(COMMANDS / "twistd"), "-n", "--reactor=uvloop", "--pidfile=", "echoup", "--listen", "127.0.0.1:0")

BASELINE = "socat"
"""The client that the table compares the others to."""

BLOCK = bytes(range(256)) * 4096
"""What the stream repeats."""


@click.command()
@roundsOption
@click.option(
    "--size", default=1024, type=click.IntRange(1), show_default=True, metavar="MIB", help="Size of the stream in MiB."
)
def main(rounds: int, size: int) -> None:
    """Print the median wall and CPU time of each client in ms, and the medians of their ratios to socat's."""
    if not which(BASELINE):
        raise click.UsageError(f"{BASELINE} is not on PATH")
    try:
        with endingChildren():
            costs = measure(rounds, size)
    except LoadError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{inBytes(size * MIB)} through each client to the daemon on uvloop and back:\n")
    click.echo(costTable("client", costs, BASELINE, BASELINE))
    click.echo(f"\n{inWords(describeMachine())}")


def measure(rounds: int, size: int) -> list[dict[str, Cost]]:
    """Start the daemon, and return the costs of all installed clients with `size` MiB, by round and name."""
    with TemporaryDirectory() as folder, running(DAEMON, os.sched_getaffinity(0), Path(folder) / "log") as server:
        commands = {
            "echoup connect": (str(COMMANDS / "echoup"), "connect", f"127.0.0.1:{server.port}"),
            BASELINE: ("socat", "-b", "65536", "-t", "60", "-", f"TCP:127.0.0.1:{server.port}"),
            "ncat": ("ncat", "127.0.0.1", str(server.port)),
        }
        commands = {name: command for name, command in commands.items() if which(command[0])}
        for command in commands.values():
            transfer(command, 1)  # compiles the modules that it imports
        return [{name: costOf(transfer, command, size) for name, command in commands.items()} for _ in range(rounds)]


def transfer(command: Sequence[str], size: int) -> None:
    """Send `size` MiB through a client; raise LoadError unless exactly their upper case comes out."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdin
        assert client.stdout
        feeding = Thread(target=feed, args=(client.stdin, size))
        feeding.start()
        isRight = check(client.stdout, size)
        feeding.join()
    if client.returncode or not isRight:
        raise LoadError(f"{command[0]}: {'right' if isRight else 'wrong'} output, exit code {client.returncode}")


def feed(sink: IO[bytes], size: int) -> None:
    """Write `size` MiB, and close."""
    with suppress(BrokenPipeError), sink:
        for _ in range(size):
            sink.write(BLOCK)


def check(source: IO[bytes], size: int) -> bool:
    """Read to the end, or to the first wrong byte; return whether exactly the upper case of what `feed` writes came."""
    expected, buffer, came = memoryview(BLOCK.upper() * 2), bytearray(MIB), 0
    with source:
        while count := os.readv(source.fileno(), [buffer]):
            start = came % MIB
            if buffer[:count] != expected[start : start + count]:
                return False
            came += count
    return came == size * MIB


if __name__ == "__main__":
    main()
