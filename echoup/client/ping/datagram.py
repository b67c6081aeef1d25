"""Probes over UDP."""

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from errno import ECONNREFUSED, EMSGSIZE
from math import inf

from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import MessageLengthError

from echoup.address import describeAddress, joinAddress
from echoup.client.connectedport import ConnectedPort
from echoup.client.connecting import resolve
from echoup.client.datagram import DatagramTarget
from echoup.client.outcome import ExitCode, PathError
from echoup.client.ping.payload import makePayload
from echoup.client.ping.result import Result
from echoup.client.ping.statistics import Statistics
from echoup.client.trace import Step, Trace
from echoup.upper import upper
from echoup.verdict import Reply, Verdict, firstDifference

MAXIMUM = 65507
"""Bytes of data in the largest UDP datagram that IPv4 carries (RFC 768 and 791: 65535 less the two headers)."""


@dataclass(eq=False)
class Probe:
    """A datagram that was sent, until it's forgotten."""

    seq: int
    payload: bytes
    port: "ProbePort"
    reply: Reply = field(default_factory=Reply)
    answered: "Deferred[None]" = field(default_factory=Deferred)
    """Fires when an answer, right or wrong, has come; fails when there won't be one."""
    isLost: bool = False
    """Was it given up?"""
    over: float = inf
    """When it was answered or given up."""

    @property
    def expected(self) -> bytes:
        """The right answer."""
        return upper(self.payload)


class DatagramProbes:
    """Makes probes, each from a port of its own or all from the same.

    An answer may come twice, after that to a later probe, or when its probe was given up already: `statistics` counts
    these. It's watched out for after the end of a probe for as long as that may take, and while there are further ones.
    """

    def __init__(
        self,
        reactor: ReactorBase,
        target: DatagramTarget,
        timeout: float,
        size: int,
        keep: bool,
        statistics: Statistics,
    ) -> None:
        """A probe sends `size` bytes, at most MAXIMUM, and may take `timeout` seconds; `keep` keeps the port."""
        self._reactor = reactor
        self._target = target
        self._timeout = timeout
        self._size = size
        self._keep = keep
        self._statistics = statistics
        self._kept: ProbePort | None = None
        self._over: deque[Probe] = deque()  # but not yet forgotten
        self._latest = 0  # the highest number of a probe that was answered

    async def probe(self, seq: int) -> Result:
        """Make the probe that has the number `seq`."""
        at, began = time.time(), self._reactor.seconds()
        self._forget(began - self._timeout)
        trace, reply, error = Trace(self._reactor.seconds), Reply(), None
        sent, port = began, self._kept
        try:
            if not port or port.isClosed:
                port = await self._open(trace)
            if self._keep:
                self._kept, sent = port, self._reactor.seconds()
            await self._exchange(port, Probe(seq, makePayload(self._size), port, reply), began + self._timeout, trace)
        except PathError as failure:
            error = failure
        ended = self._reactor.seconds()
        local, remote = (port.local, port.remote) if port else (None, None)
        return Result(seq, at, began, ended, ended - sent, reply, trace, error, local, remote)

    def close(self) -> None:
        """Close all ports."""
        kept, self._kept = self._kept, None
        self._forget(inf)
        if kept and not kept.isClosed:
            kept.close()

    async def _open(self, trace: Trace) -> "ProbePort":
        host, *_ = await resolve(self._reactor, self._target.host, self._target.family, self._timeout, trace, "UDP")
        port = ProbePort(self._take)
        try:
            port.open(self._reactor, (host, self._target.port))
        except OSError as error:
            raise PathError(ExitCode.UNREACHABLE, f"cannot send to {self._target}: {error.strerror}") from None
        port.local, port.remote = describeAddress(port.port.getHost()), joinAddress(host, self._target.port)
        return port

    async def _exchange(self, port: "ProbePort", probe: Probe, deadline: float, trace: Trace) -> None:
        phase = trace.begin(Step.FIRST_BYTE)
        try:
            port.send(probe)
            await probe.answered.addTimeout(max(deadline - self._reactor.seconds(), 0), self._reactor)
        except DeferredTimeout:
            probe.isLost = True
            why = f"no answer within {self._timeout:g} s: it was lost, or the answer was, or nobody answers there"
            raise PathError(ExitCode.TIMED_OUT, f"{self._target}: {why}") from None
        except OSError as error:
            trace.end(phase, error=error.strerror)
            raise PathError(ExitCode.UNREACHABLE, f"cannot send to {self._target}: {error.strerror}") from None
        finally:
            probe.over = self._reactor.seconds()
            self._over.append(probe)
        trace.end(phase)
        if probe.reply.verdict is Verdict.SHORT:
            raise PathError(ExitCode.SHORT, f"{self._target}: {probe.reply}")
        if probe.reply.verdict is not Verdict.UPPERCASED:
            raise PathError(ExitCode.WRONG, f"{self._target}: {probe.reply}")

    def _take(self, probe: Probe, data: bytes) -> None:
        """Note an answer to `probe`, and whether it should have come otherwise."""
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

    def _forget(self, before: float) -> None:
        """Forget the probes that were over at a moment, and close the ports at which nothing is expected any more."""
        while self._over and self._over[0].over <= before:
            probe = self._over.popleft()
            port = probe.port
            del port.probes[probe.expected]
            if not port.probes and port is not self._kept and not port.isClosed:
                port.close()


class ProbePort(ConnectedPort):
    """A port that probes are sent from."""

    local: str
    """Its address, in words."""
    remote: str
    """The server's address, in words."""

    def __init__(self, take: Callable[[Probe, bytes], None]) -> None:
        """`take` is called with each answer and the probe that it answers."""
        self.probes: dict[bytes, Probe] = {}
        """Those that weren't forgotten, by the answers that they should have."""
        self._take = take

    def send(self, probe: Probe) -> None:
        """Send `probe`; raise OSError if that is impossible."""
        self.probes[probe.expected] = probe
        probe.reply.send(probe.payload)
        try:
            self.port.write(probe.payload)
        except MessageLengthError:  # which says less than the system
            raise OSError(EMSGSIZE, os.strerror(EMSGSIZE)) from None

    def datagramReceived(self, data: bytes, addr: object) -> None:
        """Find out what it answers: what it is, or would be, the right answer to, or else what it is most like."""

        def likeness(expected: bytes) -> int:
            return firstDifference(upper(data), expected)

        if self.probes:
            self._take(self.probes[max(self.probes, key=likeness)], data)

    def refused(self, why: str) -> None:
        """Nobody listens there: whatever has no answer yet won't have one."""
        self.isClosed = True
        for probe in list(self.probes.values()):
            if not probe.answered.called:
                probe.answered.errback(OSError(ECONNREFUSED, why))
