"""How much a daemon takes on, and how often it says that it was too much."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.selectreactor import SelectReactor

SELECT_MAXIMUM = 960
"""The most connections on the select reactor: select(2) takes no descriptor from 1024 on, and one that
does turn up ends every connection. The rest is for the log, the listening sockets and the reactor."""


@dataclass(frozen=True)
class Limits:
    """What one daemon allows; sizes are numbers of connections, times are seconds, 0 is "no limit"."""

    maxConnections: int = 1024
    maxConnectionsPerPeer: int = 0
    idleTimeout: float = 600.0
    stallTimeout: float = 60.0
    """Never 0: nothing may hang. So with the next."""
    handshakeTimeout: float = 5.0

    @property
    def tick(self) -> float:
        """How often to look for what has not moved: a twentieth of the shortest timeout, 0.05 to 3 seconds."""
        shortest = min(self.stallTimeout, self.idleTimeout or self.stallTimeout)
        return min(max(shortest / 20, 0.05), 3.0)

    def within(self, reactor: object) -> "Limits":
        """Return the limits that `reactor` can keep: its own if it is the select reactor, else these."""
        if isinstance(reactor, SelectReactor) and not 0 < self.maxConnections <= SELECT_MAXIMUM:
            return replace(self, maxConnections=SELECT_MAXIMUM)
        return self


class MinuteLog:
    """Counts events of one kind and says so at once, but then only once a minute, however many there are."""

    def __init__(self, clock: IReactorTime, say: Callable[[int], None]) -> None:
        """`say` is called with the number of events since it was called last."""
        self._clock = clock
        self._say = say
        self._unsaid = 0
        self._silence: IDelayedCall | None = None
        self._stopped = False

    def count(self) -> None:
        """Note one event."""
        self._unsaid += 1
        if not self._silence and not self._stopped:
            self._speak()

    def stop(self) -> None:
        """Say what is unsaid, and be silent for good."""
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
