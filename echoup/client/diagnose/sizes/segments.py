"""How much TCP carries at once: requests of growing sizes, each on a connection of its own.

A request that hangs poisons its connection, so none is used twice. Each begins with a small exchange, so what hangs
after it hangs because of its size. The kernel says where: while the peer acknowledges nothing, our segments are lost on
the way there; when it has acknowledged everything, the reply is lost on the way back, or was never sent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from twisted.internet.defer import TimeoutError as DeferredTimeout

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.connect.trace import Step, Trace
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.diagnose.sizes.narrowing import Bounds, letters, narrow
from echoup.client.diagnose.together import together
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient

SMALL = 16
"""Bytes of the exchange with which each connection begins."""

FACTOR = 8
"""A request is late when it takes this many times the longest of the others; it is then tried again for that long."""

LEAST = 1.0
"""Seconds that count as late, at least: several times the retransmission timeout of a short path."""

TLS_RECORD = 22
"""Bytes that TLS 1.3 adds to a record (RFC 8446, 5.2, with a tag of 16 bytes)."""

_UNKNOWN = TCPInfo("", 0, 0, sendMSS=1448, pathMTU=1500, advertisedMSS=1460)
"""Where the kernel doesn't tell."""


class HandshakeHangs(Exception):
    """The TLS handshake isn't completed in time."""

    def __init__(self, info: TCPInfo | None) -> None:
        """`info` is what the kernel knew then."""
        super().__init__("the TLS handshake hangs")
        self.info = info


SizeOf = Callable[[TCPInfo], int] | int
"""The size of a request, which may depend on the connection."""


class RequestFate(Enum):
    """What became of a request; the values are the words of the figures."""

    PASSED = "passed"
    UNACKNOWLEDGED = "unacknowledged"
    """The peer's kernel didn't get it."""
    UNANSWERED = "unanswered"
    """The peer's kernel, or a proxy's, has all of it, but the reply doesn't come."""
    CLOSED = "closed"
    """The connection was closed or reset before the reply came."""


@dataclass(frozen=True)
class SizeProbe:
    """A request of some size."""

    size: int
    """Its bytes."""
    fate: RequestFate
    small: float
    """Seconds that the small exchange before it took."""
    seconds: float
    """Seconds from sending it to the last byte of the reply, or until it was given up."""
    before: TCPInfo
    """The connection before it was sent."""
    after: TCPInfo
    """The connection at its end."""
    headers: int
    """Bytes of the headers of IP and TCP in a packet."""

    @property
    def isPassed(self) -> bool:
        """Whether it was answered."""
        return self.fate is RequestFate.PASSED


@dataclass(frozen=True)
class SegmentSizes:
    """What was found about the sizes of requests."""

    first: Sequence[SizeProbe]
    """The requests of growing sizes."""
    hanging: SizeProbe | None = None
    """The smallest of them that hung, or was late, and hung again; None if none did."""
    again: SizeProbe | None = None
    """The same when it was tried again; or a larger one that hung, too, where the segments are smaller since."""
    bounds: Bounds | None = None
    """The largest size that passes; None if there is no single limit."""

    @property
    def mss(self) -> int:
        """Bytes that one segment carries, when the connection is new."""
        return self.first[0].before.sendMSS

    @property
    def passed(self) -> int:
        """Bytes of the largest request that passes, as far as is known."""
        return self.bounds.passed if self.bounds else max((p.size for p in self.first if p.isPassed), default=0)

    @property
    def summary(self) -> str:
        """What passes, in words."""
        largest = max(self.first, key=lambda probe: probe.size)
        mtu, learnt = largest.after.pathMTU, max(probe.before.pathMTU for probe in self.first)
        learning = f", learnt from {learnt}" if mtu < learnt else ""
        return f"TCP: path MTU {mtu}{learning}, MSS {largest.after.sendMSS}, {largest.size} bytes at once"

    @property
    def figures(self) -> dict[str, Any]:
        """What was measured, for programs."""
        probe = max(self.first, key=lambda each: each.size)
        return {
            "pathMTU": probe.after.pathMTU,
            "sendMSS": probe.after.sendMSS,
            "receiveMSS": probe.after.receiveMSS,
            "advertisedMSS": probe.before.advertisedMSS,
            "headers": probe.headers,
            "largest": self.bounds.passed if self.bounds else None,
            "requests": [
                {
                    "size": each.size,
                    "fate": each.fate.value,
                    "seconds": each.seconds,
                    "unacknowledged": each.after.unacknowledged,
                    "lost": each.after.lost,
                    "backoff": each.after.backoff,
                    "retransmits": each.after.retransmits - each.before.retransmits,
                }
                for each in self.first
            ],
        }


