"""Flows over UDP: a socket for each source port."""

import random
from errno import EADDRINUSE
from statistics import median

from echoup.client.diagnose.datagramsocket import DatagramSocket
from echoup.client.diagnose.flowseries.binomial import Tally
from echoup.client.diagnose.flowseries.series import ROUNDS, SIZE, Series
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.diagnose.sizes.narrowing import letters
from echoup.upper import upper

CHUNK, PACE = 16, 0.008
"""Datagrams that are sent at once, and seconds between such: 2000 a second, of the 5000 that --udp-rate allows."""

ROUND = 0.02
"""Seconds between two datagrams of a flow, at least."""

HEARING = 8
"""Flows that try whether UDP is answered at all."""


class DatagramSeries(Series):
    """Datagrams from many ports."""

    name = "UDP"

    def __init__(self, path: PathUnderTest, count: int) -> None:
        super().__init__(path, count)
        self._sockets: list[DatagramSocket] = []
        self._sent: list[dict[bytes, float]] = []
        """When each flow sent a datagram, by its answer."""

    async def open(self) -> str:
        """Open the ports; return why they can't be probed, empty if they can."""
        host = await self.path.ipAddress()
        try:
            ports = self.ports()
            while len(self._sockets) < self.count:
                self._open(host, next(ports))
        except OSError as error:
            return f"UDP can't be sent from {self.count} ports: {error.strerror}"
        hearing = self._sockets[:HEARING]
        for _ in range(3):
            for each in hearing:
                self._send(each, letters(SIZE))
            if await self.until(lambda: any(each.arrivals for each in hearing), self.path.scope.timeout / 5):
                return ""
        return "UDP isn't answered"

    async def run(self) -> list[Tally]:
        """Send ROUNDS datagrams from each port, and wait for the answers."""
        seconds = self.path.clock.seconds
        self._sent = [{} for _ in self._sockets]
        for each in self._sockets:
            each.arrivals.clear()
        for _ in range(ROUNDS):
            began = seconds()
            # In another order each time: what drops the last of each burst would else do so to the same flows.
            order = random.sample(range(self.count), self.count)
            for start in range(0, self.count, CHUNK):
                for number in order[start : start + CHUNK]:
                    data = letters(SIZE)
                    self._sent[number][upper(data)] = seconds()
                    self._send(self._sockets[number], data)
                await self.sleep(PACE)
            await self.sleep(began + ROUND - seconds())

        def isOver() -> bool:
            return all(len(self._answered(number)) == ROUNDS for number in range(self.count))

        latencies = [latency for number in range(self.count) for latency in self._answered(number).values()]
        await self.until(isOver, min(max(1, 10 * median(latencies or [0])), self.path.scope.timeout))
        return [self._tally(number) for number in range(self.count)]

    def close(self) -> None:
        """Close the ports."""
        for each in self._sockets:
            each.close()

    def _open(self, host: str, port: int) -> None:
        """Open a socket with the source port `port`, unless that is taken; raise OSError if that fails."""
        path = self.path
        try:
            self._sockets.append(DatagramSocket(path.reactor, path.clock, host, path.target.port, sourcePort=port))
        except OSError as error:
            if error.errno != EADDRINUSE:
                raise

    def _tally(self, number: int) -> Tally:
        latencies = [*self._answered(number).values()]
        return Tally(self._sockets[number].local[1], ROUNDS, ROUNDS - len(latencies), bool(latencies), latencies)

    def _answered(self, number: int) -> dict[bytes, float]:
        """Return the latency of each datagram of the flow `number` that was answered."""
        sent = self._sent[number]
        arrivals = reversed(self._sockets[number].arrivals)  # the first counts, if an answer comes twice
        return {data: each.at - sent[data] for each in arrivals if (data := upper(each.data)) in sent}

    def _send(self, opened: DatagramSocket, data: bytes) -> None:
        try:
            opened.send(data)
        except OSError as error:  # of an earlier one
            opened.errors.append(error)
