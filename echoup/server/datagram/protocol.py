"""Echo over UDP: what is answered, and to whom."""

from collections import OrderedDict
from collections.abc import Hashable
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Generic, TypeVar

from twisted.internet.interfaces import IReactorTime, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from zope.interface import Attribute

from echoup.addresses import joinAddress
from echoup.server.ratelimitedlog import RateLimitedLog
from echoup.upper import upper

K = TypeVar("K")

RATE = 5000
"""Datagrams a second that one address gets answered: plenty for a probe, and a small part of what a core answers
(90 000 of 64 bytes), so that no address takes all of it."""

BURST = 10_000
"""Datagrams that one address gets answered at once: ten of the bursts of 1000 that we promise to answer."""

ADDRESSES = 10_000
"""Addresses whose rate is watched. If more send at the same time, none can be near its RATE."""

RETURN = 1.0
"""Seconds in which a reply that comes back is known again: longer than a round trip takes."""

REPLIES = 32_768
"""Replies that are remembered: more than two addresses can get in the time of RETURN, with their bursts."""


class IDatagramTransport(IUDPTransport):
    """What `EchoUpDatagram` needs of its transport; `DatagramPort` provides it."""

    asked: Hashable = Attribute("The address and port that the datagram in delivery was sent to; None if many hosts'.")


class EchoUpDatagram(DatagramProtocol):
    """A UDP port: every datagram that the gate admits is sent back in upper case."""

    noisy = False
    transport: IDatagramTransport

    def __init__(self, gate: "DatagramGate") -> None:
        self._gate = gate

    def startProtocol(self) -> None:
        """Tell the gate which port is ours."""
        self._gate.ports.add(self.transport.getHost().port)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Send `datagram` back in upper case to `addr`, its sender in the kernel's words."""
        reply = upper(datagram)
        if self._gate.admits(datagram, reply, addr, self.transport.asked):
            self.transport.write(reply, addr)


class DatagramGate:
    """Decides which datagrams are answered, for all the UDP ports of a daemon together.

    The sender of a datagram is whoever the datagram says. An echo service can be made to flood a third party that way,
    or to talk with another service for ever (CVE-1999-0103, CVE-2024-2169). So there is no answer to:

    - ports below 1024, where services are that answer answers, and ports of our own;
    - senders that can't be one host, and datagrams that were sent to more than one;
    - more than RATE and BURST from one address;
    - our own reply, when it comes back: a datagram that is, byte for byte, one that we sent from the address it
      was sent to, to exactly its sender, less than RETURN ago. So two services like us answer a spoofed datagram
      once each. All replies count, not only the last to each sender: two datagrams that go to and fro at
      the same time would make each other forgotten.

    The last rule has a price: an echo of ours and a client that repeats itself look the same. A client that sends
    the same bytes without a lowercase letter again and again, from one port, gets one answer in the time of RETURN.
    What has a lowercase letter was never a reply of ours, and is answered whenever it comes.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        """`clock` is the reactor."""
        self.ports: set[int] = set()
        self._clock = clock
        self._rates: _Deadlines[str] = _Deadlines(ADDRESSES)
        # By their hashes, for datagrams are large; Python's have 64 bits and a secret: nobody finds two that are equal.
        self._replies: _Deadlines[int] = _Deadlines(REPLIES)
        self._refusals = RateLimitedLog(clock, self._sayRefused)
        self._last = ("", 0, "")

    def admits(self, datagram: bytes, reply: bytes, sender: Any, asked: Hashable) -> bool:
        """Is `datagram`, which `sender` sent to us at `asked`, to be answered, by `reply`?"""
        now = self._clock.seconds()
        host, port = sender[:2]
        objection = (
            self._isNoClient(host, port, asked)
            or self._isTooMuch(host, now)
            or self._isReturning(datagram, reply, hash((sender, asked, reply)), now)
        )
        if objection:
            self._last = host, port, objection
            self._refusals.count()
        return not objection

    def stop(self) -> None:
        """Say what is unsaid of refusals, and be silent for good."""
        self._refusals.stop()

    def _isNoClient(self, host: str, port: int, asked: Hashable) -> str:
        if port < 1024:
            return "its port is below 1024"
        if port in self.ports:
            return "its port is one of ours"
        if not _isHost(host):
            return "its address is not a host's"
        return "" if asked else "it was sent to more than one host"

    def _isTooMuch(self, host: str, now: float) -> str:
        """Take a token out of the bucket of `host`, which will be full again at its deadline."""
        before = self._rates.get(host, now)
        after = before + 1 / RATE
        isTooMuch = after > now + BURST / RATE
        self._rates.set(host, before if isTooMuch else after, now)
        return "too many come from its address" if isTooMuch else ""

    def _isReturning(self, datagram: bytes, reply: bytes, exchange: int, now: float) -> str:
        if datagram == reply and self._replies.get(exchange, now) > now:
            return "it is our own reply"
        self._replies.set(exchange, now + RETURN, now)
        return ""

    def _sayRefused(self, count: int) -> None:
        host, port, objection = self._last
        self._log.warn(
            "refused {count} datagrams, the last of them from {address}: {objection}",
            count=count,
            address=joinAddress(host, port),
            objection=objection,
        )


class _Deadlines(Generic[K]):
    """Keeps the deadlines of the `maximum` latest keys, until they are over."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._deadlines: OrderedDict[K, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._deadlines)

    def get(self, key: K, now: float) -> float:
        """Return the deadline of `key`, or `now` if none is to come."""
        return max(self._deadlines.get(key, now), now)

    def set(self, key: K, deadline: float, now: float) -> None:
        """Set the deadline of `key`, later than `now`, and forget what is over or too much, the oldest first."""
        self._deadlines[key] = deadline
        self._deadlines.move_to_end(key)
        while len(self) > self._maximum or next(iter(self._deadlines.values())) <= now:
            self._deadlines.popitem(last=False)


@lru_cache
def _isHost(host: str) -> bool:
    """Can `host` be the address of one host? (A network's own broadcast address is for the kernel to refuse.)"""
    address = ip_address(host)
    return not (address.is_multicast or address.is_unspecified or host == "255.255.255.255")
