"""How many connections this machine allows this process: file descriptors and ports."""

import os
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit

RESERVE = 32
"""File descriptors for everything else: the reactor, the resolver, files that are read meanwhile."""

PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""The first and the last port that a connection gets by itself, for IPv6, too; ip(7)."""

RESERVED = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")
"""Those of them that it doesn't get."""


def allowance(wanted: int, host: str) -> tuple[int, str]:
    """Return how many of `wanted` connections to one address this machine allows, and what sets the limit, if not all.

    Without `host` they need no ports. The soft limit of file descriptors is raised first, as far as needed and allowed.
    """
    soft, hard = getrlimit(RLIMIT_NOFILE)
    taken = len(os.listdir("/proc/self/fd")) + RESERVE  # noqa: PTH208  # the names are all that is needed
    if soft != RLIM_INFINITY and soft < wanted + taken:
        soft = wanted + taken if hard == RLIM_INFINITY else min(wanted + taken, hard)
        setrlimit(RLIMIT_NOFILE, (soft, hard))
    descriptors = wanted if soft == RLIM_INFINITY else max(soft - taken, 0)
    ports = _ports() if host else wanted
    if wanted <= min(descriptors, ports):
        return wanted, ""
    if descriptors <= ports:
        return descriptors, f"this process may have {soft} file descriptors (ulimit -n)"
    return ports, f"this machine has {ports} ports for connections (net.ipv4.ip_local_port_range)"


def _ports() -> int:
    """Return how many ports there are for connections to one address."""
    first, last = map(int, PORTS.read_text().split())
    reserved: set[int] = set()
    for part in RESERVED.read_text().strip().split(","):
        start, _, end = part.partition("-")
        reserved.update(range(int(start), int(end or start) + 1) if start else ())
    return len({*range(first, last + 1)} - reserved)
