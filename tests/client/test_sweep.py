"""The one timer that looks after all clients on which a reply is due."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.sweep import LOOKS, Sweep

TIMEOUT = 10.0


class Client:
    """A client that notes when it was looked at, and leaves when the test says so."""

    def __init__(self, clock: Clock) -> None:
        self.seen: list[float] = []
        self.leaves = False
        self._clock = clock

    def checkProgress(self) -> None:
        """Note the time."""
        self.seen.append(self._clock.seconds())
        if self.leaves:
            Sweep.of(self._clock).leave(self.checkProgress)


class SweepTests(SynchronousTestCase):
    """`Sweep` looks after all clients of a reactor with one timer."""

    def setUp(self) -> None:
        """Make a clock."""
        self.clock = Clock()
        self.sweep = Sweep.of(self.clock)

    def test_reactorHasOneSweep(self) -> None:
        """All clients on a reactor share a sweep, those on another have another."""
        assert Sweep.of(self.clock) is self.sweep
        assert Sweep.of(Clock()) is not self.sweep

    def test_clientsShareTimer(self) -> None:
        """Many clients have one timer, and each is looked at ten times within its timeout."""
        clients = [Client(self.clock) for _ in range(100)]
        for client in clients:
            self.sweep.join(client.checkProgress, TIMEOUT)
        assert len(self.clock.getDelayedCalls()) == 1
        self.clock.pump([1.0] * LOOKS)
        assert all(client.seen == [float(second) for second in range(1, LOOKS + 1)] for client in clients)
        assert len(self.clock.getDelayedCalls()) == 1

    def test_timerRunsWhileNeeded(self) -> None:
        """The timer ends with the last client that leaves, by itself or while it is looked at, and starts again."""
        first, second = Client(self.clock), Client(self.clock)
        self.sweep.join(first.checkProgress, TIMEOUT)
        self.sweep.join(second.checkProgress, TIMEOUT)
        self.sweep.leave(first.checkProgress)
        assert len(self.clock.getDelayedCalls()) == 1
        self.sweep.leave(second.checkProgress)
        assert self.clock.getDelayedCalls() == []
        first.leaves = True
        self.sweep.join(first.checkProgress, TIMEOUT)
        self.clock.advance(1)
        assert (first.seen, second.seen, self.clock.getDelayedCalls()) == ([1.0], [], [])

    def test_shortestTimeoutSetsPace(self) -> None:
        """A client with a shorter timeout is looked at in time, though others that joined before have longer ones."""
        slow, quick = Client(self.clock), Client(self.clock)
        self.sweep.join(slow.checkProgress, 100.0)
        self.sweep.join(quick.checkProgress, 1.0)
        self.clock.advance(1 / LOOKS)
        assert len(quick.seen) == 1
        self.sweep.leave(quick.checkProgress)
        self.clock.advance(1)
        self.clock.advance(5)
        assert len(slow.seen) == 2
