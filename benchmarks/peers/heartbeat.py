"""twistd with a timer that measures the turns of the reactor: a turn is the gap between two beats.

`heartbeat.py FILE PHASE ARGUMENTS...` runs twistd with ARGUMENTS, and writes a JSON object into FILE at the end of
PHASE, which is `run`, up to the signal that stops it, or `shutdown`, which comes after that.
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

LONG = 0.002
"""The seconds of a turn that is noted with its time."""

PHASES = {
    "run": (("after", "startup"), ("before", "shutdown")),
    "shutdown": (("before", "shutdown"), ("after", "shutdown")),
}
"""The reactor's events at the beginning and at the end of each phase."""


class Heartbeat:
    """A timer that finds the longest turns of a reactor in a phase, in wall seconds and in CPU seconds."""

    def __init__(self, reactor: PosixReactorBase, path: Path, phase: str) -> None:
        """Write the figures into the file `path`."""
        self._reactor = reactor
        self._path = path
        self._turn = self._turnCPU = 0.0
        self._long: list[tuple[float, float, float]] = []
        begin, end = PHASES[phase]
        reactor.addSystemEventTrigger(*begin, self._begin)
        reactor.addSystemEventTrigger(*end, self._end)

    def _begin(self) -> None:
        self._began = self._last = _clocks()
        self._beat()

    def _beat(self) -> None:
        now = _clocks()
        turn, turnCPU = (after - before for after, before in zip(now, self._last, strict=True))
        self._turn, self._turnCPU = max(self._turn, turn), max(self._turnCPU, turnCPU)
        if turn > LONG:
            self._long.append((now[0], turn, turnCPU))
        self._last = now
        self._reactor.callLater(INTERVAL, self._beat)

    def _end(self) -> None:
        self._beat()
        seconds, cpu = (now - then for now, then in zip(self._last, self._began, strict=True))
        figures = {"turn": self._turn, "turnCPU": self._turnCPU, "seconds": seconds, "cpu": cpu, "long": self._long}
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(figures))
        temporary.rename(self._path)


def _clocks() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


if __name__ == "__main__":
    path, phase = Path(sys.argv.pop(1)), sys.argv.pop(1)
    runApp = twistd.runApp

    def runWithHeartbeat(config: object) -> None:
        """Run the service that `config` names, on the reactor that it chose."""
        from twisted.internet import reactor

        Heartbeat(cast("PosixReactorBase", reactor), path, phase)
        runApp(config)

    twistd.runApp = runWithHeartbeat
    twistd.run()
