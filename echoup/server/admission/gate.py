"""The gate: who may come in, who has to wait for a place, and who is turned away."""

import sys
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.tcp import Port
from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import implementer

from echoup.server.ratelimitedlog import RateLimitedLog
from echoup.server.settings import Limits

ACCEPTS_PER_TURN = 100
"""Connections accepted at one port before the others get their turn; Twisted's own first choice."""


class Guest(Protocol):
    """What the gate needs of a connection."""

    @property
    def source(self) -> str | None:
        """The IP address whose limit it counts for, if that is known and it has one."""

    def begin(self) -> None:
        """Go on: it was made to wait, and is let in now."""

    def cut(self, reason: str) -> None:
        """Drop it."""


class Slots(Protocol):
    """Places for connections."""

    @property
    def free(self) -> int:
        """How many are left; a guess, where others take them too, that is right as soon as they hold still."""

    def take(self) -> bool:
        """Take one, if there is one."""

    def give(self) -> None:
        """Give one back."""

    def watch(self, room: Callable[[], None] | None) -> None:
        """Call `room` whenever there may be one, until this is called with None."""


class Peers(Protocol):
    """The limit to the connections of each peer."""

    def enter(self, peer: str) -> "bool | Deferred[bool]":
        """Count a connection from the address `peer`, if that is within its limit; is it?"""

    def leave(self, peer: str) -> None:
        """Count one as gone that was let in."""

    def stop(self) -> None:
        """Say what is unsaid, and be silent for good."""


class LocalSlots:
    """Places that nobody else takes."""

    def __init__(self, maximum: int) -> None:
        """There are `maximum` of them; 0 is "no limit"."""
        self.free = maximum or sys.maxsize
        self._room: Callable[[], None] | None = None

    def take(self) -> bool:
        """Take one, if there is one."""
        if not self.free:
            return False
        self.free -= 1
        return True

    def give(self) -> None:
        """Give one back."""
        self.free += 1
        if self._room:
            self._room()

    def watch(self, room: Callable[[], None] | None) -> None:
        """Call `room` as soon as one is given back, until this is called with None."""
        self._room = room


def uncount(counts: Counter[str], peer: str) -> None:
    """Count one less of `peer`, and forget him when that was the last: there is no end of addresses."""
    counts[peer] -= 1
    if not counts[peer]:
        del counts[peer]


class PeerLimit:
    """Counts the connections of each peer, and says once a minute how many were too many."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, maximum: int) -> None:
        self._maximum = maximum
        self._inside: Counter[str] = Counter()
        self._refusals = RateLimitedLog(clock, self._sayRefused)

    def enter(self, peer: str) -> bool:
        """Count a connection from the address `peer`, if that is within its limit; is it?"""
        if self._inside[peer] < self._maximum:
            self._inside[peer] += 1
            return True
        self._refusals.count()
        return False

    def leave(self, peer: str) -> None:
        """Count one as gone that was let in."""
        uncount(self._inside, peer)

    def stop(self) -> None:
        """Say what is unsaid, and be silent for good."""
        self._refusals.stop()

    def _sayRefused(self, count: int) -> None:
        self._log.warn("refused {count} connections over --max-connections-per-peer", count=count)


@implementer(ILogObserver)
class _Exhaustion:
    """Counts what a port has to say about clients that it can't accept; Twisted logs several lines for each."""

    def __init__(self, refused: RateLimitedLog) -> None:
        self._refused = refused

    def __call__(self, event: LogEvent) -> None:
        if "address" in event or "acceptError" in event:
            self._refused.count()


