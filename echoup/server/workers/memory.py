"""What the workers share: a page of memory with their counts, and a descriptor that signals free places.

Each worker has a row of the page: the number of places that it holds, and its `Counts`. It alone writes the row while
it runs. Once it is gone the supervisor does, and then the replacement, which counts on from there.

The free places are those that no row holds. A worker takes one under a lock of the page (fcntl(2)), so that no two take
the same. The kernel releases the lock of a process that ends, and the supervisor takes back its places, so a worker
that is killed, at any moment, costs none.

A worker may also be killed between two cells of its row. A connection changes one cell when it opens and another one
when it ends, so the row never has more ends than connections. Those without an end are what the supervisor counts as
killed.

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
from echoup.server.counts import Counts
from echoup.server.reasons import EndReason


@dataclass(frozen=True)
class Shared:
    """The descriptors of what `workers` processes share, and what the page is for."""

    page: int
    room: int
    """Readable whenever there may be a free place."""
    workers: int
    maximum: int
    """The number of places; 0 is "no limit"."""
    listeners: tuple[str, ...]
    """The descriptions of the listeners whose connections are counted."""

    @property
    def width(self) -> int:
        """The number of cells in a row, of 64 bits each."""
        return 1 + Counts.width(self.listeners)

    @classmethod
    def make(cls, workers: int, maximum: int, listeners: tuple[str, ...]) -> "Shared":
        """Make the page and the descriptor."""
        page = os.memfd_create("echoup")
        room = os.eventfd(1, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        shared = cls(page, room, workers, maximum, listeners)
        os.ftruncate(page, workers * shared.width * 8)
        return shared


class Page:
    """The page, as each process sees it."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self._width = shared.width
        # Other processes see a store of 64 bits that is aligned whole or not at all. The page is unmapped with the last
        # of the views.
        self._cells = memoryview(mmap.mmap(shared.page, shared.workers * self._width * 8)).cast("q")

    def close(self) -> None:
        """Close the descriptors that are shared; the counts can still be read."""
        os.close(self.shared.page)
        os.close(self.shared.room)

    def counts(self, worker: int) -> Counts:
        """Return what a worker has counted, and its predecessors; they change with the page."""
        start = worker * self._width
        return Counts(self.shared.listeners, self._cells[start + 1 : start + self._width])

    @property
    def free(self) -> int:
        """How many places no worker holds."""
        return self.shared.maximum - sum(self._cells[:: self._width])

    def hold(self, worker: int, change: int) -> None:
        """Let a worker hold `change` places more, or fewer if it is negative."""
        self._cells[worker * self._width] += change

    def vacate(self, worker: int) -> None:
        """Take back the places of a worker that is gone, and count its open connections as killed."""
        counts = self.counts(worker)
        counts.setOpen(waiting=0, paused=0)
        for listener in counts.listeners.values():
            listener.add(EndReason.KILLED, listener.open)
        self._cells[worker * self._width] = 0
        os.eventfd_write(self.shared.room, 1)


@implementer(ISlots)
class SharedSlots(FileDescriptor):
    """The shared places, as one worker takes and returns them."""

    def __init__(self, reactor: PosixReactorBase, page: Page, worker: int) -> None:
        super().__init__(cast("IReactorFDSet", reactor))
        self._page = page
        self._shared = page.shared
        self._worker = worker
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
            self._page.hold(self._worker, 1)
        lockf(self._shared.page, LOCK_UN)
        return isFree

    def give(self) -> None:
        """Give one back."""
        self._page.hold(self._worker, -1)
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