def growing(tls: int) -> Sequence[SizeOf]:
    """Return the sizes that matter, where TLS adds `tls` bytes.

    The smallest MTU of IPv4 and those of most tunnels lie between the first two. The last has a short segment after
    three full ones: when only the full ones are lost, it arrives out of order, which proves the loss.
    """
    return (
        lambda info: min(512, info.sendMSS),
        lambda info: min(1200, info.sendMSS),
        lambda info: info.sendMSS - tls,
        lambda info: 3 * info.sendMSS + 200,
    )


async def measureSegments(path: PathUnderTest) -> SegmentSizes:
    """Send requests of growing sizes, repeat those that hang, and find the largest size that passes.

    Raise PathError where a connection or its small exchange fails, HandshakeHangs where TLS stays silent.
    """
    tls = TLS_RECORD if path.streamAt().security else 0
    timeout = path.scope.timeout
    first = await together(probe(path, size, timeout) for size in growing(tls))
    quick = max((each.seconds for each in first if each.isPassed and each.seconds < LEAST), default=0)
    wait = min(timeout, max(LEAST, FACTOR * max(quick, *(each.small for each in first))))
    suspects = [each for each in first if not each.isPassed or each.seconds > wait]
    if not suspects or len([each for each in first if each.fate is RequestFate.CLOSED]) == len(first):
        return SegmentSizes(first)

    passed = max((each.size for each in first if each.isPassed and each.size < suspects[0].size), default=SMALL)
    *repeated, control = await together(probe(path, size, wait) for size in (*(each.size for each in suspects), passed))
    hanging = [pair for pair in zip(suspects, repeated, strict=True) if not pair[1].isPassed]
    if not hanging:
        # What has made the kernel send smaller segments meanwhile keeps the same from happening again.
        isChanged = repeated[0].before.sendMSS < suspects[0].before.sendMSS
        return SegmentSizes(first, suspects[0], suspects[1]) if isChanged and suspects[1:] else SegmentSizes(first)

    async def tryAll(sizes: Sequence[int]) -> dict[int, bool]:
        probes = await together(probe(path, size, wait) for size in sizes)
        return {each.size: each.isPassed for each in probes}

    suspect, again = hanging[0]
    bounds = await narrow(Bounds(passed, suspect.size), tryAll) if control.isPassed else None
    return SegmentSizes(first, suspect, again, bounds)


async def probe(path: PathUnderTest, size: SizeOf, wait: float) -> SizeProbe:
    """Make a small exchange over a new connection, then one of `size`, which has `wait` seconds.

    Raise PathError where there is no connection, or the small exchange fails; HandshakeHangs where the TLS handshake
    isn't completed in time.
    """
    client = EchoUpClient(path.reactor, 0, None, path.clock)
    trace = Trace(path.clock.seconds)
    isConnected = False
    try:
        async with path.connection(client=client, trace=trace):
            isConnected = True
            return await _exchange(path, client, size, wait)
    except PathError as error:
        phase = trace.phases[-1]
        if isConnected or phase.step is not Step.TLS or error.code is not ExitCode.TIMED_OUT:
            raise
        raise HandshakeHangs(phase.tcp) from None


async def _exchange(path: PathUnderTest, client: EchoUpClient, size: SizeOf, wait: float) -> SizeProbe:
    seconds = path.clock.seconds
    began = seconds()
    try:
        await client.exchange(letters(SMALL)).addTimeout(path.scope.timeout, path.clock)
    except DeferredTimeout:
        why = f"timed out: nothing came back in {path.scope.timeout:g} s"
        raise client.error(ExitCode.TIMED_OUT, why) from None
    small = seconds() - began
    before = TCPInfo.of(client.handle) or _UNKNOWN
    data = letters(size if isinstance(size, int) else size(before))
    began = seconds()
    try:
        await client.exchange(data).addTimeout(wait, path.clock)
        fate = RequestFate.PASSED
    except DeferredTimeout:
        fate = RequestFate.UNANSWERED
    except PathError:
        fate = RequestFate.CLOSED
    after = TCPInfo.of(client.handle) or before
    if fate is RequestFate.UNANSWERED and _isLostThere(after):
        fate = RequestFate.UNACKNOWLEDGED
    headers = (40 if client.remote and client.remote.startswith("[") else 20) + before.headers
    return SizeProbe(len(data), fate, small, seconds() - began, before, after, headers)


def _isLostThere(info: TCPInfo) -> bool:
    """Return whether our segments are lost on the way to the server."""
    return bool(info.unacknowledged and (info.backoff or info.lost))


def fateOfHandshake(info: TCPInfo | None) -> RequestFate | None:
    """Return what became of a TLS handshake that wasn't completed; None if it isn't the size of packets, or unknown."""
    if not info:
        return None
    if _isLostThere(info):
        return RequestFate.UNACKNOWLEDGED
    return RequestFate.UNANSWERED if info.outOfOrder else None
