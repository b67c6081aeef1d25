"""The places for connections of a diagnosis."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.places import MOST, ConnectionPlaces


class PlacesTests(SynchronousTestCase):
    """Tests of ConnectionPlaces."""

    def setUp(self) -> None:
        """Begin with no place taken."""
        self.places = ConnectionPlaces()
        self.held: list[int] = []
        self.ends: dict[int, Deferred[None]] = {}

    def take(self, number: int) -> "Deferred[None]":
        """Take a place until the end of that number."""

        async def hold() -> None:
            async with self.places.taken():
                self.held.append(number)
                self.ends[number] = Deferred()
                await self.ends[number]

        return Deferred.fromCoroutine(hold())

    def test_moreWait(self) -> None:
        """Whoever finds no place gets the next one that is given back, in order; cancelling gives it up."""
        taking = [self.take(number) for number in range(MOST + 3)]
        assert self.held == [*range(MOST)]
        taking[MOST].cancel()
        self.failureResultOf(taking[MOST])
        self.ends[0].callback(None)
        assert self.held == [*range(MOST), MOST + 1]
        self.ends[1].callback(None)
        assert self.held[-1] == MOST + 2

    def test_narrowedToOne(self) -> None:
        """Once narrowed, one is taken at a time, after those that are taken already."""
        for number in range(3):
            self.take(number)
        self.places.narrow()
        for number in (3, 4):
            self.take(number)
        for number in (0, 1):
            self.ends[number].callback(None)
        assert self.held == [0, 1, 2]
        self.ends[2].callback(None)
        assert self.held == [0, 1, 2, 3]
        self.ends[3].callback(None)
        assert self.held[-1] == 4
