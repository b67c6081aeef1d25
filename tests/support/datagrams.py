"""UDP clients, and the addresses of the daemon for them."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from socket import (
    AF_INET,
    AF_INET6,
    CMSG_SPACE,
    IP_RECVTOS,
    IP_TOS,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPV6_RECVTCLASS,
    IPV6_TCLASS,
    SOCK_DGRAM,
    socket,
)

from tests.support.addresses import randomPort
from tests.support.daemon import Daemon
from tests.support.waiting import eventually

_LISTENING = re.compile(r"listening on udp:(?:\[(\S+)\]:(\d+)|(\S+):(\d+))")


def ports(daemon: Daemon) -> list[tuple[str, int]]:
    """Return the addresses at which the daemon listens for datagrams."""
    found = _LISTENING.findall(daemon.text)
    return [(v6, int(port6)) if v6 else (host, int(port)) for v6, port6, host, port in found]


@contextmanager
def client(address: tuple[str, int], bound: tuple[str, int] | None = None, seconds: float = 10) -> Iterator[socket]:
    """Open a socket that sends to `address` and receives from no other.

    Its port is outside the kernel's range, where it might have the number of a daemon's port at another address.
    """
    isV6 = ":" in address[0]
    with socket(AF_INET6 if isV6 else AF_INET, SOCK_DGRAM) as opened:
        opened.settimeout(seconds)
        if bound:
            opened.bind(bound)
        else:
            eventually(lambda: _bindBelowTheKernels(opened, "::" if isV6 else ""))
        opened.connect(address)
        yield opened


def _bindBelowTheKernels(opened: socket, host: str) -> bool:
    with suppress(OSError):
        opened.bind((host, randomPort()))
    return bool(opened.getsockname()[1])


def mark(opened: socket, tos: int) -> None:
    """Let `opened` send with `tos`, and tell the TOS of what arrives."""
    isV6 = opened.family == AF_INET6
    level, own, arriving = (IPPROTO_IPV6, IPV6_TCLASS, IPV6_RECVTCLASS) if isV6 else (IPPROTO_IP, IP_TOS, IP_RECVTOS)
    opened.setsockopt(level, own, tos)
    opened.setsockopt(level, arriving, 1)


def receiveMarked(opened: socket) -> tuple[bytes, int]:
    """Return the next datagram of `opened`, which `mark` has prepared, and its TOS."""
    data, ((_, _, tos),), _, _ = opened.recvmsg(65_536, CMSG_SPACE(4))
    return data, tos[0]


def flood(port: int, count: int) -> None:
    """Send `count` datagrams to `port` as fast as possible, from a hundred addresses, each within the rate limit."""
    with ExitStack() as opened:
        senders = [opened.enter_context(client(("127.0.0.1", port), (f"127.1.0.{i}", 0))) for i in range(100)]
        for i in range(count):
            senders[i % 100].send(b"%d" % i)
