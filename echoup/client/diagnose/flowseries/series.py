"""What flows over UDP and over TCP have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from random import randrange

from twisted.internet.task import deferLater

from echoup.client.diagnose.flowseries.binomial import Tally
from echoup.client.diagnose.pathundertest import PathUnderTest

SIZE = 32
"""Bytes of a probe."""

ROUNDS = 40
"""Probes that each flow sends in a series."""

LOWEST, HIGHEST = 33000, 60000
"""The range of source ports, within the one that Linux chooses from (ip(7), ip_local_port_range)."""

LOOK = 0.02
"""Seconds between two looks at what came."""


class Series(ABC):
    """Flows, each from a source port of its own, and series of probes over them; `open` comes first, `close` last."""

    name: str
    """The protocol."""

    def __init__(self, path: PathUnderTest, count: int) -> None:
        self.path, self.count = path, count

    @abstractmethod
    async def open(self) -> str:
        """Open the flows; return why they can't be probed, empty if they can. Raise PathError where the path fails."""

    @abstractmethod
    async def run(self) -> list[Tally]:
        """Make a series of probes over the flows, which are the same in each series, and count what was lost."""

    @abstractmethod
    def close(self) -> None:
        """Close the flows."""

    def ports(self) -> Iterator[int]:
        """Yield source ports, from a random one upwards.

        A simple hash, as that of a link aggregation, spreads consecutive ports evenly; those that the kernel chooses
        may all be odd, or even. The server's own number is left out: an echo service may refuse it as a loop.
        """
        first = randrange(LOWEST, HIGHEST)  # noqa: S311  # chance, not a secret
        numbers = (LOWEST + (first - LOWEST + step) % (HIGHEST - LOWEST) for step in range(HIGHEST - LOWEST))
        return (number for number in numbers if number != self.path.target.port)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await deferLater(self.path.clock, max(seconds, 0))

    async def until(self, isOver: Callable[[], bool], limit: float) -> bool:
        """Wait until `isOver`, for `limit` seconds at most; return whether it is."""
        deadline = self.path.clock.seconds() + limit
        while not isOver():
            if self.path.clock.seconds() > deadline:
                return False
            await self.sleep(LOOK)
        return True
