"""Flows over TCP: a connection from each source port.

TCP sends what is lost again, so a loss doesn't show as a missing answer. What we send again, the kernel counts; what
the peer sends again comes late by its retransmission timeout.
"""

from dataclasses import dataclass
from random import uniform
from socket import SOCK_STREAM
from statistics import median

from twisted.internet.defer import TimeoutError as DeferredTimeout

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.diagnose.flowseries.binomial import Tally
from echoup.client.diagnose.flowseries.series import ROUNDS, SIZE, FlowSeries
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


@dataclass
class _Flow:
    """The connection from one port."""

    port: int = 0
    client: EchoUpClient | None = None


class StreamSeries(FlowSeries):
    """Connections from many ports, which are kept, and small exchanges over them.

    A connection is made in the first series, and again in the next one if it is broken.
    """

    name, kind = "TCP", SOCK_STREAM

    def __init__(self, path: PathUnderTest, count: int) -> None:
        super().__init__(path, count)
        self._flows = [_Flow() for _ in range(count)]

    async def run(self) -> list[Tally]:
        """Connect the flows that aren't, and make ROUNDS exchanges over each, or as many as there is time for."""
        tallies = [Tally() for _ in self._flows]
        pairs = enumerate(zip(self._flows, tallies, strict=True))
        tried = await together(self._probe(flow, tally, number * PACE) for number, (flow, tally) in pairs)
        errors = [error for error in tried if error]
        for error in errors:
            if error.code is not ExitCode.TIMED_OUT or len(errors) == self.count:
                raise error
        usual = median([each for tally in tallies for each in tally.latencies] or [0])
        for tally in tallies:
            prompt = [each for each in tally.latencies if each < usual + LATE]
            tally.lost += len(tally.latencies) - len(prompt)
            tally.latencies = prompt
        return tallies

    def close(self) -> None:
        """Close the connections."""
        for flow in self._flows:
            self._drop(flow)

    async def _probe(self, flow: _Flow, tally: Tally, wait: float) -> PathError | None:
        """Make the exchanges of a flow, after `wait` seconds; return what ended them early."""
        clock = self.path.clock
        await self.sleep(wait)
        end = clock.seconds() + max(LONGEST, self.count / 32)
        try:
            client = flow.client or await self._connect(flow, tally)
            for _ in range(ROUNDS):
                await self.sleep(uniform(0, 2 * self.count / RATE))  # noqa: S311  # chance, not a secret
                if clock.seconds() > end:
                    break
                await self._exchange(client, tally, end + PATIENCE - clock.seconds())
        except PathError as error:
            self._drop(flow)
            return error
        finally:
            tally.port = flow.port
        return None

    async def _connect(self, flow: _Flow, tally: Tally) -> EchoUpClient:
        flow.port = flow.port or next(self.ports)
        client = EchoUpClient(self.path.reactor, 0, None, self.path.clock)
        try:
            await self.path.connect(client=client, bindPort=flow.port)
        except PathError:
            # A SYN is sent again after 1, 3, 7... seconds, or more often (RFC 6298, 2.1 and 5.5).
            tally.lost += (int(self.path.scope.timeout) + 1).bit_length()
            raise
        flow.client = client
        tally.answered += 1
        tally.lost += _retransmits(client)
        return client

    async def _exchange(self, client: EchoUpClient, tally: Tally, limit: float) -> None:
        clock = self.path.clock
        before, pauses, began = _retransmits(client), clock.pauses, clock.seconds()
        try:
            client.check(await client.exchange(letters(SIZE)).addTimeout(limit, clock))
        except DeferredTimeout:
            tally.lost += max(_retransmits(client) - before, 1)
            raise client.error(ExitCode.TIMED_OUT, "timed out: no answer to a probe") from None
        tally.answered += 1
        if again := _retransmits(client) - before:
            tally.lost += again
        elif clock.pauses == pauses:
            tally.latencies.append(clock.seconds() - began)

    def _drop(self, flow: _Flow) -> None:
        if flow.client:
            self.path.drop(flow.client)
            flow.client = None


def _retransmits(client: EchoUpClient) -> int:
    """Return how many segments were sent again so far."""
    info = TCPInfo.of(client.handle)
    return info.retransmits if info else 0
