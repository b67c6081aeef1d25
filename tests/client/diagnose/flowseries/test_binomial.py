"""Which flows are judged lossy or slow, and how rarely a good one is."""

from math import comb
from random import Random
from statistics import median

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.flowseries.binomial import Tally, lossy, slow, tail

RUNS = 2000
"""Series in which no flow differs."""


def flows(lost: list[int], sent: int = 40) -> list[Tally]:
    """Return flows that lost so many of `sent` probes."""
    return [Tally(number, sent - each, each) for number, each in enumerate(lost)]


class TailTests(SynchronousTestCase):
    """`tail` is the exact probability."""

    def test_sumOfTheTerms(self) -> None:
        """It is the sum of the probabilities of that many hits and of more."""
        for trials, chance in ((1, 0.5), (40, 0.01), (40, 0.5), (200, 0.9)):
            terms = [comb(trials, n) * chance**n * (1 - chance) ** (trials - n) for n in range(trials + 1)]
            for hits in range(1, trials + 1):
                assert abs(tail(hits, trials, chance) - sum(terms[hits:])) < 1e-9

    def test_largeNumbers(self) -> None:
        """The coefficients of many trials, too large for a float, are no trouble."""
        assert 0.4 < tail(10_000, 20_000, 0.5) < 0.6
        assert tail(15_000, 20_000, 0.5) == 0


class LossyTests(SynchronousTestCase):
    """`lossy` finds the flows that lose more than the others."""

    def test_fewAmongMany(self) -> None:
        """One flow, or two, that lose half are found among 32, with and without losses elsewhere."""
        assert lossy(flows([0] * 31 + [20])) == {31}
        assert lossy(flows([1, 3, 2, 0, 4] * 6 + [20, 18])) == {30, 31}

    def test_halfAmongAll(self) -> None:
        """Half of the flows are found, also where they are dead, and one of two."""
        assert lossy(flows([20, 0] * 16)) == {*range(0, 32, 2)}
        assert lossy(flows([40, 0, 0, 0] * 8)) == {*range(0, 32, 4)}
        assert lossy(flows([0, 20])) == {1}

    def test_fewProbes(self) -> None:
        """A dead flow has fewer probes, and is found, too; two lost probes are no proof."""
        good = [Tally(number, 40, 0) for number in range(31)]
        assert lossy([*good, Tally(31, 0, 3)]) == {31}
        assert lossy([*good, Tally(31, 38, 2)]) == set()
        assert lossy([*good, Tally(31)]) == set()

    def test_equalLossIsNobodys(self) -> None:
        """Where all flows lose the same, none is named: not even where all lose everything."""
        for each in (0, 2, 20, 40):
            assert lossy(flows([each] * 32)) == set()

    def test_falseAlarmsAreRare(self) -> None:
        """In less than 1 of 100 runs of one series a good flow is named, with any loss and number of flows."""
        random = Random(17)  # noqa: S311  # the seed repeats it
        for count, chance in ((32, 0.05), (32, 0.005), (2, 0.05), (8, 0.2), (64, 0.01)):
            runs = RUNS * 8 // count if count > 8 else RUNS
            lost = [[sum(random.random() < chance for _ in range(40)) for _ in range(count)] for _ in range(runs)]
            alarms = sum(bool(lossy(flows(each))) for each in lost)
            assert alarms <= runs / 100, (count, chance, alarms, runs)


class SlowTests(SynchronousTestCase):
    """`slow` finds the flows whose latency is far above that of the others."""

    def test_slowFlowIsFound(self) -> None:
        """A flow that takes 10 ms more is found, beside one that is late only now and then."""
        random = Random(1)  # noqa: S311
        tallies = [Tally(n, 40, 0, [0.002 + random.expovariate(1000) for _ in range(40)]) for n in range(32)]
        assert slow(tallies) == set()
        tallies[7].latencies = [each + 0.01 for each in tallies[7].latencies]
        tallies[9].latencies[10:] = [each + 0.01 for each in tallies[9].latencies[10:]]
        assert median(tallies[9].latencies) > 0.01
        assert slow(tallies) == {7}

    def test_fewLatenciesSayNothing(self) -> None:
        """Flows without enough latencies, or two alone, aren't compared."""
        assert slow([Tally(n, 40, 0, [n] * 40) for n in range(2)]) == set()
        assert slow([Tally(n, 4, 0, [n] * 4) for n in range(32)]) == set()
