"""Probes over UDP."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.task import deferLater

from echoup.client.connect.trace import Step, Trace
from echoup.client.connectedport import Address, ConnectedPort
from echoup.client.datagram import LOST
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.ping.payload import makePayload
from echoup.client.ping.result import Result, interrupted
from echoup.client.ping.schedule import Schedule
from echoup.client.ping.statistics import Statistics
from echoup.client.target.datagram import DatagramTarget
from echoup.clock import RunningTime
from echoup.upper import upper
from echoup.verdict import Reply, Verdict, firstDifference

MAXIMUM = 65507
"""Bytes of data in the largest UDP datagram that IPv4 carries (RFC 768 and 791: 65535 less the two headers)."""

REMEMBERED = 256
"""The most probes that are over and may still be answered; each may have a port of its own."""

REMEMBERED_OF_A_PORT = 4096
"""The same for small probes that all have one port; a late answer to a forgotten one looks like a wrong answer."""


@dataclass(eq=False)
class Probe:
    """A datagram that was sent, while an answer to it can be recognised."""

    seq: int
    payload: bytes
    port: "ProbePort"
    reply: Reply = field(default_factory=Reply)
    answered: "Deferred[None]" = field(default_factory=Deferred)
    """Fires when an answer, right or wrong, has come; fails when the server's machine refuses."""
    isLost: bool = False
    """Whether it was given up, and not answered since."""
    over: float = inf
    """When it was answered or given up, in seconds of the clock."""

    @property
    def expected(self) -> bytes:
        """The right answer."""
        return upper(self.payload)


