"""The statistics of probes, in whichever order they end."""

import statistics as standard
import sys
from fractions import Fraction
from math import ceil

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.exitcodes import ExitCode
from echoup.client.ping.statistics import CERTIFICATES, Outage, Statistics
from tests.support.properties import given, st
from tests.support.samples import interruptedAt, probe, summed, traced

CODES = st.sampled_from([ExitCode.OK, ExitCode.WRONG, ExitCode.TIMED_OUT, ExitCode.SHORT, ExitCode.LOCAL])
SECONDS = st.floats(0.0, 10.0)


def numbers(statistics: Statistics) -> dict[str, object]:
    """Return all numbers of `statistics`."""
    names = ("over", "answered", "wrong", "lost", "failed", "loss", "failure", "outage", "current", "unsent", "trouble")
    return {name: getattr(statistics, name) for name in names} | {"times": sorted(statistics.times)}


class StatisticsTests(SynchronousTestCase):
    """`Statistics` counts probes and measures outages."""

    def test_nothingIsKnownAtFirst(self) -> None:
        """Before the first probe all numbers are 0 or None, and nothing has failed."""
        statistics = summed()
        assert (statistics.sent, statistics.lost, statistics.loss, statistics.failure) == (0, 0, 0.0, None)
        assert (statistics.min, statistics.avg, statistics.max, statistics.stddev) == (None,) * 4
        assert (statistics.percentile(50), statistics.outage) == (None, None)

    def test_probeIsAnsweredWrongOrLost(self) -> None:
        """A probe is answered, wrong or lost; only an answered one has a time."""
        statistics = summed(
            probe(1, 2.0),
            probe(2, 9.0, ExitCode.WRONG),
            probe(3, 9.0, ExitCode.TIMED_OUT),
            probe(4, 9.0, ExitCode.SHORT),
            probe(5, 4.0),
        )
        assert (statistics.sent, statistics.answered, statistics.wrong, statistics.lost) == (5, 2, 1, 2)
        assert (statistics.failed, statistics.loss) == (3, 0.4)
        assert (statistics.min, statistics.avg, statistics.max, statistics.stddev) == (2.0, 3.0, 4.0, 1.0)

    def test_unfinishedIsNoLoss(self) -> None:
        """A probe under way was sent, and isn't lost; the first that was interrupted is remembered."""
        statistics = summed(probe(1), probe(2, code=ExitCode.TIMED_OUT))
        for _ in range(3):
            statistics.sent += 1
        assert (statistics.sent, statistics.over, statistics.unfinished) == (5, 2, 3)
        assert (statistics.lost, statistics.loss, statistics.waiting) == (1, 0.5, None)
        oldest = interruptedAt(3)
        for result in (interruptedAt(4), oldest, interruptedAt(5)):
            statistics.interrupt(result)
        assert statistics.waiting is oldest
        assert (statistics.sent, statistics.unfinished, statistics.failed) == (5, 3, 1)

    def test_unsentIsNoLoss(self) -> None:
        """A probe that this machine couldn't send counts as nothing else; the first reason is remembered."""
        mine = [probe(seq, 9.0, ExitCode.LOCAL) for seq in (2, 4, 5)]
        statistics = summed(probe(1, 2.0), *mine[::-1], probe(3, 9.0, ExitCode.TIMED_OUT))
        assert (statistics.sent, statistics.unsent, statistics.over, statistics.unfinished) == (2, 3, 2, 0)
        assert (statistics.answered, statistics.failed, statistics.lost, statistics.loss) == (1, 1, 1, 0.5)
        assert statistics.trouble is mine[0].error
        assert (statistics.failure and statistics.failure.code) is ExitCode.TIMED_OUT
        assert (summed(*mine).failure, summed(*mine).loss) == (None, 0.0)

    def test_unsentIsNoOutage(self) -> None:
        """A probe that wasn't sent neither begins, extends nor ends an outage."""
        lost, mine = ExitCode.TIMED_OUT, ExitCode.LOCAL
        assert summed(probe(1), probe(2, code=mine)).outage is None
        results = [probe(1, code=mine), probe(2, 0.5, lost), probe(3, 9.0, mine), probe(4, 0.5, lost), probe(5, 0.5)]
        assert summed(*results).outage == Outage(2.0, 5.5, 2, 4, isOver=True)
        assert summed(*results[:3]).current == Outage(2.0, 2.5, 2, 2, isOver=False)

    def test_firstWrongReplyIsFailure(self) -> None:
        """The failure is the first wrong reply, or else the first failure."""
        failed = [probe(2, code=ExitCode.SHORT), probe(1, code=ExitCode.TIMED_OUT)]
        assert summed(*failed).failure is failed[1].error
        wrong = [probe(4, code=ExitCode.WRONG), probe(3, code=ExitCode.WRONG)]
        assert summed(*failed, *wrong).failure is wrong[1].error
        assert summed(*wrong, *failed).failure is wrong[1].error

    def test_longestOutageCounts(self) -> None:
        """An outage lasts from the beginning of its first failure to the end of the next answer; the longest counts."""
        lost = ExitCode.TIMED_OUT
        results = [probe(1), probe(2, code=lost), probe(3), probe(4, code=lost), probe(5, code=lost), probe(6, 0.5)]
        assert summed(*results).outage == Outage(4.0, 6.5, 4, 5, isOver=True)
        statistics = summed(*results, probe(7, 2.0, lost), probe(8, 0.5, lost))
        assert statistics.current == Outage(7.0, 9.0, 7, 8, isOver=False)
        assert statistics.outage == Outage(4.0, 6.5, 4, 5, isOver=True)
        outage = summed(*results, probe(7, 3.0, lost)).outage
        assert outage == Outage(7.0, 10.0, 7, 7, isOver=False)
        assert outage.seconds == 3.0

    def test_missingResultDelaysOutages(self) -> None:
        """A probe that never ends delays the outages until all is over, no longer."""
        statistics = Statistics()
        for seq in (1, 3, 4):
            statistics.add(probe(seq, code=ExitCode.TIMED_OUT))
        assert statistics.current == Outage(1.0, 1.001, 1, 1, isOver=False)
        statistics.finish()
        assert statistics.current == Outage(1.0, 4.001, 1, 4, isOver=False)

    @given(st.lists(st.tuples(SECONDS, CODES), max_size=12), st.data())
    def test_orderDoesNotMatter(self, probes: list[tuple[float, ExitCode]], data: st.DataObject) -> None:
        """In any order the results make the same numbers, and without `finish`."""
        results = [probe(seq, *each) for seq, each in enumerate(probes, 1)]
        shuffled = Statistics()
        for result in data.draw(st.permutations(results)):
            shuffled.add(result)
        assert numbers(shuffled) == numbers(summed(*results))

    @given(st.lists(SECONDS, min_size=1), st.integers(1, 1_000_000))
    def test_timesMatchDefinitions(self, times: list[float], tenThousandths: int) -> None:
        """The times' mean, deviation and percentiles agree with their definitions."""
        statistics = summed(*(probe(seq, time) for seq, time in enumerate(times, 1)))
        assert statistics.stddev is not None
        assert abs(statistics.stddev - standard.pstdev(times)) < 1e-9
        rank = ceil(Fraction(tenThousandths, 1_000_000) * len(times))
        assert statistics.percentile(tenThousandths / 10_000) == sorted(times)[rank - 1]

    def test_percentileRankIsExact(self) -> None:
        """A percentile isn't off by one through floating point: 99.9 % of 1000 are 999."""
        statistics = summed(*(probe(seq, float(seq)) for seq in range(1, 1001)))
        assert [statistics.percentile(p) for p in (0.1, 7, 50, 99.9, 99.91, 100)] == [1, 70, 500, 999, 1000, 1000]

    def test_certificatesAreBounded(self) -> None:
        """Only the certificates that were shown last are remembered, so that a server can't fill the memory."""
        statistics = Statistics()
        for seq in range(1, CERTIFICATES + 2):
            statistics.add(probe(seq, trace=traced(certificate=b"always")))
            statistics.add(probe(seq, trace=traced(certificate=b"%d" % seq)))
        assert len(statistics.certificates) == CERTIFICATES
        assert [*statistics.certificates][-2:] == [b"always", b"%d" % (CERTIFICATES + 1)]
        assert statistics.certificates[b"always"] == 1e9 + CERTIFICATES + 1

    def test_probeTakesEightBytes(self) -> None:
        """Eight bytes are kept of a probe, even of one that others overtook."""
        statistics = Statistics()
        for seq in range(1, 10_001):
            statistics.add(probe(seq ^ 1 if seq > 1 else 1))
        statistics.finish()
        assert sum(map(sys.getsizeof, (vars(statistics)["_early"], statistics.times))) < 100_000
