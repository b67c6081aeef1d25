"""Wait for conditions on a machine that other processes use too."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


def waited() -> float:
    """Return the seconds that all threads of this process have been runnable without getting a processor.

    A thread that waits for the interpreter's lock waits for the thread that has it. The source is the Linux kernel's
    Documentation/scheduler/sched-stats.rst, on /proc/PID/schedstat.
    """
    nanoseconds = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # the thread has ended
            nanoseconds += int(path.read_text().split()[1])
    return nanoseconds / 1e9


def eventually(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Return the first true value of `condition`; fail after `seconds`, which are enough on a busy machine."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{condition} did not come true in {seconds} s"
        time.sleep(0.01)
    return value


class Pauses:
    """The times between two calls of `note`, and before the first."""

    longest = 0.0
    """In seconds."""

    def __init__(self) -> None:
        self._before = time.monotonic()

    def note(self) -> None:
        """Note that the time since the last call is over."""
        now = time.monotonic()
        self.longest = max(self.longest, now - self._before)
        self._before = now
