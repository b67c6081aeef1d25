"""Log lines that are written at most once a minute."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class RateLimitedLog:
    """Counts events of one kind; reports the first at once, and later ones together, at most once a minute."""

    def __init__(self, clock: IReactorTime, say: Callable[[int], None]) -> None:
        """`say` reports: it is called with the number of events since it was called last."""
        self._clock = clock
        self._say = say
        self._unsaid = 0
        self._silence: IDelayedCall | None = None
        self._stopped = False

    def count(self, number: int = 1) -> None:
        """Count one event, or a `number` of them."""
        self._unsaid += number
        if not self._silence and not self._stopped:
            self._speak()

    def stop(self) -> None:
        """Report the events that are not yet reported, and none afterwards."""
        self._stopped = True
        if self._silence:
            self._silence.cancel()
            self._speak()

    def _speak(self) -> None:
        self._silence = None
        if self._unsaid:
            unsaid, self._unsaid = self._unsaid, 0
            if not self._stopped:
                self._silence = self._clock.callLater(60, self._speak)
            self._say(unsaid)
