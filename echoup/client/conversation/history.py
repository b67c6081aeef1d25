"""The lines that were typed before, kept in a file of bounded size."""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, flock
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

LIMIT = 2**18
"""Bytes of the file, at most. When it grows beyond them the older half is dropped."""


def openHistory(isKept: bool) -> History:
    """Return the history of the prompt; without `isKept`, or a place for the file, one that ends with the process."""
    path = historyFile()
    return KeptHistory(path) if isKept and path else InMemoryHistory()


def historyFile() -> Path | None:
    """Return the path of the file, None where there is no home.

    It is in the state folder of the XDG Base Directory Specification, which says to ignore a relative path.
    """
    folder = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(folder):  # noqa: PTH117  # Path would take an empty one for the current folder
        home = os.environ.get("HOME", os.path.expanduser("~"))  # noqa: PTH111  # Path raises an error where there is none
        folder = home and f"{home}/.local/state"
    return Path(folder, "echoup", "history") if os.path.isabs(folder) else None  # noqa: PTH117


class KeptHistory(FileHistory):
    """A history in a file that only the user can read, shared by all prompts; where that fails, one without a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._path = path

    def load_history_strings(self) -> Iterable[str]:
        """Return the lines in the file, the newest first."""
        with suppress(OSError), self._locked() as file:
            _shorten(file)
        with suppress(OSError):
            found = self._path.stat()
            if stat.S_ISREG(found.st_mode) and found.st_size <= LIMIT:
                return list(super().load_history_strings())
        return []

    def store_string(self, string: str) -> None:
        """Add a line to the file, unless it is blank, or would displace half of the others."""
        if string.strip() and len(string) < LIMIT // 8:
            with suppress(OSError), self._locked() as file:
                super().store_string(string.encode(errors="replace").decode())  # 3.0.50 raises an error instead
                _shorten(file)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Open the file, made if need be with its folders, and keep other prompts out; raise OSError if that fails."""
        folder = self._path.parent
        for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
            missing.mkdir(0o700, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError("not a regular file")
            os.fchmod(file, 0o600)
            flock(file, LOCK_EX)
            yield file
        finally:
            os.close(file)


def _shorten(file: int) -> None:
    """Drop the older half, and what is left of a line there, if the file is too large."""
    size = os.fstat(file).st_size
    if size > LIMIT:
        kept = os.pread(file, LIMIT // 2, size - LIMIT // 2)
        kept = kept[kept.find(b"\n#") :] if b"\n#" in kept else b""
        os.pwrite(file, kept, 0)
        os.ftruncate(file, len(kept))
