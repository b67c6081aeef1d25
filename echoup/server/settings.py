"""What a daemon does: where it listens, and within which limits."""

from dataclasses import dataclass, replace

from twisted.internet.selectreactor import SelectReactor

from echoup.addresses import Network
from echoup.server.datagram.port import DatagramListener
from echoup.server.listening.listeners import Listener

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


@dataclass(frozen=True)
class Plan:
    """Where a service listens, and on what terms; however many processes it has."""

    listeners: tuple[Listener, ...]
    limits: Limits
    drainTimeout: float
    """Seconds from the beginning of a stop to the deadline, when the last connections are cut."""
    logConnections: bool = False
    proxies: tuple[Network, ...] = ()
    """Connections from these networks begin with a PROXY header."""
    datagramListeners: tuple[DatagramListener, ...] = ()
