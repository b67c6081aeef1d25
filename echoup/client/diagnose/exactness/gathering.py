"""What comes back on a connection, and the wait for it."""

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout

from echoup.clock import RunningTime

STEP = 0.5
"""Seconds between two looks at the progress of a reply; after one without any, a wrong reply is taken to be over."""


SURPLUS = 2**16
"""Bytes beyond those that are due after which nothing more is taken."""

LONGEST = 60.0
"""Seconds after which a reply is given up that comes in drops."""


class Gathering:
    """What comes back on a connection."""

    def __init__(self, clock: RunningTime, size: int) -> None:
        """`size` is how many bytes are due."""
        self.received = bytearray()
        self.isEnded = False
        """Whether nothing more can come."""
        self._size, self._most = size, size + SURPLUS
        self._clock, self._deadline = clock, clock.seconds() + LONGEST
        self._over: Deferred[None] | None = None

    def take(self, data: bytes) -> None:
        """Take what came."""
        self.received += data[: self._most - len(self.received)]
        self._check()

    def end(self, _: object) -> None:
        """Note that nothing more comes."""
        self.isEnded = True
        self._check()

    async def wait(self, seconds: float, expected: bytes | None = None) -> None:
        """Wait until all came, or the end, or until nothing more has come for `seconds`, or LONGEST is over.

        With `expected`, what is due, a reply that is wrong already has only STEP to go on.
        """
        before, quiet, step = len(self.received), 0.0, min(STEP, seconds)
        while not self._isOver and quiet < seconds and self._clock.seconds() < self._deadline:
            self._over = Deferred()
            try:
                await self._over.addTimeout(step, self._clock)
            except DeferredTimeout:
                quiet = quiet + step if len(self.received) == before else 0.0
                before = len(self.received)
                if quiet and expected is not None and not expected.startswith(self.received):
                    break
        self._over = None

    async def waitForEnd(self, seconds: float) -> None:
        """Wait until the connection ends, or until nothing more has come for `seconds`."""
        self._size = self._most
        await self.wait(seconds)

    @property
    def _isOver(self) -> bool:
        return self.isEnded or len(self.received) >= self._size

    def _check(self) -> None:
        if self._isOver and self._over:
            over, self._over = self._over, None
            over.callback(None)
