"""Whether all connections are taken, and what the log says of it."""

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from echoup.server.occupancy import Occupancy
from echoup.server.overview import Check

FULL = "full: all 4 connections of --max-connections are taken; further clients wait in the kernel's queue"
WAS_FULL = "full, {} times: all 4 connections of --max-connections were taken"


class OccupancyTests(SynchronousTestCase):
    """`Occupancy` finds out how long it has been full, and logs it."""

    def setUp(self) -> None:
        """Make one of four places, all of them free, and start it."""
        self.clock = Clock()
        self.free = 4
        self.times = 0
        self.events = self.enterContext(capturedLogs())
        self.occupancy = Occupancy(self.clock, 4, lambda: self.free, lambda: self.times)
        self.occupancy.start()

    def fill(self, times: int = 1) -> None:
        """Take all places, several times."""
        self.free = 0
        self.times += times

    def pump(self, seconds: float) -> None:
        """Let time pass in small steps."""
        self.clock.pump([0.125] * round(seconds * 8))

    @property
    def said(self) -> list[str]:
        """The log."""
        return [str(formatEvent(event)) for event in self.events]

    def test_fullForAWhileIsNotReady(self) -> None:
        """After three seconds without a free place it is full, until there is one."""
        self.fill()
        self.pump(3)
        assert self.occupancy.check() == Check("full")
        self.pump(0.5)
        assert self.occupancy.isFull
        assert self.occupancy.check() == Check("full", "4 connections for 3 s")
        self.pump(60)
        assert self.occupancy.check() == Check("full", "4 connections for 63 s")
        self.free = 1
        self.pump(0.5)
        assert not self.occupancy.isFull
        assert self.occupancy.check() == Check("full")

    def test_roomInBetweenBeginsAnew(self) -> None:
        """A free place within the three seconds means that it isn't full."""
        for free in (0, 1, 0):
            self.free = free
            self.pump(2)
        assert not self.occupancy.isFull

    def test_pauseDoesNotCount(self) -> None:
        """A pause of the process counts as one interval."""
        self.fill()
        self.pump(2)
        self.clock.advance(3600)
        assert not self.occupancy.isFull
        self.pump(1.5)
        assert self.occupancy.check() == Check("full", "4 connections for 4 s")

    def test_bothAreLogged(self) -> None:
        """Being full is logged once, however long it lasts, and so is having room again."""
        self.fill()
        self.pump(200)
        assert self.said == [FULL]
        self.free = 3
        self.pump(200)
        assert self.said == [FULL, "room again: 1 of 4 connections"]
        assert [event["log_level"].name for event in self.events] == ["warn", "info"]
        assert (self.events[1]["connections"], self.events[1]["limit"], self.events[1]["times"]) == (1, 4, 1)

    def test_shortFullnessIsSeen(self) -> None:
        """What happens between two samples is logged as well."""
        self.times += 2
        self.pump(0.5)
        assert self.said == [WAS_FULL.format(2), "room again, 2 times: 0 of 4 connections"]

    def test_eachIsLoggedOnceAMinute(self) -> None:
        """Under load that comes and goes, each is logged once a minute, with the number of times."""
        for _ in range(30):
            self.fill()
            self.pump(1)
            self.free = 2
            self.pump(1)
        self.pump(60)
        assert self.said == [
            FULL,
            "room again: 2 of 4 connections",
            WAS_FULL.format(29),
            "room again, 29 times: 2 of 4 connections",
        ]

    def test_churnAtTheLimitIsFull(self) -> None:
        """As long as each free place is taken between two samples, there is no room, although it is full again."""
        for _ in range(50):
            self.fill(3)
            self.pump(1)
        assert self.occupancy.isFull
        assert self.said == [FULL.replace("full:", "full, 3 times:")]
        self.free = 1
        self.pump(0.5)
        assert self.said[1:] == ["room again, 150 times: 3 of 4 connections"]

    def test_stopSaysTheRest(self) -> None:
        """Stopping logs what isn't logged yet, and leaves no timer."""
        self.fill()
        self.pump(1)
        self.free = 4
        self.pump(1)
        self.times += 5
        self.occupancy.stop()
        assert self.said[2:] == [
            WAS_FULL.format(5),
            "room again, 5 times: 0 of 4 connections",
        ]
        assert self.clock.getDelayedCalls() == []

    def test_nothingRunsWithoutALimit(self) -> None:
        """Without a limit nothing is asked, and it is never full."""
        clock = Clock()
        occupancy = Occupancy(clock, 0, lambda: 0, lambda: 1)
        occupancy.start()
        assert clock.getDelayedCalls() == []
        assert occupancy.check() == Check("full")
        occupancy.stop()
        assert self.said == []
