"""Which sizes of datagrams pass, and whether those that travel in fragments do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log

from echoup.client.diagnose.datagrams.burst import EITHER_WAY
from echoup.client.diagnose.datagrams.questions import Questions
from echoup.client.diagnose.finding import Problem, Status
from echoup.client.diagnose.sizes.narrowing import Bounds, narrow
from echoup.client.exitcodes import ExitCode

RUNGS = (1, 512, 1200, 4096, 16_384, 32_768)
"""Sizes that are tried, in bytes, in addition to the largest that fits into a packet, one more, and the largest."""

TRIES, MOST_TRIES = 3, 12
"""The number of times that a size is sent before it counts as lost. One that needs more isn't judged."""

CHANCE = 1e-4
"""The chance to lose all tries by the loss of single packets, which the tries keep below it."""

SPACE = 0.02
"""Seconds between two sizes."""

ROUND = 0.4
"""Seconds in which nothing more has come when a size is tried again, in addition to a few round trips."""


@dataclass(frozen=True)
class PassedSizes:
    """Which sizes were answered."""

    passed: Mapping[int, bool]
    """By size in bytes, the smallest first; without those that the loss of packets leaves open."""
    whole: int
    """The bytes of the largest datagram that travels in one packet, as far as this machine knows."""

    @property
    def lost(self) -> list[int]:
        """The sizes that were not answered."""
        return [size for size, isPassed in self.passed.items() if not isPassed]

    @property
    def largest(self) -> int:
        """The largest that was."""
        return max((size for size, isPassed in self.passed.items() if isPassed), default=0)

    @property
    def limit(self) -> tuple[int, int]:
        """The smallest that was lost, after the largest that passed below it."""
        lost = self.lost[0]
        return max((size for size in self.passed if size < lost), default=0), lost


def ladder(whole: int, largest: int) -> list[int]:
    """Return the sizes to try, where `whole` bytes fit into a packet."""
    edges = (whole, whole + 1) if whole < largest else ()
    return sorted({*RUNGS, *edges, largest})


def packetsOf(size: int, whole: int) -> int:
    """Return in how many packets a datagram of `size` bytes travels, where `whole` bytes fit into one."""
    if size <= whole:
        return 1
    return ceil((size + 8) / max((whole + 8) // 8 * 8, 8))  # fragments are cut at multiples of 8 bytes, RFC 791, 3.1


def triesOf(size: int, whole: int, loss: float) -> int:
    """Return how often to send a size before it counts as lost, where `loss` is the share of lost packets."""
    lost = 1 - (1 - loss) ** packetsOf(size, whole)
    if lost >= 1:
        return MOST_TRIES + 1
    return max(TRIES, ceil(log(CHANCE) / log(lost)) if lost else 0)


async def measureSizes(questions: Questions, loss: float) -> PassedSizes:
    """Send datagrams of all sizes, each until it is answered, and find the limit to the byte.

    `loss` is the share of lost packets.
    """
    asked: dict[int, list[int | None]] = {}

    def isAnswered(size: int) -> bool:
        return any(map(questions.isAnswered, asked[size]))

    async def send(size: int) -> None:
        number = questions.send(size)
        asked.setdefault(size, []).append(number)
        await questions.socket.wait(lambda: questions.isAnswered(number), SPACE)

    async def tryAll(sizes: Sequence[int]) -> dict[int, bool]:
        missing = sorted(sizes)
        for turn in range(MOST_TRIES):
            missing = [size for size in missing if turn < triesOf(size, questions.whole, loss)]
            for size in missing:
                await send(size)
            await questions.settle([asked[size][-1] for size in missing], ROUND)
            missing = [size for size in missing if not isAnswered(size)]
        return {size: isAnswered(size) for size in sizes}

    def passed() -> PassedSizes:
        whole = questions.whole
        answered = {size: isAnswered(size) for size in sorted(asked)}
        judged = {size: it for size, it in answered.items() if it or triesOf(size, whole, loss) <= MOST_TRIES}
        return PassedSizes(judged, whole)

    # What the kernel learns about the path on the way adds sizes.
    while rungs := [size for size in ladder(questions.whole, questions.socket.largest) if size not in asked]:
        await tryAll(rungs)
    if passed().lost:
        await narrow(Bounds(*passed().limit), tryAll)
    return passed()


def judgeSizes(sizes: PassedSizes) -> list[Problem]:
    """Return what is wrong."""
    if not sizes.lost:
        return []
    good, bad = sizes.limit
    larger = [size for size, passed in sizes.passed.items() if passed and size > bad]
    shown = {*ladder(sizes.whole, max(sizes.passed)), good, bad}
    passed, lost = (
        ", ".join(str(size) for size, isPassed in sizes.passed.items() if isPassed is which and size in shown)
        for which in (True, False)
    )
    seen = (
        f"answered: {passed or 'no'} bytes",
        f"lost each time: {lost} bytes; {sizes.whole} are the most that one packet holds",
    )
    which = f"datagrams of more than {good} bytes"
    if larger:
        which = f"datagrams of {bad} to {max(size for size in sizes.lost if size < larger[0])} bytes"
    status = Status.WARN
    if bad <= sizes.whole:
        status, cause = Status.FAIL, "udp-whole-lost"
        rest = "smaller and larger ones pass" if larger else f"though a packet holds {sizes.whole}"
        text = f"{which} are lost, {rest}"
        meaning = "A link on the path takes only smaller packets, and nobody tells the sender."
        advice = "See what the check mtu says; let ICMP (type 3, code 4; ICMPv6 type 2) through, or lower the MTU."
    elif good <= sizes.whole:
        cause, text = "udp-fragments-lost", f"{which}, which travel in fragments, are lost"
        meaning = "A firewall, a balancer or a NAT on the path drops fragments."
        advice = "Keep datagrams below that size, as DNS and QUIC do, or let fragments through."
    else:
        cause, text = "udp-size-limit", f"{which} are lost, though smaller ones pass in fragments"
        meaning = "Something on the path limits the fragments of a datagram, or the service reads no more."
        advice = "Look at the limits for fragments of the firewalls on the path."
    return [Problem(status, cause, text, seen, f"{meaning} {EITHER_WAY}", advice, ExitCode.TIMED_OUT)]
