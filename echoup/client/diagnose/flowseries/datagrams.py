"""Flows over UDP: a socket for each source port."""

from contextlib import suppress
from random import sample
from socket import SOCK_DGRAM
from statistics import median

from echoup.client.diagnose.datagramsocket import DatagramSocket
from echoup.client.diagnose.flowseries.binomial import Tally
from echoup.client.diagnose.flowseries.series import ROUNDS, SIZE, FlowSeries
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.diagnose.sizes.narrowing import letters
from echoup.upper import upper

CHUNK, PACE = 16, 0.008
"""Datagrams that are sent at once, and seconds between such: 2000 a second, of the 5000 that --udp-rate allows."""

ROUND = 0.02
"""Seconds between two datagrams of a flow, at least."""

LOOK = 0.05
"""Seconds between two looks at what came."""


class DatagramSeries(FlowSeries):
    """Datagrams from many ports."""

    name, kind = "UDP", SOCK_DGRAM

    def __init__(self, path: PathUnderTest, count: int) -> None:
        super().__init__(path, count)
        self._sockets: list[DatagramSocket] = []

    async def run(self) -> list[Tally]:
        """Send ROUNDS datagrams from each port, and wait for the answers."""
        while len(self._sockets) < self.count:
            self._sockets.append(await self.path.openDatagrams(sourcePort=next(self.ports)))
        seconds = self.path.clock.seconds
        sent: dict[bytes, float] = {}
        for _ in range(ROUNDS):
            began = seconds()
            # In another order each time: what drops the last of each burst would else do so to the same flows.
            order = sample(self._sockets, self.count)
            for start in range(0, self.count, CHUNK):
                for each in order[start : start + CHUNK]:
                    data = letters(SIZE)
                    sent[upper(data)] = seconds()
                    with suppress(OSError):  # of an earlier one
                        each.send(data)
                await self.sleep(PACE)
            await self.sleep(began + ROUND - seconds())
        tallies = self._count(sent)
        usual = median([each for tally in tallies for each in tally.latencies] or [0])
        deadline = seconds() + min(max(1, 10 * usual), self.path.scope.timeout)
        while any(tally.lost for tally in tallies) and seconds() < deadline:
            await self.sleep(LOOK)
            tallies = self._count(sent)
        return tallies

    def close(self) -> None:
        """Close the ports."""
        for each in self._sockets:
            each.close()

    def _count(self, sent: dict[bytes, float]) -> list[Tally]:
        """Return what came of the datagrams that were sent, by their answers and when."""
        tallies = []
        for each in self._sockets:
            # The first counts, if an answer comes twice.
            came = {arrival.data: arrival.at for arrival in reversed(each.arrivals) if arrival.data in sent}
            latencies = [at - sent[data] for data, at in came.items()]
            tallies.append(Tally(each.local[1], len(came), ROUNDS - len(came), latencies))
        return tallies
