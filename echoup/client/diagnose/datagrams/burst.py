"""What is lost, duplicated and reordered of a burst of datagrams."""

from collections.abc import Sequence
from dataclasses import dataclass

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
    bursts: list[range] = []
    sent: list[list[int]] = []
    while len(bursts) < BURSTS:
        begin, numbers = len(questions), []
        for _ in range(COUNT):
            number = questions.send(PROBE)
            if number is not None:
                numbers.append(number)
            await questions.sleep(GAP)
        bursts.append(range(begin, len(questions)))
        sent.append(numbers)
        await questions.settle(numbers, QUIET)
        if _count(questions, numbers, bursts[-1]).isPerfect:
            break
    # Answers to an earlier burst may have come during a later one.
    return [_count(questions, *each) for each in zip(sent, bursts, strict=True)]


def _count(questions: Questions, sent: Sequence[int], burst: range) -> Burst:
    order = [number for number in questions.order if number in burst]
    return Burst(len(sent), questions.lost(sent), len(order) - len(set(order)), countReordered(order))


def shareLost(bursts: Sequence[Burst]) -> float:
    """Return the share of the datagrams of all `bursts` that were lost."""
    return sum(burst.lost for burst in bursts) / max(sum(burst.sent for burst in bursts), 1)


def judgeBursts(bursts: Sequence[Burst], overflowed: int) -> list[Problem]:
    """Return what is wrong where at least two of the `bursts` show it.

    `overflowed` is how many answers this machine had no room for: then its losses tell nothing about the path.
    """
    sent = sum(burst.sent for burst in bursts)
    problems = []
    if _recurs([burst.lost for burst in bursts]) and not overflowed:
        share = shareLost(bursts)
        problems.append(
            Problem(
                Status.WARN if share >= NOTABLE else Status.NOTE,
                "udp-loss",
                f"{share:.1%} of the datagrams are lost",
                (f"{_list(burst.lost for burst in bursts)} of {bursts[0].sent} lost, sent {GAP * 1000:g} ms apart",),
                f"Datagrams, or the answers to them, are dropped on the way. {EITHER_WAY}",
                "Look at the drop counters of interfaces, queues and firewalls on the path, and at the daemon's log: "
                "it says when it refuses datagrams by --udp-rate.",
            )
        )
    if _recurs([burst.duplicates for burst in bursts]):
        count = sum(burst.duplicates for burst in bursts)
        problems.append(
            Problem(
                Status.NOTE,
                "udp-duplicates",
                "datagrams arrive more than once",
                (f"{count} answers to {sent} datagrams came once more",),
                f"Something on the path copies packets. {EITHER_WAY}",
                "Look for a mirror port, for a loop between switches, and for a bonded interface in broadcast mode.",
            )
        )
    reordered = sum(burst.reordered for burst in bursts)
    if _recurs([burst.reordered for burst in bursts]) and reordered >= NOTABLE * sent:
        problems.append(
            Problem(
                Status.NOTE,
                "udp-reordering",
                "datagrams overtake each other",
                (f"{reordered} of {sent} answers came after that to a later datagram",),
                f"The packets of one flow take several ways, or wait in several queues. {EITHER_WAY}",
                "Let the balancing on the path go by flow, not by packet.",
            )
        )
    return problems


def _recurs(counts: Sequence[int]) -> bool:
    """Whether at least two bursts have it."""
    return sum(count > 0 for count in counts) > 1


def _list(counts: object) -> str:
    *most, last = map(str, counts)  # type: ignore[call-overload]
    return f"{', '.join(most)} and {last}" if most else str(last)
