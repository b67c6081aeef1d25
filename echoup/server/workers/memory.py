"""What the worker processes share: the places for connections, and a page of memory with their counts.

The places are a semaphore of the kernel's (eventfd(2)): taking one is one system call, asks nobody, and can't give two
processes the same one; and it is readable exactly while there is one, so that whoever has to wait can. But it doesn't
know who has taken them. That is on the page, where each worker has a row of its own that only it writes.
"""

import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.posixbase import PosixReactorBase

HELD, CHANGES, SERVED, BYTES = range(4)
"""The columns of a row, of 64 bits each: places held, how often that changed, connections served, bytes echoed."""

WIDTH = 4


@dataclass(frozen=True)
class Shared:
    """The descriptors of what `workers` processes share, and the number of places, 0 for "no limit"."""

    page: int
    semaphore: int
    workers: int
    maximum: int

    @classmethod
    def make(cls, workers: int, maximum: int) -> "Shared":
        """Make the page and the semaphore."""
        page = os.memfd_create("echoup")
        os.ftruncate(page, workers * WIDTH * 8)
        return cls(page, os.eventfd(maximum, os.EFD_CLOEXEC | os.EFD_NONBLOCK | os.EFD_SEMAPHORE), workers, maximum)

    def close(self) -> None:
        """Close the descriptors."""
        os.close(self.page)
        os.close(self.semaphore)


class Page:
    """The page, as each process sees it."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        # A store of 64 bits, where they belong, is seen by the others whole or not at all.
        self._memory = mmap.mmap(shared.page, shared.workers * WIDTH * 8)
        self.cells = memoryview(self._memory).cast("q")

    def close(self) -> None:
        """Forget it, with the descriptor that Python keeps of it, and close those that are shared."""
        self.cells.release()
        self._memory.close()
        self._shared.close()

    def total(self, column: int) -> int:
        """Return the sum of a column, over all workers, those included that are gone."""
        return sum(self.cells[column::WIDTH])

    @property
    def free(self) -> int:
        """How many places nobody holds; never less than the semaphore has, as long as no worker has died."""
        return self._shared.maximum - self.total(HELD)

    def vacate(self, worker: int) -> None:
        """Let the row of a worker that is gone hold nothing; what it has done stays."""
        self.cells[worker * WIDTH + HELD] = 0

    def lost(self) -> int | None:
        """Return how many places neither the semaphore has nor a worker; None if it can't be told at the moment.

        Those that a worker is just taking or giving back are among them, for it hasn't written that down yet. So look
        several times: the least is what the dead have held, with what one was just taking when it was killed.
        """
        before = self.cells.tobytes()
        info = Path(f"/proc/self/fdinfo/{self._shared.semaphore}").read_text()
        left = int(info.partition("eventfd-count:")[2].split()[0], 16)
        lost = self.free - left
        return lost if self.cells.tobytes() == before else None


class Row:
    """The row of one worker on the page, for its own use."""

    def __init__(self, page: Page, worker: int) -> None:
        self._cells = page.cells[worker * WIDTH : (worker + 1) * WIDTH]

    def add(self, size: int) -> None:
        """Count a connection that was served, and the `size` bytes of it."""
        self._cells[BYTES] += size
        self._cells[SERVED] += 1

    def hold(self, change: int) -> None:
        """Hold one place more, or less."""
        self._cells[HELD] += change
        self._cells[CHANGES] += 1


class SharedSlots(FileDescriptor):
    """The places, for one worker."""

    def __init__(self, reactor: PosixReactorBase, shared: Shared, page: Page, row: Row) -> None:
        super().__init__(cast("IReactorFDSet", reactor))
        self._semaphore = shared.semaphore
        self._page = page
        self._row = row
        self._room: Callable[[], None] | None = None

    def fileno(self) -> int:
        """Return the descriptor that is readable while there is a place."""
        return self._semaphore

    @property
    def free(self) -> int:
        """How many are left: a guess that is right as soon as the others hold still."""
        return self._page.free

    def take(self) -> bool:
        """Take one, if there is one."""
        try:
            os.eventfd_read(self._semaphore)
        except BlockingIOError:
            return False
        self._row.hold(1)
        return True

    def give(self) -> None:
        """Give one back."""
        self._row.hold(-1)
        os.eventfd_write(self._semaphore, 1)

    def watch(self, room: Callable[[], None] | None) -> None:
        """Call `room` whenever there may be one, until this is called with None."""
        self._room = room
        if room:
            self.startReading()
        else:
            self.stopReading()

    def doRead(self) -> None:
        """There is a place, unless somebody else was faster."""
        if self._room:
            self._room()
