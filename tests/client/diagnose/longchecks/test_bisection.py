"""Which idle times are tried, and what they tell."""

from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.longchecks.bisection import WIDTH, Cut, IdleFate, Trial, between, ladder


def lives(*seconds: float) -> list[Trial]:
    """Return trials that lived."""
    return [Trial(each, IdleFate.ALIVE) for each in seconds]


def dies(*seconds: float, fate: IdleFate = IdleFate.SILENT) -> list[Trial]:
    """Return trials that died."""
    return [Trial(each, fate) for each in seconds]


class TimesTests(SynchronousTestCase):
    """The times to try."""

    def test_ladderGoesDownFromTheLongest(self) -> None:
        """The ladder begins with the longest time, in equal proportions, and has few rungs."""
        times = ladder(900)
        assert times[0] == 900
        assert len(times) == WIDTH
        assert 2 < times[-1] < 2.1
        assert all(abs(long / short - 1.5) < 1e-9 for long, short in pairwise(times))

    def test_ladderOfShortTimesEndsAtOneSecond(self) -> None:
        """Nothing shorter than a second is tried, unless that is what was asked for."""
        assert [round(each, 2) for each in ladder(6)] == [6, 4, 2.67, 1.78, 1.19]
        assert ladder(0.5) == [0.5]

    def test_intervalIsDividedFinelyEnough(self) -> None:
        """The steps are at most a second or 2 % wide, and the time that killed is tried again."""
        assert between(4, 6) == [6, 5]
        assert between(5.9, 6) == [6]
        for low, high in ((600, 900), (233, 350), (20, 30), (0, 1)):
            times = between(low, high)
            assert times[0] == high
            assert len(times) <= WIDTH + 1
            edges = [*times, low]
            assert all(a - b <= max(1, 0.02 * high) + 1e-9 for a, b in pairwise(edges))


class CutTests(SynchronousTestCase):
    """What trials tell of the cut."""

    def test_cutIsBetweenLifeAndDeath(self) -> None:
        """The cut is after the longest life and before the shortest death."""
        cut = Cut("TCP", dies(9, 6) + lives(2, 4))
        assert (cut.bounds, cut.lived, cut.fate) == ((4, 6), 4, IdleFate.SILENT)
        assert cut.outlived == []
        assert cut.figures["cut"] == {"how": "silent", "after": 5, "within": 1}

    def test_withoutDeathThereIsNoCut(self) -> None:
        """Where all lived there is no cut; where all died it may be at any time before."""
        alive = Cut("TCP", lives(4, 6))
        assert (alive.lived, alive.deaths, alive.fate) == (6, [], IdleFate.ALIVE)
        assert alive.figures == {"lived": 6, "cut": None, "keepalive": None, "outlived": 0}
        assert Cut("TCP", dies(1, 2)).bounds == (0, 1)

    def test_deathThatOthersOutlivedIsNoCut(self) -> None:
        """A connection that died early is not an idle timeout if another one lived for much longer."""
        trials = dies(4) + lives(6, 9)
        assert Cut("TCP", trials).deaths == []
        assert Cut("TCP", trials).outlived == trials[:1]
        assert Cut("TCP", trials + dies(13)).bounds == (9, 13)

    def test_lateSweepIsNoContradiction(self) -> None:
        """A life that ended a little later than others is what a server shows that looks every so often."""
        trials = dies(5.1, fate=IdleFate.CLOSED) + lives(5.3) + dies(5.7, fate=IdleFate.CLOSED)
        cut = Cut("TCP", trials)
        low, high = cut.bounds
        assert abs(low - 5.1) < 1e-9
        assert abs(high - 5.7) < 1e-9
        assert (cut.deaths, cut.outlived) == ([trials[0], trials[2]], [])

    def test_keepaliveHelpsWhereAllLive(self) -> None:
        """Keepalive helps if all that had it lived, and isn't known to where it wasn't tried."""
        assert Cut("TCP", dies(9), 3, lives(9, 9)).isKept
        assert not Cut("TCP", dies(9), 3, lives(9) + dies(9)).isKept
        assert not Cut("TCP", dies(9)).isKept
