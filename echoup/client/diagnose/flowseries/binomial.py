"""Which flows lose more than the others, and which are slower: tests that hold however many flows there are.

Loss is judged twice, and both tests must reject. The first asks whether the losses are spread evenly at all: of all
lost probes, how many fall on the worst k flows, where chance puts each one on them with the share that they have of the
probes? The probability is multiplied by the number of ways to choose k flows, and by the number of k (Bonferroni), so
that the choice of the worst after the fact doesn't count as evidence. The best k separates suspects from the rest. The
second test compares each suspect with the rest by the binomial distribution, with Holm's correction for the number of
flows. Neither needs to know the loss of a healthy path; only BASE, below which no loss counts, is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import comb, exp, lgamma, log, log1p
from statistics import median

ALPHA = 0.01
"""The most that a false alarm may be probable."""

BASE = 0.01
"""The loss that a path may have by chance, at any moment, without being called lossy."""

MARGIN = 0.005
"""Seconds by which a slow flow differs from the others, at least."""

ENOUGH = 8
"""The fewest latencies that say how slow a flow is."""


@dataclass
class Tally:
    """The probes of one flow."""

    port: int = 0
    """Its source port."""
    answered: int = 0
    """Those that were answered, however late."""
    lost: int = 0
    """Those that weren't answered, or only after something was sent again."""
    latencies: list[float] = field(default_factory=list)
    """Of the others, in seconds."""

    @property
    def sent(self) -> int:
        """All of them; what was sent again counts as one more."""
        return self.answered + self.lost

    @property
    def loss(self) -> float:
        """The share of its probes that were lost."""
        return self.lost / max(self.sent, 1)

    def plus(self, other: "Tally") -> "Tally":
        """Return the probes of both."""
        both = [*self.latencies, *other.latencies]
        return Tally(self.port, self.answered + other.answered, self.lost + other.lost, both)


def tail(hits: int, trials: int, chance: float) -> float:
    """Return the probability of at least `hits` of `trials`, each of which hits with the probability `chance`.

    `chance` is more than 0 and less than 1.
    """
    total = 0.0
    for number in range(hits, trials + 1):
        ways = lgamma(trials + 1) - lgamma(number + 1) - lgamma(trials - number + 1)
        term = exp(ways + number * log(chance) + (trials - number) * log1p(-chance))
        total += term
        if number > trials * chance and term < total * 1e-12:
            break
    return min(total, 1.0)


def lossy(tallies: Sequence[Tally]) -> set[int]:
    """Return the ports of the flows that lose more than the others."""
    ranked = sorted((tally for tally in tallies if tally.sent), key=lambda tally: tally.loss, reverse=True)
    lost, sent = sum(tally.lost for tally in ranked), sum(tally.sent for tally in ranked)
    best, suspects = ALPHA, 0
    lostHere = sentHere = 0
    for number, tally in enumerate(ranked[:-1], 1):
        if not tally.lost:
            break
        lostHere, sentHere = lostHere + tally.lost, sentHere + tally.sent
        ways = comb(len(ranked), number) * len(ranked)
        if (probability := tail(lostHere, lost, sentHere / sent) * ways) < best:
            best, suspects = probability, number
    rest = ranked[suspects:]
    chance = max(BASE, sum(tally.lost for tally in rest) / max(sum(tally.sent for tally in rest), 1))
    found = set()
    for number, tally in enumerate(ranked[:suspects]):
        if tail(tally.lost, tally.sent, chance) * (len(ranked) - number) >= ALPHA:
            break
        found.add(tally.port)
    return found


def slow(tallies: Sequence[Tally]) -> set[int]:
    """Return the ports of the flows whose latency is far above that of the others, even at its least."""
    medians = {tally.port: median(tally.latencies) for tally in tallies if len(tally.latencies) >= ENOUGH}
    if len(medians) < 3:
        return set()
    typical = median(medians.values())
    spread = median(abs(each - typical) for each in medians.values())
    margin = max(MARGIN, typical / 2, 10 * spread)
    late = {port for port, middle in medians.items() if middle > typical + margin}
    return {tally.port for tally in tallies if tally.port in late and min(tally.latencies) > typical + margin / 2}
