"""A reactor's timers don't follow the time of day."""

from time import monotonic

from echoup.clock import useMonotonicClock
from tests.support.doubles import ReactorTestCase


class UseMonotonicClockTests(ReactorTestCase):
    """`useMonotonicClock` makes a reactor count seconds since boot."""

    def setUp(self) -> None:
        """Set the reactor's clock."""
        super().setUp()
        useMonotonicClock(self.reactor)

    def test_secondsAreSinceBoot(self) -> None:
        """The reactor's time is the time since boot."""
        before = monotonic()
        now = self.reactor.seconds()
        assert before <= now <= monotonic(), now

    def test_timersFireAtATimeSinceBoot(self) -> None:
        """A timer is due at a time since boot, and fires then."""
        before = monotonic()
        fired: list[float] = []
        call = self.reactor.callLater(0.01, lambda: fired.append(monotonic()))
        assert before + 0.01 <= call.getTime() <= monotonic() + 0.01
        self.reactor.until(lambda: bool(fired))
        assert fired[0] >= call.getTime()
