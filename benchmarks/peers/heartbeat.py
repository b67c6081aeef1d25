"""twistd with a timer that measures the turns of the reactor during a shutdown: a turn is the gap between two beats.

`heartbeat.py FILE ARGUMENTS...` runs twistd with ARGUMENTS, and writes a JSON object into FILE at the end.
"""

import json
import sys
import time
from pathlib import Path
from typing import cast

from twisted.internet.posixbase import PosixReactorBase
from twisted.scripts import twistd

INTERVAL = 0.001
"""The seconds between two beats of an idle reactor."""


class Heartbeat:
    """A timer that finds the longest turn of a reactor's shutdown, in wall seconds and in CPU seconds."""

    def __init__(self, reactor: PosixReactorBase, path: Path) -> None:
        """Write the figures into the file `path`."""
        self._reactor = reactor
        self._path = path
        self._turn = self._turnCPU = 0.0
        reactor.addSystemEventTrigger("before", "shutdown", self._begin)
        reactor.addSystemEventTrigger("after", "shutdown", self._end)

    def _begin(self) -> None:
        self._began = self._last = _clocks()
        self._beat()

    def _beat(self) -> None:
        now = _clocks()
        self._turn, self._turnCPU = max(self._turn, now[0] - self._last[0]), max(self._turnCPU, now[1] - self._last[1])
        self._last = now
        self._reactor.callLater(INTERVAL, self._beat)

    def _end(self) -> None:
        self._beat()
        seconds, cpu = (now - then for now, then in zip(self._last, self._began, strict=True))
        figures = {"turn": self._turn, "turnCPU": self._turnCPU, "seconds": seconds, "cpu": cpu}
        self._path.write_text(json.dumps(figures))


def _clocks() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


if __name__ == "__main__":
    path = Path(sys.argv.pop(1))
    runApp = twistd.runApp

    def runWithHeartbeat(config: object) -> None:
        """Run the service that `config` names, on the reactor that it chose."""
        from twisted.internet import reactor

        Heartbeat(cast("PosixReactorBase", reactor), path)
        runApp(config)

    twistd.runApp = runWithHeartbeat
    twistd.run()
