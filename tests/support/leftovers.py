"""Find processes that tests have started and that still run, and kill them when the tests' process ends.

A process inherits the environment of its parent, so a variable with a unique value marks all descendants of this
process, including orphans. A guard, in a process of its own, kills them when this process has ended, even if it was
killed, or ended by pytest-timeout.
"""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL
from uuid import uuid4

MARK = "TEST_PROCESSES"


def markProcesses() -> None:
    """Mark the processes that this one starts from now on, and start the guard."""
    value = uuid4().hex
    guards, _ = os.pipe()  # no other process inherits it (PEP 446), so it ends with this one
    command = [sys.executable, "-IS", __file__, value]
    unmarked = {name: entry for name, entry in os.environ.items() if name != MARK}  # no other guard kills this one
    os.posix_spawn(command[0], command, unmarked, file_actions=[(os.POSIX_SPAWN_DUP2, guards, 0)], setsid=True)
    os.close(guards)
    os.environ[MARK] = value


def leftovers(mark: str, *others: str) -> dict[int, str]:
    """Return the commands of the running processes that have `mark`, by their numbers.

    `others` are further entries, `NAME=VALUE`, that their environment must have.
    """
    wanted = {f"{MARK}={mark}", *others}
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or belongs to another user
            if wanted <= set((path / "environ").read_text(errors="replace").split("\0")):
                found[int(path.name)] = (path / "cmdline").read_text(errors="replace").replace("\0", " ")
    return found


def outlasting(*others: str, seconds: float = 30.0) -> dict[int, str]:
    """Return the leftovers of this process that still run after `seconds`."""
    deadline = time.monotonic() + seconds
    while (found := leftovers(os.environ[MARK], *others)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


if __name__ == "__main__":
    sys.stdin.read()
    for _ in range(100):  # a process may have started another one before it was killed
        if not (found := leftovers(sys.argv[1])):
            break
        for process in found:
            with suppress(ProcessLookupError):
                os.kill(process, SIGKILL)
