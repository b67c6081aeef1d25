"""A client that keeps what comes back on its connection, and waits for it."""

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.protocol import EchoUpClient

STEP = 0.5
"""Seconds between two looks at the progress of a reply; after one without any, a wrong reply is taken to be over."""

SURPLUS = 2**16
"""Bytes beyond those that are due after which nothing more is taken."""

LONGEST = 60.0
"""Seconds after which a reply is given up that comes in drops."""


class GatheringClient(EchoUpClient):
    """A client that keeps what comes back."""

    tcp: TCPInfo | None = None
    """What the kernel knew when the server's end came, or when `note` was called."""

    def __init__(self, path: PathUnderTest, size: int) -> None:
        """Expect `size` bytes."""
        super().__init__(path.reactor, 0, self._gather, path.clock)
        self.received = bytearray()
        self._due, self._most = size, size + SURPLUS
        self._over: Deferred[None] | None = None
        self.closed.addCallback(self._follow)

    async def wait(self, seconds: float, expected: bytes | None = None) -> None:
        """Wait until all came, or the end, or until nothing more has come for `seconds`, or LONGEST is over.

        With `expected`, what is due, a reply that is wrong already has only STEP to go on.
        """
        before, quiet, step = len(self.received), 0.0, min(STEP, seconds)
        deadline = self.clock.seconds() + LONGEST
        while not self._isOver and quiet < seconds and self.clock.seconds() < deadline:
            self._over = Deferred()
            try:
                await self._over.addTimeout(step, self.clock)
            except DeferredTimeout:
                quiet = quiet + step if len(self.received) == before else 0.0
                before = len(self.received)
                if quiet and expected is not None and not expected.startswith(self.received):
                    break
        self._over = None

    async def waitForEnd(self, seconds: float) -> None:
        """Wait until the connection ends, or until nothing more has come for `seconds`."""
        self._due = self._most
        await self.wait(seconds)

    def note(self) -> None:
        """Record what the kernel knows now, unless the connection is gone."""
        self.tcp = TCPInfo.of(self.handle) or self.tcp

    def readConnectionLost(self) -> None:
        """Record it, and close."""
        self.note()
        super().readConnectionLost()

    @property
    def _isOver(self) -> bool:
        return self.closed.called or len(self.received) >= self._due

    def _gather(self, data: bytes) -> None:
        self.received += data[: self._most - len(self.received)]
        self._follow()

    def _follow(self, _: object = None) -> None:
        if self._isOver and self._over:
            over, self._over = self._over, None
            over.callback(None)
