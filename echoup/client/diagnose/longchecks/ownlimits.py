"""How many connections this machine allows this process: file descriptors and ports."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit

RESERVE = 32
"""File descriptors for everything else: the reactor, the resolver, files that are read meanwhile."""

PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""The first and the last port that a connection gets by itself, for IPv6, too; ip(7)."""

RESERVED = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")
"""Those of them that it doesn't get."""


@dataclass(frozen=True)
class Allowance:
    """How many connections this machine allows."""

    number: int
    reason: str
    """What sets the limit; empty if it allows all that are wanted."""


@contextmanager
def raised(wanted: int) -> Iterator[None]:
    """Allow this process as many file descriptors as `wanted` connections need, or as many as it may have."""
    soft, hard = getrlimit(RLIMIT_NOFILE)
    needed = wanted + _openDescriptors() + RESERVE
    if soft == RLIM_INFINITY or needed <= soft:
        yield
        return
    setrlimit(RLIMIT_NOFILE, (needed if hard == RLIM_INFINITY else min(needed, hard), hard))
    try:
        yield
    finally:
        setrlimit(RLIMIT_NOFILE, (soft, hard))


def allowance(wanted: int, host: str) -> Allowance:
    """Return how many of `wanted` connections to one address this machine allows; without `host` they need no ports."""
    soft, _ = getrlimit(RLIMIT_NOFILE)
    descriptors = wanted if soft == RLIM_INFINITY else max(soft - _openDescriptors() - RESERVE, 0)
    ports = _ports() if host else wanted
    if wanted <= min(descriptors, ports):
        return Allowance(wanted, "")
    if descriptors <= ports:
        return Allowance(descriptors, f"this process may have {soft} file descriptors (ulimit -n)")
    return Allowance(ports, f"this machine has {ports} ports for connections (net.ipv4.ip_local_port_range)")


def _openDescriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # the names are all that is needed


def _ports() -> int:
    """Return how many ports there are for connections to one address."""
    first, last = map(int, PORTS.read_text().split())
    reserved: set[int] = set()
    for part in RESERVED.read_text().strip().split(","):
        start, _, end = part.partition("-")
        reserved.update(range(int(start), int(end or start) + 1) if start else ())
    return last - first + 1 - sum(first <= port <= last for port in reserved)
