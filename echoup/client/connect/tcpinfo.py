"""What the kernel knows about a TCP connection."""

import socket
from dataclasses import dataclass
from struct import Struct
from typing import Any, Self

STATES = (
    "",
    "ESTABLISHED",
    "SYN-SENT",
    "SYN-RECEIVED",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "TIME-WAIT",
    "CLOSED",
    "CLOSE-WAIT",
    "LAST-ACK",
    "LISTEN",
    "CLOSING",
)
"""The states of RFC 9293, 3.3.2, in the order of the kernel's net/tcp_states.h."""

_LAYOUT = Struct("=B 7x 60x I 28x I")
"""Of struct tcp_info (linux/tcp.h): tcpi_state, tcpi_rtt in microseconds, tcpi_total_retrans."""


@dataclass(frozen=True)
class TCPInfo:
    """A connection at one moment."""

    state: str
    """One of STATES."""
    rtt: float
    """The smoothed round-trip time between the two kernels, in seconds; 0 before the first."""
    retransmits: int
    """The number of retransmitted segments, SYN included."""

    @classmethod
    def of(cls, handle: Any) -> Self | None:
        """Return what TCP_INFO says of the socket `handle` (tcp(7)); None if that is None, closed or not TCP's."""
        try:
            info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAYOUT.size)
        except (AttributeError, OSError):  # None, or not Linux; not TCP, or closed
            return None
        state, rtt, retransmits = _LAYOUT.unpack(info)
        return cls(STATES[state], rtt / 1e6, retransmits)
