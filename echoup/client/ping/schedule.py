"""Which probes are made, and when."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Which probes are made, and when."""

    count: int | None
    """How many there are; None: until the command is interrupted."""
    interval: float
    """Seconds from the beginning of one to that of the next; 0: from the end."""
    timeout: float
    """Seconds that each may take."""
    size: int
    """Bytes that each sends, 1 or more."""
    keep: bool = False
    """Whether all use the same connection, until one fails on it, or the same UDP port."""
    halfClose: bool = False
    """Whether a probe half-closes after the payload, and the server has to close after the reply."""
    deadline: float | None = None
    """Seconds after which all ends; None: no limit."""
