"""Which sizes of datagrams pass, and whether those that travel in fragments do."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log

from echoup.client.diagnose.datagrams.burst import EITHER_WAY
from echoup.client.diagnose.datagrams.questions import Questions
from echoup.client.diagnose.finding import Problem, Status
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
    for turn in range(MOST_TRIES):
        # What the kernel learns about the path on the way adds sizes.
        rungs = {*asked, *ladder(questions.whole, questions.largest)}
        missing = [
            size
            for size in sorted(rungs)
            if turn < triesOf(size, questions.whole, loss) and not _isAnswered(questions, asked.get(size, []))
        ]
        if not missing:
            break
        for size in missing:
            number = questions.send(size)
            asked.setdefault(size, []).append(number)
            await questions.socket.wait(lambda number=number: questions.isAnswered(number), SPACE)  # type: ignore[misc]
        await questions.settle([asked[size][-1] for size in missing], ROUND)
    whole = questions.whole
    judged = {size: _isAnswered(questions, numbers) for size, numbers in sorted(asked.items())}
    sizes = PassedSizes(
        {size: passed for size, passed in judged.items() if passed or triesOf(size, whole, loss) <= MOST_TRIES}, whole
    )
    if not sizes.lost:
        return sizes
    good, bad = sizes.limit
    passed = dict(sizes.passed)
    while bad - good > 1:
        size = (good + bad) // 2
        passed[size] = await _passes(questions, size, triesOf(size, whole, loss))
        good, bad = (size, bad) if passed[size] else (good, size)
    return PassedSizes(dict(sorted(passed.items())), whole)


def _isAnswered(questions: Questions, numbers: list[int | None]) -> bool:
    return any(questions.isAnswered(number) for number in numbers)


async def _passes(questions: Questions, size: int, tries: int) -> bool:
    """Send a size some times; return whether one is answered."""
    numbers: list[int | None] = []
    for _ in range(min(tries, MOST_TRIES)):
        numbers.append(questions.send(size))
        if await questions.socket.wait(lambda: _isAnswered(questions, numbers), SPACE + 3 * questions.rtt):
            return True
    return await questions.socket.wait(lambda: _isAnswered(questions, numbers), ROUND)


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
    which = f"more than {good} bytes"
    if larger:
        which = f"{bad} to {max(size for size in sizes.lost if size < larger[0])} bytes"
    if bad <= sizes.whole:
        rest = "smaller and larger ones pass" if larger else f"though a packet holds {sizes.whole}"
        return [
            Problem(
                Status.FAIL,
                "udp-whole-lost",
                f"datagrams of {which} are lost, {rest}",
                seen,
                f"A link on the path takes only smaller packets, and nobody tells the sender. {EITHER_WAY}",
                "See what the check mtu says; let ICMP (type 3, code 4; ICMPv6 type 2) through, or lower the MTU.",
                ExitCode.TIMED_OUT,
            )
        ]
    if good <= sizes.whole:
        return [
            Problem(
                Status.WARN,
                "udp-fragments-lost",
                f"datagrams of {which}, which travel in fragments, are lost",
                seen,
                f"A firewall, a balancer or a NAT on the path drops fragments. {EITHER_WAY}",
                "Keep datagrams below that size, as DNS and QUIC do, or let fragments through.",
            )
        ]
    return [
        Problem(
            Status.WARN,
            "udp-size-limit",
            f"datagrams of {which} are lost, though smaller ones pass in fragments",
            seen,
            f"Something on the path limits the fragments of a datagram, or the service reads no more. {EITHER_WAY}",
            "Look at the limits for fragments of the firewalls on the path.",
        )
    ]