class DatagramProbes:
    """Makes probes, each from a port of its own or all from the same.

    `statistics` counts answers that come twice, after the answer to a later probe, or after their probe was given up.
    For that a probe is remembered after its end: for as long as a probe may take, on a port that is kept for as long
    as the port, but only the last ones.
    """

    isSequential = False
    """Whether each probe waits for the end of the one before."""

    def __init__(
        self,
        reactor: ReactorBase,
        clock: RunningTime,
        target: DatagramTarget,
        schedule: Schedule,
        statistics: Statistics,
    ) -> None:
        """The payloads have at most MAXIMUM bytes."""
        self._reactor = reactor
        self._clock = clock
        self._target = target
        self._schedule = schedule
        self._statistics = statistics
        self._kept: ProbePort | None = None
        self._over: deque[Probe] = deque()  # those that are remembered
        self._latest = 0  # the highest seq of a probe that was answered
        self._known: str | None = None  # the address that has answered, until it doesn't

    async def probe(self, seq: int) -> Result:
        """Make the probe number `seq`; if it is cancelled, return how far it got, as INTERRUPTED."""
        payload = makePayload(self._schedule.size)
        at, began, pauses = time.time(), self._clock.seconds(), self._clock.pauses
        if self._schedule.keep:
            self._forget(-inf, max(min(REMEMBERED_OF_A_PORT, 2**24 // self._schedule.size), REMEMBERED))
        else:
            self._forget(began - self._schedule.timeout, REMEMBERED)
        trace, reply, error = Trace(self._clock.seconds), Reply(), None
        sent = began
        port = self._kept if self._kept and not self._kept.isClosed else ProbePort(self._take)
        try:
            if not port.remote:
                await self._target.open(self._reactor, port, self._schedule.timeout, trace, self._clock, self._known)
            if self._schedule.keep:
                self._kept, sent = port, self._clock.seconds()
            await self._exchange(port, Probe(seq, payload, port, reply), began + self._schedule.timeout, trace)
        except PathError as failure:
            error = failure
        except CancelledError:
            error = interrupted(self._clock.seconds() - began)
        ended = self._clock.seconds()
        seconds = ended - sent if self._clock.pauses == pauses else None
        return Result(seq, at, began, ended, seconds, reply, trace, error, port.local, port.remote)

    async def linger(self) -> None:
        """Wait for late answers: twice the time of the slowest, but no longer than a probe may take; 0 without any."""
        if self._statistics.times:
            await deferLater(self._clock, min(2 * max(self._statistics.times), self._schedule.timeout))

    async def close(self) -> None:
        """Close all ports."""
        kept, self._kept = self._kept, None
        self._forget(inf, 0)
        if kept:
            kept.close()

    async def _exchange(self, port: "ProbePort", probe: Probe, deadline: float, trace: Trace) -> None:
        phase = trace.begin(Step.FIRST_BYTE)
        try:
            port.send(probe)
            await probe.answered.addTimeout(max(deadline - self._clock.seconds(), 0), self._clock)
        except DeferredTimeout:
            probe.isLost = True
            self._known = None
            why = f"no reply within {self._schedule.timeout:g} s: {LOST}"
            raise PathError(ExitCode.TIMED_OUT, why, self._target, port.address) from None
        except PathError as error:
            trace.end(phase, error=error.reason)
            raise PathError(error.code, error.reason, self._target, port.address, "cannot send to") from None
        finally:
            probe.over = self._clock.seconds()
            self._over.append(probe)
        trace.end(phase)
        reply = probe.reply
        if reply.verdict is Verdict.SHORT:
            why = f"the reply has {reply.received} of {reply.sent} bytes"
            raise PathError(ExitCode.SHORT, why, self._target, port.address)
        if reply.verdict is not Verdict.UPPERCASED:
            raise PathError(ExitCode.WRONG, str(reply), self._target, port.address)

    def _take(self, probe: Probe, data: bytes) -> None:
        """Take an answer to `probe`, and count what is unusual about it."""
        if not self._schedule.keep and probe.port.attempt:
            self._known = probe.port.attempt.address[0]
        if probe.isLost:
            probe.isLost = False
            self._statistics.late += 1
        elif probe.answered.called:
            self._statistics.duplicates += 1
        else:
            self._statistics.reordered += probe.seq < self._latest
            self._latest = max(self._latest, probe.seq)
            probe.reply.receive(data)
            probe.answered.callback(None)

    def _forget(self, before: float, count: int) -> None:
        """Forget the probes that were over by `before`, and all but the last `count`; close the ports without one."""
        while self._over and (self._over[0].over <= before or len(self._over) > count):
            probe = self._over.popleft()
            port = probe.port
            if port.probes.get(probe.expected) is probe:  # a later one of few bytes may be the same
                del port.probes[probe.expected]
            if not port.probes and port is not self._kept:
                port.close()


class ProbePort(ConnectedPort):
    """A port from which probes are sent."""

    def __init__(self, take: Callable[[Probe, bytes], None]) -> None:
        """`take` is called with each answer and the probe that it answers."""
        self.probes: dict[bytes, Probe] = {}
        """The probes that are remembered, by their right answers."""
        self._take = take

    def send(self, probe: Probe) -> None:
        """Send `probe`; raise PathError if that fails."""
        self.probes[probe.expected] = probe
        probe.reply.send(probe.payload)
        try:
            self.sendDatagram(probe.payload)
        except PathError:
            del self.probes[probe.expected]
            raise

    def datagramReceived(self, data: bytes, addr: Address) -> None:
        """Find the probe that this answers: one with these bytes, in either case, or the most similar that waits."""

        def likeness(probe: Probe) -> tuple[int, int]:
            return firstDifference(upper(data), probe.expected), probe.seq

        probe = self.probes.get(upper(data))
        if not probe:
            waiting = (each for each in self.probes.values() if not each.answered.called)
            probe = max(waiting, key=likeness, default=None)
        if probe:
            self._take(probe, data)

    def refused(self, error: PathError) -> None:
        """Fail the probes that wait for an answer: datagrams don't reach a process there."""
        self.close()
        for probe in list(self.probes.values()):
            if not probe.answered.called:
                probe.answered.errback(error)
