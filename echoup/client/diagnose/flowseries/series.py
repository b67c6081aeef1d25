"""What flows over UDP and over TCP have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from errno import EADDRINUSE
from random import randrange
from socket import AF_INET, AF_INET6, SocketKind, socket

from twisted.internet.task import deferLater

from echoup.client.diagnose.flowseries.binomial import Tally
from echoup.client.diagnose.pathundertest import PathUnderTest

SIZE = 32
"""Bytes of a probe."""

ROUNDS = 40
"""Probes that each flow sends in a series."""

LOWEST, HIGHEST = 33000, 60000
"""The range of source ports, within the one that Linux chooses from (ip(7), ip_local_port_range)."""


class FlowSeries(ABC):
    """Flows, each from a source port of its own, and series of probes over them; `close` comes last."""

    name: str
    """The protocol."""
    kind: SocketKind

    def __init__(self, path: PathUnderTest, count: int) -> None:
        self.path, self.count, self.ports = path, count, self._ports()

    @abstractmethod
    async def run(self) -> list[Tally]:
        """Make a series of probes over the flows, which are the same in each series, and count what was lost.

        Raise PathError where the path fails in another way, or this machine can't send.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the flows."""

    def _ports(self) -> Iterator[int]:
        """Yield source ports that no other program has, from a random one upwards.

        A simple hash, as that of a link aggregation, spreads consecutive ports evenly; those that the kernel chooses
        may all be odd, or even. The server's own number is left out: an echo service may refuse it as a loop.
        """
        first = randrange(LOWEST, HIGHEST)  # noqa: S311  # chance, not a secret
        numbers = [*range(first, HIGHEST), *range(LOWEST, first)]
        return (number for number in numbers if number != self.path.target.port and self._isFree(number))

    def _isFree(self, port: int) -> bool:
        try:
            with socket(AF_INET6 if ":" in (self.path.address or "") else AF_INET, self.kind) as trial:
                trial.bind(("", port))
        except OSError as error:
            return error.errno != EADDRINUSE
        return True

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await deferLater(self.path.clock, max(seconds, 0))
