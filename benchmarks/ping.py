"""`python -m benchmarks.ping`: the cost of a health check by `echoup ping`, compared to importing Twisted's reactor."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.cost import costOf, costTable
from benchmarks.process import endingChildren, running

ROUNDS = 30
COMMANDS = Path(sys.executable).parent
BASELINE = "`python -c 'import twisted.internet.reactor'`"
DAEMON = (str(COMMANDS / "twistd"), "-n", "--pidfile=", "echoup", "--listen", "127.0.0.1:0")


def main() -> None:
    """Print the wall time and CPU time of each command in ms, and their ratios: medians of alternating runs."""
    with (
        endingChildren(),
        TemporaryDirectory() as folder,
        running(DAEMON, os.sched_getaffinity(0), Path(folder) / "log") as server,
    ):
        address = f"127.0.0.1:{server.port}"
        commands = {
            BASELINE: [sys.executable, "-c", "import twisted.internet.reactor"],
            "`echoup ping -c 1 --quiet`": [str(COMMANDS / "echoup"), "ping", "-c", "1", "--quiet", address],
        }
        run = partial(subprocess.run, stdout=subprocess.DEVNULL, check=True)
        for command in commands.values():
            run(command)  # compiles the modules that it imports
        rounds = [{name: costOf(run, command) for name, command in commands.items()} for _ in range(ROUNDS)]
    print(costTable("command", rounds, BASELINE, "reactor"))


if __name__ == "__main__":
    main()
