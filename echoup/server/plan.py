"""What a service does: where it listens, and on what terms."""

from dataclasses import dataclass

from echoup.server.arrival import Network
from echoup.server.datagramport import DatagramListener
from echoup.server.limits import Limits
from echoup.server.listen import Listener


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
