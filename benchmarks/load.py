"""Compile and run the load generators: load.c, and load.go for TLS."""

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peer import reasonIn


class LoadError(Exception):
    """A reply was wrong or missing; the message is one line that says which."""


@dataclass(frozen=True)
class Outcome:
    """The result of a load: the number of correct replies, their bytes, and the seconds from the first to the last.

    `histogram` is pairs in ascending order: a latency in nanoseconds, accurate to 0.4 %, and a number of messages.
    """

    messages: int
    bytes: int
    seconds: float
    histogram: tuple[tuple[int, int], ...]


def parseOutcome(line: str) -> Outcome:
    """Return the outcome that the load's last line describes."""
    fields = json.loads(line)
    histogram = tuple((nanoseconds, count) for nanoseconds, count in fields["histogram"])
    return Outcome(fields["messages"], fields["bytes"], fields["seconds"], histogram)


def percentile(histogram: Sequence[tuple[int, int]], percent: float) -> int:
    """Return the latency in nanoseconds that `percent` of the messages didn't exceed; raise ValueError without any."""
    due = sum(count for _, count in histogram) * percent / 100
    for nanoseconds, count in histogram:
        due -= count
        if due <= 0:
            return nanoseconds
    raise ValueError("there are no messages")


def compileLoad(folder: Path, transport: str = "tcp") -> str:
    """Compile the load generator for a transport into `folder`; raise LoadError if that fails. Return its path."""
    source, compiler = ("load.go", ("go", "build")) if transport == "tls" else ("load.c", ("cc", "-O2"))
    program = str(folder / source.replace(".", "-"))
    command = (*compiler, "-o", program, str(Path(__file__).parent / source))
    try:
        compiled = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except FileNotFoundError:
        raise LoadError(f"{source}: not compiled: {compiler[0]} is not on PATH") from None
    if compiled.returncode:
        raise LoadError(f"{source}: not compiled: {reasonIn(compiled.stderr)}")
    return program


def runLoad(command: Sequence[str], atMark: Callable[[str], None]) -> Outcome:
    """Run the load and return its outcome; raise LoadError if a reply was wrong, short or reset.

    `atMark` is called with `begin` before the measurement and with `end` after it, when no message is in flight.
    """
    line = ""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        try:
            for line in process.stdout:
                if not line.startswith("{"):
                    atMark(line.strip())
                    process.stdin.write("\n")
                    process.stdin.flush()
            error = process.stderr.read()
        except BaseException:
            process.kill()
            process.wait()  # Popen.__exit__ doesn't wait after Ctrl-C
            raise
    if process.returncode:
        raise LoadError(error.strip() or f"exit code {process.returncode}")
    return parseOutcome(line)
