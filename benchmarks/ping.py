"""`python -m benchmarks.ping`: the cost of a health check by `echoup ping`, compared to importing Twisted's reactor."""

import os
import subprocess
import sys
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.process import exitOnSIGTERM, running

ROUNDS = 30
COMMANDS = Path(sys.executable).parent
DAEMON = (str(COMMANDS / "twistd"), "-n", "--pidfile=", "echoup", "--listen", "127.0.0.1:0")


def main() -> None:
    """Print the wall time and CPU time of each command in ms, and their ratios: medians of alternating runs."""
    exitOnSIGTERM()
    with TemporaryDirectory() as folder, running(DAEMON, os.sched_getaffinity(0), Path(folder) / "log") as server:
        address = f"127.0.0.1:{server.port}"
        commands = {
            "python -c 'import twisted.internet.reactor'": [sys.executable, "-c", "import twisted.internet.reactor"],
            "echoup ping -c 1 --quiet": [str(COMMANDS / "echoup"), "ping", "-c", "1", "--quiet", address],
        }
        for command in commands.values():
            measure(command)  # compiles the modules that it imports
        runs = [[measure(command) for command in commands.values()] for _ in range(ROUNDS)]
    print("| command | wall, ms | CPU, ms | wall / reactor | CPU / reactor |\n|---|---:|---:|---:|---:|")
    for index, name in enumerate(commands):
        wall, cpu = (median(run[index][kind] for run in runs) for kind in (0, 1))
        ratios = (median(run[index][kind] / run[0][kind] for run in runs) for kind in (0, 1))
        print(f"| `{name}` | {wall * 1000:.0f} | {cpu * 1000:.0f} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")


def measure(command: list[str]) -> tuple[float, float]:
    """Return the wall seconds and the CPU seconds of a command."""
    began, before = time.monotonic(), getrusage(RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    ended, after = time.monotonic(), getrusage(RUSAGE_CHILDREN)
    return ended - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
