"""What the workers share is given to one of them only, and nothing of it is lost with them."""

import os
from dataclasses import replace
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from echoup.server.workers.memory import BYTES, HELD, SERVED, Page, Row, Shared, SharedSlots
from tests.support.descriptors import openDescriptors
from tests.support.doubles import ReactorTestCase, raised


class SharedTests(SynchronousTestCase):
    """`Shared` is a number of places and a page."""

    def test_made(self) -> None:
        """It is made of two descriptors, and closed with them."""
        before = openDescriptors()
        shared = Shared.make(3, 5)
        assert len(openDescriptors() - before) == 2
        assert [os.eventfd_read(shared.semaphore) for _ in range(5)] == [1] * 5
        assert raised(BlockingIOError, os.eventfd_read, shared.semaphore)
        shared.close()
        assert openDescriptors() == before


class PageTestCase(ReactorTestCase):
    """A test with what three workers share, who have five places."""

    def setUp(self) -> None:
        """Make it."""
        super().setUp()
        self.shared = Shared.make(3, 5)
        self.addCleanup(self.shared.close)
        self.page = Page(self.shared)
        self.workers = [self.join(number) for number in range(3)]

    def join(self, number: int) -> SharedSlots:
        """Return the places as a worker sees them, with the page and the semaphore as another process has them."""
        shared = replace(self.shared, semaphore=os.dup(self.shared.semaphore))
        self.addCleanup(os.close, shared.semaphore)
        page = Page(shared)
        return SharedSlots(self.reactor, shared, page, Row(page, number))


class PageTests(PageTestCase):
    """`Page` has a row for each worker."""

    def test_totals(self) -> None:
        """What the workers count is summed, also when the page is seen by somebody else."""
        rows = [Row(Page(self.shared), number) for number in range(3)]
        for number, row in enumerate(rows):
            for size in range(number + 1):
                row.add(size)
        assert (self.page.total(SERVED), self.page.total(BYTES)) == (6, 0 + 1 + 3)

    def test_close(self) -> None:
        """Nothing of it stays open."""
        before = openDescriptors()
        Page(Shared.make(3, 5)).close()
        assert openDescriptors() == before

    def test_large(self) -> None:
        """A count may be larger than 32 bits have room for."""
        Row(self.page, 0).add(2**40)
        Row(self.page, 2).add(2**40)
        assert self.page.total(BYTES) == 2**41

    def test_lost(self) -> None:
        """What a dead worker held is lost, and what it was just taking, but nothing that others hold."""
        for worker in (self.workers[0], self.workers[1], self.workers[1]):
            assert worker.take()
        assert self.page.lost() == 0
        self.page.vacate(1)
        assert (self.page.lost(), self.page.total(HELD)) == (2, 1)
        os.eventfd_read(self.shared.semaphore)  # by a worker that is killed before it writes that down
        assert self.page.lost() == 3
        os.eventfd_write(self.shared.semaphore, 3)
        assert self.page.lost() == 0
        assert [self.workers[2].take() for _ in range(5)] == [True] * 4 + [False]

    def test_unsteady(self) -> None:
        """While somebody takes places or gives them back it can't be told, even if there are as many as before."""
        worker, page = self.workers[0], self.page

        class Unsteady(Page):
            @property
            def free(self) -> int:
                worker.take()
                worker.give()
                return page.free

        assert Unsteady(self.shared).lost() is None
        assert page.lost() == 0

    def test_served(self) -> None:
        """Vacating a row leaves what it has served."""
        Row(self.page, 1).add(7)
        self.page.vacate(1)
        assert (self.page.total(SERVED), self.page.total(BYTES)) == (1, 7)


class SharedSlotsTests(PageTestCase):
    """`SharedSlots` has each place once."""

    def test_take(self) -> None:
        """All workers together take as many as there are; what one gives back another may take."""
        taken = [self.workers[i % 3].take() for i in range(7)]
        assert taken == [True] * 5 + [False] * 2
        assert [worker.free for worker in self.workers] == [0] * 3
        self.workers[0].give()
        assert [worker.free for worker in self.workers] == [1] * 3
        assert [worker.take() for worker in (self.workers[2], self.workers[1])] == [True, False]

    def test_watch(self) -> None:
        """Who watches is called as long as there is a place, whoever gave it back, and not afterwards."""
        for _ in range(5):
            self.workers[0].take()
        calls: list[str] = []
        for i in (1, 2):
            self.workers[i].watch(partial(calls.append, f"worker {i}"))
        self.reactor.turn()
        assert calls == []
        self.workers[0].give()
        self.reactor.until(lambda: set(calls) == {"worker 1", "worker 2"})
        assert self.workers[1].take()
        calls.clear()
        self.reactor.turn()
        assert calls == []
        self.workers[1].give()
        for worker in self.workers[1:]:
            worker.watch(None)
        self.reactor.turn()
        assert calls == []
        assert not set(self.workers) & set(self.reactor.getReaders())
