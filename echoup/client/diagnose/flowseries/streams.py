"""Flows over TCP: a connection from each source port.

TCP sends what is lost again, so a loss doesn't show as a missing answer. What we send again, the kernel counts; what
the peer sends again comes late by its retransmission timeout.
"""

from dataclasses import dataclass, field
from random import uniform
from statistics import median

from twisted.internet.defer import TimeoutError as DeferredTimeout

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.diagnose.flowseries.binomial import Tally
from echoup.client.diagnose.flowseries.series import ROUNDS, SIZE, Series
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.diagnose.sizes.narrowing import letters
from echoup.client.diagnose.together import together
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient

LONGEST = 4.0
"""Seconds after which no flow begins another exchange of a series; a second for each 32 flows, if that is more."""

PATIENCE = 1.0
"""Seconds that the last exchange has beyond those."""

PACE = 0.002
"""Seconds between two connections that are begun."""

RATE = 1000
"""Exchanges a second, at most. Each waits for a random time, so that the flows don't send all at once."""

LATE = 0.15
"""Seconds above the usual latency that show a retransmission by the peer: Linux waits 0.2 s at least (TCP_RTO_MIN)."""

ATTEMPTS = 100
"""Ports that are tried for a flow, because other programs may have some."""


@dataclass
class _Flow:
    """A connection from one port, and its probes."""

    port: int = 0
    client: EchoUpClient | None = None
    latencies: list[float] = field(default_factory=list)
    """Of the exchanges, in seconds."""
    lost: int = 0
    """Segments that we sent again, and those of connections and exchanges that timed out."""
    answered: int = 0
    """The connection, if it is new, and exchanges."""
    error: PathError | None = None
    """Why the connection failed, if it did."""


class StreamSeries(Series):
    """Connections from many ports, which are kept, and small exchanges over them."""

    name = "TCP"

    def __init__(self, path: PathUnderTest, count: int) -> None:
        super().__init__(path, count)
        self._flows = [_Flow() for _ in range(count)]
        self._ports = self.ports()

    async def open(self) -> str:
        """Do nothing: connections are made in the first series, and again where they are broken."""
        return ""

    async def run(self) -> list[Tally]:
        """Connect the flows that aren't, and make ROUNDS exchanges over each, or as many as there is time for."""
        for flow in self._flows:
            flow.latencies, flow.lost, flow.answered, flow.error = [], 0, 0, None
        await together(self._probe(flow, number * PACE) for number, flow in enumerate(self._flows))
        errors = [flow.error for flow in self._flows if flow.error]
        if others := [error for error in errors if error.code is not ExitCode.TIMED_OUT]:
            raise others[0]
        if len(errors) == self.count:
            raise errors[0]
        usual = median([each for flow in self._flows for each in flow.latencies] or [0])
        tallies = []
        for flow in self._flows:
            latencies = [each for each in flow.latencies if each < usual + LATE]
            late = len(flow.latencies) - len(latencies)
            lost = flow.lost + late
            tallies.append(Tally(flow.port, flow.answered + lost, lost, bool(flow.answered), latencies))
        return tallies

    def close(self) -> None:
        """Close the connections."""
        for flow in self._flows:
            self._drop(flow)

    async def _probe(self, flow: _Flow, wait: float) -> None:
        """Make the exchanges of a flow, after `wait` seconds."""
        clock = self.path.clock
        await self.sleep(wait)
        end = clock.seconds() + max(LONGEST, self.count / 32)
        try:
            if not flow.client:
                await self._connect(flow)
            for _ in range(ROUNDS):
                await self.sleep(uniform(0, 2 * self.count / RATE))  # noqa: S311  # chance, not a secret
                if not flow.client or clock.seconds() > end:
                    break
                await self._exchange(flow, flow.client, end + PATIENCE - clock.seconds())
        except PathError as error:
            self._drop(flow)
            flow.error = error

    async def _connect(self, flow: _Flow) -> None:
        for attempt in range(ATTEMPTS):
            flow.port = flow.port or next(self._ports)
            client = EchoUpClient(self.path.reactor, 0, None, self.path.clock)
            try:
                await self.path.connect(client=client, bindPort=flow.port)
            except PathError as error:
                if error.code is not ExitCode.LOCAL or attempt == ATTEMPTS - 1:
                    # A SYN is sent again after 1, 3, 7... seconds, or more often (RFC 6298, 2.1 and 5.5).
                    flow.lost += (int(self.path.scope.timeout) + 1).bit_length()
                    raise
                flow.port = 0  # another program has it
            else:
                break
        flow.client = client
        flow.answered += 1
        flow.lost += self._retransmits(client)

    async def _exchange(self, flow: _Flow, client: EchoUpClient, limit: float) -> None:
        clock = self.path.clock
        before, pauses, began = self._retransmits(client), clock.pauses, clock.seconds()
        try:
            await client.exchange(letters(SIZE)).addTimeout(limit, clock)
        except DeferredTimeout:
            flow.lost += max(self._retransmits(client) - before, 1)
            raise client.error(ExitCode.TIMED_OUT, "timed out") from None
        flow.answered += 1
        if again := self._retransmits(client) - before:
            flow.lost += again
        elif clock.pauses == pauses:
            flow.latencies.append(clock.seconds() - began)

    def _retransmits(self, client: EchoUpClient) -> int:
        """Return how many segments were sent again so far."""
        info = TCPInfo.of(client.handle)
        return info.retransmits if info else 0

    def _drop(self, flow: _Flow) -> None:
        if flow.client:
            self.path.drop(flow.client)
            flow.client = None
