"""The workers share places, each of which one worker has at a time, and counts; a killed worker costs neither."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from zope.interface.verify import verifyObject

from echoup.server.admission.slots import ISlots
from echoup.server.counts import Counts, Total
from echoup.server.reasons import EndReason
from echoup.server.workers.memory import Page, Shared, SharedSlots
from tests.support.descriptors import keepsDescriptors
from tests.support.doubles import ReactorTestCase, raised

LISTENERS = ("127.0.0.1:0", "unix:socket")


class PageTestCase(ReactorTestCase):
    """A test with what three workers share, which have five places."""

    def setUp(self) -> None:
        """Make it."""
        super().setUp()
        self.page = Page(Shared.make(3, 5, LISTENERS))
        self.addCleanup(self.page.close)
        self.shared = self.page.shared
        self.workers = [self.join(number) for number in range(3)]

    def join(self, number: int) -> SharedSlots:
        """Return the places as a worker sees them, which has the page mapped for itself and its own descriptor."""
        shared = replace(self.shared, room=os.dup(self.shared.room))
        self.addCleanup(os.close, shared.room)
        page = Page(shared)
        return SharedSlots(self.reactor, page, number)


class PageTests(PageTestCase):
    """`Page` has a row for each worker."""

    def test_countsAreSharedByRow(self) -> None:
        """What a worker counts is seen where another process has mapped the page, in its row and in no other."""
        for number in range(3):
            counts = Page(self.shared).counts(number)
            for name in LISTENERS:
                counts.listeners[name].add(Total.RECEIVED, number + 1)
            counts.observe(0.5, number)
        rows = [self.page.counts(number) for number in range(3)]
        assert [row[Total.RECEIVED] for row in rows] == [2, 4, 6]
        assert Counts.total(rows).listeners[LISTENERS[1]][Total.RECEIVED] == 1 + 2 + 3
        assert Counts.total(rows).sizes[1] == 0 + 1 + 2
        assert self.page.free == 5

    def test_countsExceed32Bits(self) -> None:
        """A count may be larger than 32 bits have room for."""
        for number in (0, 2):
            self.page.counts(number).listeners[LISTENERS[0]].add(Total.RECEIVED, 2**40)
        assert Counts.total([self.page.counts(number) for number in range(3)])[Total.RECEIVED] == 2**41

    def test_sumOfBusyWorkerIsConsistent(self) -> None:
        """A worker may count while the counts are summed; the sum has no more ends than connections."""
        busy = self.page.counts(0)
        row, counts = busy.cells, busy.listeners[LISTENERS[0]]

        def readSlowly() -> Iterator[int]:
            for place in range(len(row)):
                for counted in (Total.OPENED, Total.RECEIVED, Total.SENT, EndReason.DONE):
                    counts.add(counted)
                yield row[place]

        busy.cells = readSlowly()  # type: ignore[assignment]  # as far as it is needed
        total = Counts.total([busy])
        assert total.listeners[LISTENERS[0]].open >= 0
        assert total[Total.RECEIVED] >= total[Total.SENT]

    def test_closedPageLeavesNoDescriptor(self) -> None:
        """Nothing of it stays open."""
        with keepsDescriptors():
            Page(Shared.make(3, 5, LISTENERS)).close()

    def test_closedPageKeepsCounts(self) -> None:
        """What was counted can still be read when the descriptors are closed."""
        page = Page(Shared.make(3, 5, LISTENERS))
        page.counts(1).listeners[LISTENERS[0]].add(Total.SERVED)
        page.close()
        assert page.counts(1)[Total.SERVED] == 1

    def test_vacatedRowHoldsNothing(self) -> None:
        """The places of a worker that is gone are free, and those of others aren't."""
        for worker in (self.workers[0], self.workers[1], self.workers[1]):
            assert worker.take()
        self.page.vacate(1)
        assert self.page.free == 4
        assert [self.workers[2].take() for _ in range(5)] == [True] * 4 + [False]

    def test_openConnectionsOfVacatedRowAreKilled(self) -> None:
        """The open connections of a worker that is gone are counted as killed, once, and none of them waits."""
        first, second = (self.page.counts(number) for number in (0, 1))
        for counts in (first, second):
            for name, opened in zip(LISTENERS, (3, 1), strict=True):
                counts.listeners[name].add(Total.OPENED, opened)
            counts.listeners[LISTENERS[0]].add(EndReason.DONE)
            counts.setOpen(waiting=2, paused=1)
        for _ in range(2):
            self.page.vacate(1)
        assert [second.listeners[name][EndReason.KILLED] for name in LISTENERS] == [2, 1]
        assert [second.listeners[name].open for name in LISTENERS] == [0, 0]
        assert (second.waiting, second.paused) == (0, 0)
        assert first[EndReason.KILLED] == 0
        assert (first.waiting, first.paused) == (2, 1)

    def test_replacementCountsOn(self) -> None:
        """The counts of a worker that is gone stay, and its replacement adds to them."""
        for _ in range(2):
            self.page.counts(1).listeners[LISTENERS[0]].add(Total.SERVED)
            self.page.vacate(1)
        assert self.page.counts(1)[Total.SERVED] == 2


