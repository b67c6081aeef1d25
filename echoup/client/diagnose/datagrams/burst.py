"""What is lost, duplicated and reordered of a burst of datagrams."""

from collections.abc import Sequence
from dataclasses import dataclass

from echoup.client.diagnose.amounts import percent, time
from echoup.client.diagnose.datagrams.questions import PROBE, Questions
from echoup.client.diagnose.finding import Problem, Status

COUNT = 200
"""Datagrams in a burst."""

GAP = 0.001
"""Seconds between two of them: a fifth of the daemon's default --udp-rate."""

BURSTS = 3
"""Bursts that are sent where the first wasn't answered as it should."""

QUIET = 1.0
"""Seconds after which no further answer is expected, in addition to a few round trips."""

NOTABLE = 0.01
"""The share of lost datagrams from which on that is a warning, and of reordered ones from which on it is said."""

EITHER_WAY = "Whether that happens on the way there or back, the answers can't tell."


@dataclass(frozen=True)
class Burst:
    """What became of a burst."""

    sent: int
    lost: int = 0
    duplicates: int = 0
    reordered: int = 0

    @property
    def isPerfect(self) -> bool:
        """Whether each datagram was answered once, in order."""
        return not (self.lost or self.duplicates or self.reordered)


def countReordered(order: Sequence[int]) -> int:
    """Return how many of these numbers come after a greater one (RFC 4737, 3.3), each counted once."""
    greatest, seen, count = -1, set[int](), 0
    for number in order:
        count += number < greatest and number not in seen
        greatest = max(greatest, number)
        seen.add(number)
    return count


async def sendBursts(questions: Questions) -> list[Burst]:
    """Send one burst, and two more if not every datagram was answered once and in order."""
    sent: list[list[int]] = []
    bursts: list[Burst] = []
    while len(bursts) < BURSTS and not (bursts and bursts[-1].isPerfect):
        numbers = []
        for _ in range(COUNT):
            numbers.append(questions.send(PROBE))
            await questions.sleep(GAP)
        sent.append([number for number in numbers if number is not None])
        await questions.settle(sent[-1], QUIET)
        # Answers to an earlier burst may have come during a later one.
        bursts = [_count(questions, numbers) for numbers in sent]
    return bursts


def _count(questions: Questions, sent: Sequence[int]) -> Burst:
    numbers = {*sent}
    order = [number for number in questions.order if number in numbers]
    return Burst(len(sent), questions.lost(sent), len(order) - len({*order}), countReordered(order))


def shareLost(bursts: Sequence[Burst]) -> float:
    """Return the share of the datagrams of all `bursts` that were lost."""
    return sum(burst.lost for burst in bursts) / max(sum(burst.sent for burst in bursts), 1)


def judgeBursts(bursts: Sequence[Burst], overflowed: int) -> list[Problem]:
    """Return what is wrong where at least two of the `bursts` show it.

    `overflowed` is how many answers this machine had no room for: then its losses tell nothing about the path.
    """
    problems = []

    def add(status: Status, cause: str, text: str, seen: str, meaning: str, advice: str) -> None:
        problems.append(Problem(status, cause, text, (seen,), f"{meaning} {EITHER_WAY}", advice))

    sent, share = sum(burst.sent for burst in bursts), shareLost(bursts)
    lost, duplicates, reordered = (
        [getattr(burst, each) for burst in bursts] for each in ("lost", "duplicates", "reordered")
    )
    if _recurs(lost) and not overflowed:
        add(
            Status.WARN if share >= NOTABLE else Status.NOTE,
            "udp-loss",
            f"{percent(share, 1)} of the datagrams are lost",
            f"lost of {bursts[0].sent} that were sent {time(GAP)} apart: {', '.join(map(str, lost))}",
            "Datagrams, or the answers to them, are dropped on the way.",
            "Look at the drop counters of interfaces, queues and firewalls on the path, and at the daemon's log: it "
            "says when it refuses datagrams by --udp-rate.",
        )
    if _recurs(duplicates):
        add(
            Status.NOTE,
            "udp-duplicates",
            "datagrams arrive more than once",
            f"{sum(duplicates)} answers to {sent} datagrams came once more",
            "Something on the path copies packets.",
            "Look for a mirror port, for a loop between switches, and for a bonded interface in broadcast mode.",
        )
    if _recurs(reordered) and sum(reordered) >= NOTABLE * sent:
        add(
            Status.NOTE,
            "udp-reordering",
            "datagrams overtake each other",
            f"{sum(reordered)} of {sent} answers came after that to a later datagram",
            "The packets of one flow take several ways, or wait in several queues.",
            "Let the balancing on the path go by flow, not by packet.",
        )
    return problems


def _recurs(counts: Sequence[int]) -> bool:
    """Whether at least two bursts have it."""
    return sum(count > 0 for count in counts) > 1
