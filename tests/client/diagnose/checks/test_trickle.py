"""When pieces come back."""

from math import inf

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.checks.trickle import Trickle


def came(*lags: float) -> Trickle:
    """Return pieces of 10 bytes, sent 0.1 s apart, each of which came after the given time, or not at all."""
    trickle = Trickle()
    for number, _ in enumerate(lags):
        trickle.send(10, number / 10)
    for at in sorted(number / 10 + lag for number, lag in enumerate(lags) if lag < inf):
        trickle.arrive(10, at)
    return trickle


class TrickleTests(SynchronousTestCase):
    """Pieces that are later than the fastest one were held back."""

    def test_samePieceForPieceIsHealthy(self) -> None:
        """A path that takes the same time for each piece holds nothing back, however long it takes."""
        trickle = came(*[0.5] * 8)
        assert not trickle.isHeldBack
        assert trickle.clumps == 8
        assert max(trickle.held) < 1e-9

    def test_pauseIsNoBuffering(self) -> None:
        """A pause of the machine that delays two pieces isn't enough."""
        assert not came(0.001, 0.001, 0.19, 0.09, 0.001, 0.03, 0.001, 0.001).isHeldBack

    def test_onePieceAtTheEnd(self) -> None:
        """Pieces that come all at once are one clump; the last one was held back for no time."""
        trickle = came(*[0.7 - number / 10 for number in range(8)])
        assert trickle.isHeldBack
        assert trickle.clumps == 1
        assert abs(trickle.held[0] - 0.7) < 1e-9
        assert trickle.held[-1] == 0

    def test_nothingCame(self) -> None:
        """Pieces that never come are held back without end."""
        trickle = came(*[inf] * 8)
        assert trickle.isHeldBack
        assert trickle.lags == trickle.held == [inf] * 8
        assert (trickle.clumps, trickle.received) == (0, 0)

    def test_partOfAPieceIsNotThePiece(self) -> None:
        """A piece has come back when its last byte has."""
        trickle = Trickle()
        trickle.send(10, 0)
        trickle.arrive(9, 1)
        assert trickle.lags == [inf]
        trickle.arrive(1, 2)
        assert trickle.lags == [2]
