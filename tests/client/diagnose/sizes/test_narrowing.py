"""The search for the largest size that passes."""

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.sizes.narrowing import Bounds, letters, narrow


class NarrowTests(SynchronousTestCase):
    """`narrow` finds the limit, and says where there is none."""

    def narrow(self, bounds: Bounds, doesPass: Callable[[int], bool]) -> Bounds | None:
        """Return what is found where `doesPass` says which sizes pass."""
        self.rounds: list[Sequence[int]] = []

        async def tryAll(sizes: Sequence[int]) -> dict[int, bool]:
            self.rounds.append(sizes)
            return {size: doesPass(size) for size in sizes}

        return self.successResultOf(Deferred.fromCoroutine(narrow(bounds, tryAll)))

    def test_everyLimitIsFound(self) -> None:
        """The limit is found to the byte, in three rounds where it is a packet's."""
        for limit in range(1200, 1448):
            found = self.narrow(Bounds(1200, 1448), lambda size, limit=limit: size <= limit)  # type: ignore[misc]
            assert found == Bounds(limit, limit + 1)
            assert found.isExact
            assert len(self.rounds) <= 3

    def test_wideBounds(self) -> None:
        """The largest bounds take few rounds."""
        assert self.narrow(Bounds(16, 65507), lambda size: size <= 8972) == Bounds(8972, 8973)
        assert len(self.rounds) <= 6

    def test_exactBoundsTakeNoRound(self) -> None:
        """Nothing is tried where nothing is in between."""
        assert self.narrow(Bounds(7, 8), lambda _: False) == Bounds(7, 8)
        assert self.rounds == []

    def test_noSingleLimit(self) -> None:
        """Where sizes pass and don't in turn, there is no limit."""
        assert self.narrow(Bounds(0, 90), lambda size: size % 20 == 0) is None

    def test_limitThatIsGone(self) -> None:
        """A size that didn't pass before, and passes now, is no limit."""
        assert self.narrow(Bounds(1200, 1448), lambda _: True) is None

    def test_chanceIsTriedAgain(self) -> None:
        """A size that fails once, below one that passes, is tried again."""
        failed: set[int] = set()

        def doesPass(size: int) -> bool:
            isFirst = size == 1227 and size not in failed
            failed.add(size)
            return size <= 1300 and not isFirst

        assert self.narrow(Bounds(1200, 1448), doesPass) == Bounds(1300, 1301)
        assert [1227] in self.rounds


class LettersTests(SynchronousTestCase):
    """`letters` are random, and in lower case."""

    def test_lowerCase(self) -> None:
        """Each byte changes when it is uppercased, and no two are the same."""
        data = letters(10_000)
        assert data.islower()
        assert len(data) == 10_000
        assert len({*data}) == 26
        assert data != letters(10_000)
