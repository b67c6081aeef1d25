"""Processes that tests have started: which of them still run, and their end when the process that runs the tests is gone.

A process inherits the environment of the one that starts it, so a variable with a value of its own marks all that come from
this process, whoever their parent is by now. A guard, a process of its own, kills them when this one is gone, however it
went: pytest-timeout, for one, lets it vanish without a word.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL
from uuid import uuid4

MARK = "TEST_PROCESSES"


def markProcesses() -> None:
    """Mark what this process starts from here on, and start the guard."""
    value = uuid4().hex
    # The guard's input ends with this process: no other one inherits the pipe (PEP 446).
    subprocess.Popen([sys.executable, "-m", __name__, value], stdin=subprocess.PIPE, start_new_session=True)
    os.environ[MARK] = value


def leftovers(value: str, *others: str) -> Iterator[int]:
    """Yield the running processes with the mark `value` and the entries `others` in the environment that they began with."""
    wanted = {f"{MARK}={value}", *others}
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has ended, or is somebody else's
            if wanted <= set(path.read_text(errors="replace").split("\0")):
                yield int(path.parent.name)


if __name__ == "__main__":
    sys.stdin.read()
    for _ in range(100):  # one may have started another before it was killed
        if not (found := list(leftovers(sys.argv[1]))):
            break
        for process in found:
            with suppress(ProcessLookupError):
                os.kill(process, SIGKILL)