class SharedSlotsTests(PageTestCase):
    """`SharedSlots` has each place once."""

    def test_sharedSlotsAreSlots(self) -> None:
        """A gate can use them."""
        verifyObject(ISlots, self.workers[0])

    def test_workersTakeEachPlaceOnce(self) -> None:
        """All workers together take as many as there are; what one gives back another may take."""
        taken = [self.workers[i % 3].take() for i in range(7)]
        assert taken == [True] * 5 + [False] * 2
        assert [worker.free for worker in self.workers] == [0] * 3
        self.workers[0].give()
        assert [worker.free for worker in self.workers] == [1] * 3
        assert [worker.take() for worker in (self.workers[2], self.workers[1])] == [True, False]

    def test_watchersAreToldOfPlace(self) -> None:
        """Each that watches is called while there is a place, whichever gave it back, and not afterwards."""
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
        self.reactor.turn()
        calls.clear()
        self.reactor.turn()
        assert calls == []
        self.workers[1].give()
        for worker in self.workers[1:]:
            worker.watch(None)
        self.reactor.turn()
        assert calls == []
        assert not set(self.workers) & set(self.reactor.getReaders())

    def test_fullPageWakesNoWatcher(self) -> None:
        """While there is no place the descriptor isn't readable, so that a watcher costs no CPU."""
        for _ in range(5):
            self.workers[0].take()
        self.workers[1].watch(lambda: None)
        self.reactor.turn()
        assert raised(BlockingIOError, os.eventfd_read, self.shared.room)

    def test_watchersAreToldOfVacatedPlaces(self) -> None:
        """The places of a worker that is gone wake a watcher."""
        for _ in range(5):
            self.workers[0].take()
        calls: list[str] = []
        self.workers[1].watch(partial(calls.append, "worker 1"))
        self.reactor.turn()
        self.page.vacate(0)
        self.reactor.turn()
        assert calls

    def test_placeGivenMeanwhileStaysKnown(self) -> None:
        """A place that is given back while a watcher finds none isn't missed, neither by it nor by another one."""
        for _ in range(5):
            self.workers[0].take()
        calls: list[str] = []
        giver = self.workers[0]

        class Late(SharedSlots):
            isFirst = True

            @property
            def free(self) -> int:
                found = super().free
                if self.isFirst:
                    self.isFirst = False
                    giver.give()
                return found

        page = Page(self.shared)
        late = Late(self.reactor, page, 1)
        late.watch(partial(calls.append, "late"))
        late.doRead()
        assert calls == ["late"]
        late.watch(None)
        self.workers[2].watch(partial(calls.append, "worker 2"))
        self.reactor.turn()
        assert "worker 2" in calls
        self.workers[2].watch(None)

    def test_lockedPageGivesNoPlace(self) -> None:
        """While another process takes a place none is taken, nor waited for; when that process dies there are all."""
        self.workers[0].watch(lambda: None)
        with self.locked():
            assert not self.workers[0].take()
            self.reactor.turn()
            assert self.workers[0].free == 5
        assert [self.workers[0].take() for _ in range(6)] == [True] * 5 + [False]
        self.workers[0].watch(None)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let another process hold the lock of the page until it is killed."""
        page = self.shared.page
        code = f"import fcntl, time; fcntl.lockf({page}, fcntl.LOCK_EX); print(flush=True); time.sleep(60)"
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[page]) as process:
            assert process.stdout
            try:
                process.stdout.readline()
                yield
            finally:
                process.kill()
