"""How much a daemon takes on: the values, and the gate that keeps to them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.tcp import Port
from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import implementer

ACCEPTS_PER_TURN = 100
"""Connections accepted at one port before the others get their turn; Twisted's own first choice."""

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


@implementer(ILogObserver)
class _Exhaustion:
    """Counts what a port has to say about clients that it can't accept; Twisted logs several lines for each."""

    def __init__(self, refused: MinuteLog) -> None:
        self._refused = refused

    def __call__(self, event: LogEvent) -> None:
        if "address" in event or "acceptError" in event:
            self._refused.count()


class Gate:
    """Lets connections in, up to the limits: to all together, and to each peer address.

    At the limit to all it stops accepting, exactly there, and the kernel's queue holds the rest until there is
    room. A peer over its own limit is for the caller to turn away.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, limits: Limits) -> None:
        self._maximum = limits.maxConnections
        self._maximumPerPeer = limits.maxConnectionsPerPeer
        self._ports: list[Port] = []
        self._inside = 0
        self._peers: Counter[str] = Counter()
        self._refusals = MinuteLog(clock, self._sayRefused)
        self._exhaustions = MinuteLog(clock, self._sayExhausted)

    def guard(self, port: Port) -> None:
        """Watch over what `port` accepts, from now until `abandon`."""
        self._ports.append(port)
        port._logger = Logger(observer=_Exhaustion(self._exhaustions))
        if not self._maximum:
            return
        accept = port.doRead

        def acceptWithinLimit() -> None:
            # Port accepts `numberAccepts` connections in a row before it looks at anything else, and
            # sets the number anew after each row.
            port.numberAccepts = min(self._maximum - self._inside, ACCEPTS_PER_TURN)
            accept()

        port.doRead = acceptWithinLimit  # type: ignore[method-assign]  # see above: no other way in

    def abandon(self) -> None:
        """Forget the ports: they are closing."""
        self._ports.clear()
        self._refusals.stop()
        self._exhaustions.stop()

    def enter(self, peer: str | None) -> bool:
        """Count a new connection from the address `peer`, if it has one; is it within its peer's limit?"""
        self._inside += 1
        if self._inside == self._maximum:
            for port in self._ports:
                port.stopReading()
        if peer is None or not self._maximumPerPeer:
            return True
        self._peers[peer] += 1
        if self._peers[peer] <= self._maximumPerPeer:
            return True
        self._refusals.count()
        return False

    def leave(self, peer: str | None) -> None:
        """Count a connection that `enter` counted as gone, whatever it had answered."""
        if self._inside == self._maximum:
            for port in self._ports:
                port.startReading()
        self._inside -= 1
        if peer is not None and peer in self._peers:
            self._peers[peer] -= 1
            if not self._peers[peer]:
                del self._peers[peer]

    def _sayRefused(self, count: int) -> None:
        self._log.warn("refused {count} connections over --max-connections-per-peer", count=count)

    def _sayExhausted(self, count: int) -> None:
        self._log.warn("refused {count} connections: no file descriptors left", count=count)
