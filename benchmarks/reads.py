"""`python -m benchmarks.reads`: what a message costs on Twisted's default reactor, by the size of its reads."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.load import compileLoad
from benchmarks.machine import cores, describeMachine, inWords
from benchmarks.measure import Bench, measureAll
from benchmarks.peer import Peer
from benchmarks.process import adoptingOrphans
from benchmarks.report import layout
from benchmarks.scenario import SCENARIOS
from benchmarks.targets import medianOf, ratioOf

ROUNDS = 9
SECONDS = 0.5
NAMES = ("64b-100", "1k-100", "16k-8", "64k-8", "stream")
SIZES = (16, 32, 64, 128, 256)
"""In KiB; Twisted's own is 64."""

TWISTD = """
import sys
from twisted.internet import tcp
from twisted.scripts.twistd import run
tcp.Connection.bufferSize = int(sys.argv.pop(1)) * 1024
run()
"""
DAEMON = ("-n", "--pidfile=", "echoup", "--listen", "127.0.0.1:0")


def main() -> None:
    """Print microseconds of processor time a message (for the stream: a MiB), and the ratios to Twisted's own size."""
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in NAMES]
    sizes = [Peer(str(size), f"{size} KiB", (sys.executable, "-c", TWISTD, str(size), *DAEMON)) for size in SIZES]
    with TemporaryDirectory() as name, adoptingOrphans():
        bench = Bench(compileLoad(Path(name)), Path(name), SECONDS, *cores())
        records = measureAll(bench, sizes, scenarios, ROUNDS, lambda _: None)
    rows = []
    for size in sizes:
        cells = [size.title]
        for scenario in scenarios:
            value = medianOf(records, scenario.name, size.name, "cpu")
            ratio = ratioOf(records, scenario.name, size.name, "cpu", "64")
            cells.append("failed" if value is None or ratio is None else f"{value:.1f} ({ratio:.2f})")
        rows.append(cells)
    print(layout(["a read", *(scenario.title for scenario in scenarios)], rows))
    print(f"\n{inWords(describeMachine())} Medians of {ROUNDS}, {SECONDS:g} s each.")


if __name__ == "__main__":
    main()
