"""Repeated events are logged once a minute at the most."""

import itertools

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echoup.server.log.ratelimitedlog import RateLimitedLog
from tests.support.properties import given, st


class RateLimitedLogTests(SynchronousTestCase):
    """`RateLimitedLog` calls once a minute at the most."""

    def setUp(self) -> None:
        """Make a log whose calls are in `said`."""
        self.clock = Clock()
        self.said: list[int] = []
        self.log = RateLimitedLog(self.clock, self.said.append)

    def test_firstEventIsSaid(self) -> None:
        """The first event is said at once."""
        self.log.count()
        assert self.said == [1]

    def test_floodIsSaidAsANumber(self) -> None:
        """The events within the minute are said as a number at its end."""
        for _ in range(1000):
            self.log.count()
        self.clock.advance(59.9)
        self.log.count()
        assert self.said == [1]
        self.clock.advance(0.1)
        assert self.said == [1, 1000]

    def test_severalEventsAtOnce(self) -> None:
        """Several events can be counted at once."""
        self.log.count(3)
        self.log.count(2)
        self.log.count(2)
        self.clock.advance(60)
        assert self.said == [3, 4]

    def test_quietMinuteStartsAnew(self) -> None:
        """After a minute without an event the next one is said at once."""
        self.log.count()
        self.clock.advance(60)
        self.log.count()
        assert self.said == [1, 1]

    def test_stopSaysTheRest(self) -> None:
        """Stopping says what is unsaid, and leaves no timer."""
        for _ in range(3):
            self.log.count()
        self.log.stop()
        assert self.said == [1, 2]
        assert self.clock.getDelayedCalls() == []

    def test_stoppedLogIsSilent(self) -> None:
        """A stopped log says nothing, whether or not it said anything before."""
        for before in (0, 1, 2):
            clock, said = Clock(), list[int]()
            log = RateLimitedLog(clock, said.append)
            for _ in range(before):
                log.count()
            log.stop()
            log.count()
            assert sum(said) == before
            assert clock.getDelayedCalls() == []

    @given(st.lists(st.floats(0, 100), max_size=50))
    def test_eventsAtAnyTimes(self, pauses: list[float]) -> None:
        """At any times, each event is counted once, and a minute passes between two calls."""
        clock, said = Clock(), list[tuple[float, int]]()
        log = RateLimitedLog(clock, lambda count: said.append((clock.seconds(), count)))
        for pause in pauses:
            clock.advance(pause)
            log.count()
        clock.advance(60)
        assert sum(count for _, count in said) == len(pauses)
        for (before, _), (after, _) in itertools.pairwise(said):
            assert after >= before + 60
