"""A burst is judged by what recurs."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.datagrams.burst import Burst, countReordered, judgeBursts, shareLost
from echoup.client.diagnose.finding import Status


class CountReorderedTests(SynchronousTestCase):
    """`countReordered` counts what comes after a later one."""

    def test_ordersAreCounted(self) -> None:
        """A number counts once if a greater one came before it; gaps and copies don't count."""
        for order, expected in (
            ([], 0),
            ([0, 2, 3], 0),
            ([1, 0], 1),
            ([2, 0, 1], 2),
            ([0, 1, 1, 0, 2], 0),
            ([1, 0, 0], 1),
        ):
            assert countReordered(order) == expected, order


class JudgeBurstsTests(SynchronousTestCase):
    """`judgeBursts` says what at least two bursts show."""

    def judge(self, *bursts: Burst, overflowed: int = 0) -> list[tuple[Status, str]]:
        """Return the statuses and causes."""
        return [(problem.status, problem.cause) for problem in judgeBursts(bursts, overflowed)]

    def test_oneBurstIsNotEnough(self) -> None:
        """Whatever one burst shows isn't said."""
        perfect = Burst(200)
        assert self.judge(perfect) == []
        assert self.judge(Burst(200, 50, 50, 50), perfect, perfect) == []

    def test_lossIsJudgedByItsShare(self) -> None:
        """Loss from a hundredth on is a warning, and below it a note."""
        assert self.judge(Burst(200, 1), Burst(200, 0), Burst(200, 1)) == [(Status.NOTE, "udp-loss")]
        assert self.judge(Burst(200, 5), Burst(200, 0), Burst(200, 1)) == [(Status.WARN, "udp-loss")]
        assert shareLost([Burst(200, 5), Burst(200, 1)]) == 0.015

    def test_ownLossesTellNothing(self) -> None:
        """Where this machine had no room for answers, loss isn't said."""
        assert self.judge(Burst(200, 5), Burst(200, 5), overflowed=3) == []

    def test_copiesAndOrderAreNotes(self) -> None:
        """Copies are a note, and so is a hundredth that came out of order."""
        assert self.judge(Burst(200, 0, 1, 1), Burst(200, 0, 1, 1)) == [(Status.NOTE, "udp-duplicates")]
        assert self.judge(Burst(200, 0, 0, 2), Burst(200, 0, 0, 2)) == [(Status.NOTE, "udp-reordering")]
