"""Wait for what comes in its own time, on a machine that others use too."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


def waited() -> float:
    """Return the seconds in which threads of this process could have run and got no processor, all of them together.

    A thread that waits for the interpreter's lock waits for the one that has it. The source is the Linux kernel's
    Documentation/scheduler/sched-stats.rst, on /proc/PID/schedstat.
    """
    nanoseconds = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # the thread has ended
            nanoseconds += int(path.read_text().split()[1])
    return nanoseconds / 1e9


def eventually(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Return the first true value of `condition`, or fail if there is none within `seconds`, even on a busy machine."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{condition} did not come true in {seconds} s"
        time.sleep(0.01)
    return value
