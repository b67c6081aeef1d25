"""Which datagrams are answered, so that nobody can use the service to attack a third party."""

from collections import OrderedDict
from collections.abc import Hashable
from enum import Enum
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from echoup.addresses import describeName
from echoup.plurals import counted
from echoup.server.log.ratelimitedlog import RateLimitedLog

K = TypeVar("K")

RATE = 5000
"""Datagrams per second and address that are answered: plenty for a probe, and a small share of what a core answers
(90 000 of 64 bytes), so that no address takes all of it."""

BURST = 10_000
"""Datagrams from one address that are answered at once: ten of the bursts of 1000 that are promised an answer."""

ADDRESSES = 10_000
"""Addresses whose rate is watched. If more addresses send at the same time, none can be near its RATE."""

RETURN = 1.0
"""Seconds for which a reply that comes back is recognised: longer than a round trip takes."""

REPLIES = 32_768
"""Replies that are remembered: more than two addresses can get in the time of RETURN, with their bursts."""


class DatagramRefusal(Enum):
    """Why a datagram isn't answered; the values are the words of the log line."""

    SYSTEM_PORT = "the source port is below 1024"  # the services there may answer an answer
    OWN_PORT = "the source port is one of this daemon's"
    NO_HOST = "the source is not the address of one host"
    MANY_HOSTS = "it was sent to more than one host"
    TOO_MANY = "too many datagrams from this address"
    OWN_REPLY = "it is a reply of this daemon"


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

    def __init__(self, clock: IReactorTime) -> None:
        self.ports: set[int] = set()
        """Our own ports."""
        self._clock = clock
        self._rates: OrderedDict[str, float] = OrderedDict()
        """When the bucket of an address is full again."""
        # By their hashes, since datagrams are large. Python's are keyed and have 64 bits, so no collision can be made.
        self._replies: OrderedDict[int, float] = OrderedDict()
        """When a reply is forgotten."""
        self._refusals = RateLimitedLog(clock, self._logRefused)
        self._last: tuple[Any, DatagramRefusal]

    def mayAnswer(self, datagram: bytes, reply: bytes, sender: Any, asked: Hashable) -> bool:
        """Return whether `datagram`, from `sender` to our address `asked`, may get `reply`; count it if it may not."""
        refusal = self._findRefusal(datagram, reply, sender, asked)
        if refusal:
            self._last = sender, refusal
            self._refusals.count()
        return not refusal

    def stop(self) -> None:
        """Log the refusals that are not yet logged, and none afterwards."""
        self._refusals.stop()

    def _findRefusal(self, datagram: bytes, reply: bytes, sender: Any, asked: Hashable) -> DatagramRefusal | None:
        now = self._clock.seconds()
        host, port = sender[:2]
        if port < 1024:
            return DatagramRefusal.SYSTEM_PORT
        if port in self.ports:
            return DatagramRefusal.OWN_PORT
        if not _isHost(host):
            return DatagramRefusal.NO_HOST
        if not asked:
            return DatagramRefusal.MANY_HOSTS
        if self._isOverRate(host, now):
            return DatagramRefusal.TOO_MANY
        exchange = hash((sender, asked, reply))
        isOwnReply = datagram == reply and self._replies.get(exchange, now) > now
        if not isOwnReply:
            _remember(self._replies, REPLIES, exchange, now + RETURN, now)
        return DatagramRefusal.OWN_REPLY if isOwnReply else None

    def _isOverRate(self, host: str, now: float) -> bool:
        """Take a token out of the bucket of `host`; return whether there was none."""
        before = max(self._rates.get(host, now), now)
        after = before + 1 / RATE
        isOver = after > now + BURST / RATE
        _remember(self._rates, ADDRESSES, host, before if isOver else after, now)
        return isOver

    def _logRefused(self, count: int) -> None:
        sender, refusal = self._last
        self._log.warn(
            "refused {datagrams}{last} from {address}: {objection}",
            datagrams=counted(count, "datagram"),
            last="" if count == 1 else ", the last",
            address=describeName(sender),
            objection=refusal.value,
        )


def _remember(deadlines: OrderedDict[K, float], maximum: int, key: K, deadline: float, now: float) -> None:
    """Set the deadline of `key`, later than `now`, and drop those that are over or too many, the oldest first."""
    deadlines[key] = deadline
    deadlines.move_to_end(key)
    while len(deadlines) > maximum or next(iter(deadlines.values())) <= now:
        deadlines.popitem(last=False)


@lru_cache
def _isHost(host: str) -> bool:
    """Return whether `host` can be the address of one host; the kernel itself refuses a network's broadcast address."""
    address = ip_address(host)
    return not (address.is_multicast or address.is_unspecified or host == "255.255.255.255")
