"""Processes that end with the test that started them, even if the test fails."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import kill
from pathlib import Path
from signal import SIGKILL
from subprocess import Popen
from typing import AnyStr


@contextmanager
def ending(process: "Popen[AnyStr]") -> "Iterator[Popen[AnyStr]]":
    """Yield `process`, and kill it afterwards if it still runs."""
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def endingDaemon(pidFile: Path) -> Iterator[None]:
    """Kill the process whose number is in `pidFile` afterwards, if the file still exists."""
    try:
        yield
    finally:
        with suppress(FileNotFoundError, ProcessLookupError):
            kill(int(pidFile.read_text()), SIGKILL)
