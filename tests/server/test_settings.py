"""The limits, and how often something is said of them."""

import itertools

from twisted.internet.main import CONNECTION_DONE
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echoup.server.ratelimitedlog import RateLimitedLog
from echoup.server.settings import SELECT_MAXIMUM, Limits
from tests.support.doubles import ReactorTestCase
from tests.support.properties import given, st

TIMEOUTS = st.floats(0.001, 1e6)


class LimitsTests(ReactorTestCase):
    """`Limits` are values, and fit the reactor."""

    @given(TIMEOUTS, st.just(0.0) | TIMEOUTS)
    def test_tick(self, stallTimeout: float, idleTimeout: float) -> None:
        """Looking is rare enough to cost nothing and frequent enough to be in time."""
        tick = Limits(stallTimeout=stallTimeout, idleTimeout=idleTimeout).tick
        assert 0.05 <= tick <= 3, tick
        if tick > 0.05:
            assert tick <= min(stallTimeout, idleTimeout or stallTimeout) / 20

    def test_ticks(self) -> None:
        """A tick is a twentieth of the shortest timeout, within bounds."""
        assert Limits().tick == 3.0
        assert Limits(stallTimeout=20).tick == 1.0
        assert Limits(idleTimeout=10).tick == 0.5
        assert Limits(stallTimeout=0.1).tick == 0.05

    def test_select(self) -> None:
        """On the select reactor there is always a maximum, and it is one that select can take."""
        reactor = SelectReactor()
        for reader in reactor._internalReaders:
            self.addCleanup(reader.connectionLost, Failure(CONNECTION_DONE))
        for asked, kept in ((0, SELECT_MAXIMUM), (1024, SELECT_MAXIMUM), (SELECT_MAXIMUM, SELECT_MAXIMUM), (10, 10)):
            limits = Limits(maxConnections=asked, idleTimeout=7).within(reactor)
            assert limits == Limits(maxConnections=kept, idleTimeout=7)

    def test_otherReactors(self) -> None:
        """Other reactors keep any limits."""
        for limits in (Limits(maxConnections=0), Limits(maxConnections=100_000)):
            assert limits.within(self.reactor) == limits


class MinuteLogTests(SynchronousTestCase):
    """`RateLimitedLog` speaks once a minute at the most."""

    def setUp(self) -> None:
        """Make a log whose words are in `said`."""
        self.clock = Clock()
        self.said: list[int] = []
        self.log = RateLimitedLog(self.clock, self.said.append)

    def test_first(self) -> None:
        """The first event is said at once."""
        self.log.count()
        assert self.said == [1]

    def test_flood(self) -> None:
        """What comes within the minute is said as a number, at its end."""
        for _ in range(1000):
            self.log.count()
        self.clock.advance(59.9)
        self.log.count()
        assert self.said == [1]
        self.clock.advance(0.1)
        assert self.said == [1, 1000]

    def test_quietMinute(self) -> None:
        """After a minute without an event the next one is said at once again."""
        self.log.count()
        self.clock.advance(60)
        self.log.count()
        assert self.said == [1, 1]

    def test_stop(self) -> None:
        """In the end it says what is unsaid, and leaves no timer."""
        for _ in range(3):
            self.log.count()
        self.log.stop()
        assert self.said == [1, 2]
        assert self.clock.getDelayedCalls() == []

    def test_stopped(self) -> None:
        """After that it is silent for good, whether or not it had anything to say before."""
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
    def test_anyTimes(self, pauses: list[float]) -> None:
        """However the events come, each is counted once, and a minute passes between two words."""
        clock, said = Clock(), list[tuple[float, int]]()
        log = RateLimitedLog(clock, lambda count: said.append((clock.seconds(), count)))
        for pause in pauses:
            clock.advance(pause)
            log.count()
        clock.advance(60)
        assert sum(count for _, count in said) == len(pauses)
        for (before, _), (after, _) in itertools.pairwise(said):
            assert after >= before + 60