class Gate:
    """Lets connections in, up to the limits: to all together, and to each peer address.

    When no place is left it stops accepting, and the kernel's queue holds the rest until there is one again. Where
    somebody was accepted all the same, because the last place went to another process or port at the same moment, he
    waits here, and first: nothing is read from him and no timeout runs, which to him is the same.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, limits: Limits, slots: Slots | None = None, peers: Peers | None = None
    ) -> None:
        """`slots` and `peers` are for those who share them with others; otherwise they are as `limits` has it."""
        self.waiting: dict[Guest, None] = {}
        """Who waits for a place, in the order in which they came."""
        self._limits = limits
        self._slots: Slots = slots or LocalSlots(limits.maxConnections)
        self._peers: Peers = peers or PeerLimit(clock, limits.maxConnectionsPerPeer)
        self._ports: list[Port] = []
        self._counted: dict[Guest, str] = {}
        self._asking: set[Guest] = set()
        self._isFull = False
        self._isAbandoned = False
        self._exhaustions = RateLimitedLog(clock, self._sayExhausted)

    def guard(self, port: Port) -> None:
        """Watch over what `port` accepts, from now until `abandon`."""
        self._ports.append(port)
        port._logger = Logger(observer=_Exhaustion(self._exhaustions))
        if not self._limits.maxConnections:
            return
        accept = port.doRead

        def acceptWithinLimit() -> None:
            # Port accepts `numberAccepts` connections in a row before it looks at anything else, and
            # sets the number anew after each row.
            port.numberAccepts = min(self._slots.free, ACCEPTS_PER_TURN)
            if port.numberAccepts:
                accept()
            else:
                self._close()

        port.doRead = acceptWithinLimit  # type: ignore[method-assign]  # see above: no other way in

    def abandon(self) -> None:
        """Forget the ports: they are closing. Who waits for a place waits in vain."""
        self._isAbandoned = True
        self._ports.clear()
        self._slots.watch(None)
        for guest in list(self.waiting):
            guest.cut("refused")
        self._peers.stop()
        self._exhaustions.stop()

    def enter(self, guest: Guest) -> bool:
        """Count a new connection; may it begin? If not now, it will be told to `begin` later, or is `cut`."""
        if self.waiting or not self._slots.take():
            self.waiting[guest] = None
            self._close()
            if self._isAbandoned:
                guest.cut("refused")
            return False
        if not self._slots.free:
            self._close()
        return self.identify(guest)

    def identify(self, guest: Guest) -> bool:
        """Count a connection that is inside for its source, if that is known; may it go on? If not now, see `enter`."""
        if guest.source is None or not self._limits.maxConnectionsPerPeer:
            return True
        answer = self._peers.enter(guest.source)
        if not isinstance(answer, Deferred):
            return self._decide(guest, guest.source, answer)
        self._asking.add(guest)
        answer.addCallback(self._answered, guest, guest.source)
        return False

    def _answered(self, isAdmitted: bool, guest: Guest, peer: str) -> None:
        if guest in self._asking:
            self._asking.remove(guest)
            if self._decide(guest, peer, isAdmitted):
                guest.begin()
        elif isAdmitted:  # he is gone
            self._peers.leave(peer)

    def _decide(self, guest: Guest, peer: str, isAdmitted: bool) -> bool:
        if isAdmitted:
            self._counted[guest] = peer
        else:
            guest.cut("refused")
        return isAdmitted

    def replace(self, guest: Guest, successor: Guest) -> None:
        """Let `successor` have all that `guest` has here: it was let in once and for all."""
        if guest in self._counted:
            self._counted[successor] = self._counted.pop(guest)

    def leave(self, guest: Guest) -> None:
        """Count a connection that `enter` counted as gone, whatever had become of it."""
        if guest in self.waiting:
            del self.waiting[guest]
            return
        self._asking.discard(guest)
        if guest in self._counted:
            self._peers.leave(self._counted.pop(guest))
        self._slots.give()

    def _close(self) -> None:
        """Accept nobody until there is room."""
        if not (self._isFull or self._isAbandoned):
            self._isFull = True
            for port in self._ports:
                port.stopReading()
            self._slots.watch(self._open)

    def _open(self) -> None:
        """Let in who waits, as far as there is room, and accept again if there is more."""
        while self.waiting and self._slots.take():
            guest = next(iter(self.waiting))
            del self.waiting[guest]
            if self.identify(guest):
                guest.begin()
        if self._slots.free and not self.waiting:
            self._isFull = False
            self._slots.watch(None)
            for port in self._ports:
                port.startReading()

    def _sayExhausted(self, count: int) -> None:
        self._log.warn("refused {count} connections: no file descriptors left", count=count)
