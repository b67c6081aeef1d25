"""Processes that end with the test that has started them, also when the test fails halfway."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import kill
from pathlib import Path
from signal import SIGKILL
from subprocess import Popen
from typing import AnyStr


@contextmanager
def ending(process: "Popen[AnyStr]") -> "Iterator[Popen[AnyStr]]":
    """Yield `process`, and kill it in the end if it still runs."""
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def endingDaemon(pidFile: Path) -> Iterator[None]:
    """Kill in the end the process that has written its number into `pidFile`, if the file is still there."""
    try:
        yield
    finally:
        with suppress(FileNotFoundError, ProcessLookupError):
            kill(int(pidFile.read_text()), SIGKILL)
