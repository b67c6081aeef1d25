"""`python -m benchmarks.ping`: what a health check by `echoup ping` costs beside an import of Twisted's reactor."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from tempfile import TemporaryDirectory

ROUNDS = 30
COMMANDS = Path(sys.executable).parent
LISTENING = re.compile(r"listening on (127\.0\.0\.1:\d+)")


def main() -> None:
    """Print the wall time and the processor time of each, in ms: medians of runs in turns, and their ratios."""
    with serving() as address:
        commands = {
            "python -c 'import twisted.internet.reactor'": [sys.executable, "-c", "import twisted.internet.reactor"],
            "echoup ping -c 1 --quiet": [str(COMMANDS / "echoup"), "ping", "-c", "1", "--quiet", address],
        }
        for command in commands.values():
            measure(command)  # which compiles what is imported
        runs = [[measure(command) for command in commands.values()] for _ in range(ROUNDS)]
    print("| command | wall, ms | CPU, ms | wall / reactor | CPU / reactor |\n|---|---:|---:|---:|---:|")
    for index, name in enumerate(commands):
        wall, cpu = (median(run[index][kind] for run in runs) for kind in (0, 1))
        ratios = (median(run[index][kind] / run[0][kind] for run in runs) for kind in (0, 1))
        print(f"| `{name}` | {wall * 1000:.0f} | {cpu * 1000:.0f} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")


def measure(command: list[str]) -> tuple[float, float]:
    """Return the seconds and the seconds of processor time that a command takes."""
    began, before = time.monotonic(), getrusage(RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    ended, after = time.monotonic(), getrusage(RUSAGE_CHILDREN)
    return ended - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextmanager
def serving() -> Iterator[str]:
    """Run the daemon, and tell its address."""
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        options = ["--pidfile=", f"--logfile={log}", "echoup", "--listen", "127.0.0.1:0"]
        with subprocess.Popen([str(COMMANDS / "twistd"), "-n", *options]) as daemon:
            try:
                while not (found := log.exists() and LISTENING.search(log.read_text())):
                    time.sleep(0.01)
                    if daemon.poll() is not None:
                        sys.exit("the daemon doesn't start")
                yield found[1]
            finally:
                daemon.terminate()


if __name__ == "__main__":
    main()
