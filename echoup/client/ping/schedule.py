"""Which probes are made, and when."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Which probes are made, and when."""

    count: int | None
    """How many there are; None: until the user has enough."""
    interval: float
    """Seconds from the beginning of one to that of the next; 0: from the end."""
    timeout: float
    """The seconds that each may take."""
    size: int
    """The bytes that each sends, 1 or more."""
    keep: bool = False
    """Do all go over the same connection, as long as nothing goes wrong on it, or from the same UDP port?"""
    halfClose: bool = False
    """Does our end follow the payload, and has the server's to follow the reply?"""
