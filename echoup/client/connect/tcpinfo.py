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

_UNKNOWN = 2**32 - 1
"""The kernel's shortest round-trip time before the first."""

_LAYOUT = Struct("=B 3x B B 10x I I I 4x I 24x I 4x I 12x I 12x I 16x Q Q 8x I I 72x I")
"""Of struct tcp_info (linux/tcp.h); its times are in microseconds."""

_FIELDS = (
    "state",
    "backoff",
    "options",
    "sendMSS",
    "receiveMSS",
    "unacknowledged",
    "lost",
    "pathMTU",
    "rtt",
    "advertisedMSS",
    "retransmits",
    "bytesAcknowledged",
    "bytesReceived",
    "bytesUnsent",
    "leastRTT",
    "outOfOrder",
)
"""The fields of `TCPInfo` in the order of that."""

_TIMESTAMPS = 1
"""The bit of `options` of a connection with timestamps (RFC 7323, 3): TCPI_OPT_TIMESTAMPS."""


@dataclass(frozen=True)
class TCPInfo:
    """A connection at one moment."""

    state: str
    """One of STATES."""
    rtt: float
    """The smoothed round-trip time between the two kernels, in seconds; 0 before the first."""
    retransmits: int
    """The number of retransmitted segments, SYN included."""
    leastRTT: float = 0
    """The shortest round-trip time between the two kernels, in seconds; 0 before the first."""
    backoff: int = 0
    """How many times the retransmission timer has doubled, because nothing was acknowledged."""
    sendMSS: int = 0
    """The most bytes that a segment of ours carries."""
    receiveMSS: int = 0
    """The most bytes that a segment of the peer seems to carry."""
    unacknowledged: int = 0
    """The number of segments that were sent and not acknowledged."""
    lost: int = 0
    """How many of them count as lost."""
    pathMTU: int = 0
    """The largest packet that the kernel sends on this path, in bytes."""
    bytesAcknowledged: int = 0
    """Bytes that the peer's kernel has acknowledged; the SYN and our FIN count as one each."""
    bytesReceived: int = 0
    """Bytes that were received in order."""
    bytesUnsent: int = 0
    """Bytes that were written and not sent yet."""
    options: int = 0
    """The options of TCP that are in use, as bits."""
    advertisedMSS: int = 0
    """The most bytes that we allow the peer in a segment."""
    outOfOrder: int = 0
    """The number of segments that came before one that was sent earlier."""

    @property
    def headers(self) -> int:
        """Bytes of TCP's own header in each segment."""
        return 32 if self.options & _TIMESTAMPS else 20

    @classmethod
    def of(cls, handle: Any) -> Self | None:
        """Return what TCP_INFO says of the socket `handle` (tcp(7)); None if that is None, closed or not TCP's."""
        try:
            info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAYOUT.size)
        except (AttributeError, OSError):  # None, or not Linux; not TCP, or closed
            return None
        known = _LAYOUT.unpack(info.ljust(_LAYOUT.size, b"\0"))  # an old kernel knows less
        found = dict(zip(_FIELDS, known, strict=True))
        least = 0 if found["leastRTT"] == _UNKNOWN else found["leastRTT"]
        return cls(**found | {"state": STATES[found["state"]], "rtt": found["rtt"] / 1e6, "leastRTT": least / 1e6})
