"""The limit on the connections from each peer."""

from collections import Counter

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import Interface, implementer

from echoup.plurals import plural
from echoup.server.log.ratelimitedlog import RateLimitedLog


class IPeers(Interface):
    """The limit on the connections from each peer; another process may keep it."""

    def enter(peer: str) -> "bool | Deferred[bool]":
        """Count a connection from the address `peer` if that is within the limit; return whether it is."""

    def leave(peer: str) -> None:
        """Take back the count of a connection that is gone; only one that `enter` has counted may leave."""

    def stop() -> None:
        """Log the refusals that are not yet logged, and none afterwards."""


@implementer(IPeers)
class PeerLimit:
    """Counts the connections of each peer, and logs once a minute how many were refused."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, maximum: int) -> None:
        self._maximum = maximum
        self._counts: Counter[str] = Counter()
        self._refusals = RateLimitedLog(clock, self._logRefusals)
        self._last = ""

    def enter(self, peer: str) -> bool:
        """Count a connection from the address `peer` if that is within the limit; return whether it is."""
        if self._counts[peer] < self._maximum:
            self._counts[peer] += 1
            return True
        self._last = peer
        self._refusals.count()
        return False

    def leave(self, peer: str) -> None:
        """Take back the count of a connection that is gone."""
        uncount(self._counts, peer)

    def stop(self) -> None:
        """Log the refusals that are not yet logged, and none afterwards."""
        self._refusals.stop()

    def _logRefusals(self, count: int) -> None:
        noun, last = plural(count, "connection"), "" if count == 1 else ", the last"
        self._log.warn(
            f"refused {{connections}} {noun} over --max-connections-per-peer{last} from {{peer}}",
            connections=count,
            peer=self._last,
        )


def uncount(counts: Counter[str], peer: str) -> None:
    """Decrement the count of `peer`, and drop the entry at zero, so that the counter stays bounded."""
    counts[peer] -= 1
    if not counts[peer]:
        del counts[peer]
