"""Which checks a diagnosis makes, and how far each goes."""

from dataclasses import dataclass

CHECKS = (
    "resolve",
    "reach",
    "mtu",
    "udp",
    "tls",
    "half-close",
    "proxy",
    "buffering",
    "exact",
    "flows",
    "load",
    "many",
    "idle",
)
"""The names of all checks, in their order."""


@dataclass(frozen=True)
class Scope:
    """Which checks are made, and how far they go; the times are in seconds."""

    only: frozenset[str] = frozenset()
    """The names of the checks to make; empty: all."""
    skip: frozenset[str] = frozenset()
    """The names of those not to make."""
    timeout: float = 5
    """How long to wait for one step: a connection, a reply, a datagram."""
    flows: int = 0
    """How many source ports `flows` probes from; 0: the check isn't made."""
    idle: float = 0
    """The longest time for which `idle` leaves a connection idle; 0: the check isn't made."""
    load: float = 0
    """How long `load` sends a flood in each direction; 0: the check isn't made."""
    many: int = 0
    """How many connections `many` holds; 0: the check isn't made."""

    def includes(self, name: str) -> bool:
        """Return whether the check `name` belongs to the diagnosis."""
        return name not in self.skip and (not self.only or name in self.only)
