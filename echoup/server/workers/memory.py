"""What the workers share: a page of memory with their counts, and a descriptor that signals free places.

Each worker has a row of the page, which it alone writes while it runs. The free places are those that no row holds. A
worker takes one under a lock of the page (fcntl(2)), so that no two take the same. The kernel releases the lock of a
process that ends, and the supervisor takes back its places, so a worker that is killed, at any moment, costs none.

The descriptor (eventfd(2)) is readable whenever there may be a free place: a process that gives one back makes it so,
and one that is woken where none is free undoes that.
"""

import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, lockf
from typing import cast

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.posixbase import PosixReactorBase
from zope.interface import implementer

from echoup.server.admission.slots import ISlots

HELD, SERVED, BYTES = range(3)
"""The columns of a row, of 64 bits each: places held, connections served, bytes received on these."""

WIDTH = 3


@dataclass(frozen=True)
class Shared:
    """The descriptors of what `workers` processes share, and the number of places, 0 for "no limit"."""

    page: int
    room: int
    """Readable whenever there may be a free place."""
    workers: int
    maximum: int

    @classmethod
    def make(cls, workers: int, maximum: int) -> "Shared":
        """Make the page and the descriptor."""
        page = os.memfd_create("echoup")
        os.ftruncate(page, workers * WIDTH * 8)
        return cls(page, os.eventfd(1, os.EFD_CLOEXEC | os.EFD_NONBLOCK), workers, maximum)


class Page:
    """The page, as each process sees it."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        # Other processes see a store of 64 bits that is aligned whole or not at all.
        self._memory = mmap.mmap(shared.page, shared.workers * WIDTH * 8)
        self.cells = memoryview(self._memory).cast("q")

    def close(self) -> None:
        """Unmap the page, and close the descriptors that are shared."""
        self.cells.release()
        self._memory.close()
        os.close(self.shared.page)
        os.close(self.shared.room)

    def total(self, column: int) -> int:
        """Return the sum of a column over all workers, including those that are gone."""
        return sum(self.cells[column::WIDTH])

    @property
    def free(self) -> int:
        """How many places no worker holds."""
        return self.shared.maximum - self.total(HELD)

    def vacate(self, worker: int) -> None:
        """Take back the places of a worker that is gone; what it has served still counts."""
        self.cells[worker * WIDTH + HELD] = 0
        os.eventfd_write(self.shared.room, 1)


class Row:
    """The row of one worker on the page, for its own use."""

    def __init__(self, page: Page, worker: int) -> None:
        self._cells = page.cells[worker * WIDTH : (worker + 1) * WIDTH]

    def add(self, size: int) -> None:
        """Count a connection that was served, and the `size` bytes that were received on it."""
        self._cells[BYTES] += size
        self._cells[SERVED] += 1

    def hold(self, change: int) -> None:
        """Hold `change` places more, or fewer if it is negative."""
        self._cells[HELD] += change


@implementer(ISlots)
class SharedSlots(FileDescriptor):
    """The shared places, as one worker takes and returns them."""

    def __init__(self, reactor: PosixReactorBase, page: Page, row: Row) -> None:
        super().__init__(cast("IReactorFDSet", reactor))
        self._page = page
        self._shared = page.shared
        self._row = row
        self._whenRoom: Callable[[], None] | None = None

    def fileno(self) -> int:
        """Return the descriptor that is readable whenever there may be a free place."""
        return self._shared.room

    @property
    def free(self) -> int:
        """How many are left."""
        return self._page.free

    def take(self) -> bool:
        """Take one; return False if none is left, or if another process takes one at this moment.

        This doesn't wait for the other process, which a signal may have stopped. The descriptor stays readable.
        """
        try:
            lockf(self._shared.page, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return False
        isFree = self.free > 0
        if isFree:
            self._row.hold(1)
        lockf(self._shared.page, LOCK_UN)
        return isFree

    def give(self) -> None:
        """Give one back."""
        self._row.hold(-1)
        os.eventfd_write(self._shared.room, 1)

    def watch(self, room: Callable[[], None] | None) -> None:
        """Call `room` whenever a place may be free, until this is called with None."""
        self._whenRoom = room
        if room:
            self.startReading()
        else:
            self.stopReading()

    def doRead(self) -> None:
        """Report a free place; if there is none, wait until one is given back."""
        if not self.free:
            with suppress(BlockingIOError):  # another process was faster
                os.eventfd_read(self._shared.room)
            if not self.free:
                return
            os.eventfd_write(self._shared.room, 1)  # one was given back between the two
        if self._whenRoom:
            self._whenRoom()
