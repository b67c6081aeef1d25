"""Which datagrams are answered, so that nobody can use the service to attack a third party."""

from collections.abc import Hashable
from typing import Any, Generic, TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from echoup.addresses import describeName
from echoup.plurals import plural
from echoup.server.datagram.returnpath import DatagramRefusal, ReturnPath
from echoup.server.log.ratelimitedlog import RateLimitedLog

K = TypeVar("K", bound=Hashable)

BURST = 2.0
"""Seconds for which an address can save up its rate. At the default rate, 10 000 datagrams are answered at once: ten of
the bursts of 1000 that are promised an answer."""

ADDRESSES = 10_000
"""Addresses whose rate is watched. If more addresses send at the same time, none can be near the default rate."""

RETURN = 1.0
"""Seconds for which a reply that comes back is recognised: longer than a round trip takes."""

REPLIES = 32_768
"""Replies that are recognised: more than two addresses get within RETURN at the default rate, with their bursts.
At a higher rate, a reply that comes back after more others than this is answered again. Only a long path holds so many,
since a receive buffer takes 11 000 small datagrams."""


class ReflectionGuard:
    """Decides which datagrams are answered, for all the UDP ports of a daemon together.

    The sender of a datagram can be forged. That way an echo service can be made to flood a third party, or to talk to
    another service forever (CVE-1999-0103, CVE-2024-2169). So it refuses for the reasons of `DatagramRefusal`.

    Our own reply is a datagram that is, byte for byte, one that was sent from the address it was sent to, to exactly
    its sender, less than RETURN ago. So two services like this one answer a spoofed datagram once each. All replies
    count, not only the last to each sender: two datagrams that bounce at the same time would each replace the other.
    The price is that a client which repeats itself looks the same: if it sends the same bytes without a lowercase
    letter repeatedly from one port, it gets one answer in each RETURN.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, rate: int) -> None:
        """Answer up to `rate` datagrams a second from each address; 0 is "no limit"."""
        self.ports: set[int] = set()
        """Our own ports."""
        self._clock = clock
        self._rate = rate
        self._rates: _Deadlines[str] = _Deadlines(BURST, ADDRESSES)
        """When the bucket of an address is full again."""
        # By their hashes, since datagrams are large. Python's are keyed and have 64 bits, so no collision can be made.
        self._replies: _Deadlines[int] = _Deadlines(RETURN, REPLIES)
        """When a reply is forgotten."""
        self._refusals = RateLimitedLog(clock, self._logRefused)
        self._last: tuple[Any, DatagramRefusal]

    def refusalOf(self, datagram: bytes, reply: bytes, path: ReturnPath) -> DatagramRefusal | None:
        """Return why `datagram`, which came on `path`, may not get `reply`, and count it; None if it may."""
        sender, now = path.sender, self._clock.seconds()
        if refusal := path.refusal:
            pass
        elif sender[1] in self.ports:
            refusal = DatagramRefusal.OWN_PORT
        elif self._rate and self._isOverRate(sender[0], now):
            refusal = DatagramRefusal.RATE
        else:
            exchange = hash((sender, path.asked, reply))
            if datagram != reply or self._replies.get(exchange, now) <= now:
                self._replies.set(exchange, now + RETURN, now)
                return None
            refusal = DatagramRefusal.OWN_REPLY
        self._last = sender, refusal
        self._refusals.count()
        return refusal

    def stop(self) -> None:
        """Log the refusals that are not yet logged, and none afterwards."""
        self._refusals.stop()

    def _isOverRate(self, host: str, now: float) -> bool:
        """Take a token out of the bucket of `host`; return whether there was none."""
        before = max(self._rates.get(host, now), now)
        after = before + 1 / self._rate
        isOver = after > now + BURST
        self._rates.set(host, before if isOver else after, now)
        return isOver

    def _logRefused(self, count: int) -> None:
        sender, refusal = self._last
        noun, last = plural(count, "datagram"), "" if count == 1 else ", the last"
        self._log.warn(
            f"refused {{datagrams}} {noun}{last} from {{address}}: {{objection}}",
            datagrams=count,
            address=describeName(sender),
            objection=refusal.value.format(rate=self._rate),
        )


class _Deadlines(Generic[K]):
    """Deadlines within a `period` from now, by key: a dict that drops them some time after they are over.

    There are two generations. The old one is dropped as a whole when all its deadlines are over, or when the new one is
    full, so none is looked at for that. The latest `size` deadlines are kept in any case, and at most twice as many.
    """

    def __init__(self, period: float, size: int) -> None:
        self._period = period
        self._size = size
        self._new: dict[K, float] = {}
        self._old: dict[K, float] = {}
        self._newUntil = 0.0

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def get(self, key: K, default: float) -> float:
        """Return the deadline of `key`, or `default`."""
        return self._new.get(key) or self._old.get(key, default)

    def set(self, key: K, deadline: float, now: float) -> None:
        """Set the deadline of `key`."""
        if now >= self._newUntil or len(self._new) >= self._size:
            self._old = self._new if now < self._newUntil + self._period else {}
            self._new = {}
            self._newUntil = now + self._period
        self._new[key] = deadline
