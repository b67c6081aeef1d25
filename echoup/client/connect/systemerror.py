"""The system's errors on the way to a server: whose fault each is, and the words for it."""

import os
from collections.abc import Set
from errno import (
    EACCES,
    EADDRINUSE,
    EADDRNOTAVAIL,
    EAFNOSUPPORT,
    EAGAIN,
    EHOSTUNREACH,
    EINVAL,
    EMFILE,
    EMSGSIZE,
    ENETDOWN,
    ENETUNREACH,
    ENFILE,
    ENOBUFS,
    ENODEV,
    ENOMEM,
    EPERM,
    ETIMEDOUT,
)
from ipaddress import ip_address
from socket import AI_NUMERICHOST, SOCK_DGRAM, gaierror, getaddrinfo, socket

from echoup.client.exitcodes import ExitCode

_MEMORY = "this machine is out of memory"
_TROUBLES = {
    EMFILE: "this process has no file descriptors left, see ulimit -n",
    ENFILE: "this machine has no file descriptors left, see fs.file-max",
    ENOBUFS: _MEMORY,
    ENOMEM: _MEMORY,
    EADDRNOTAVAIL: "this machine has no such address to send from, or no free port",
    EADDRINUSE: "the address to send from is already in use",
    EAFNOSUPPORT: "this machine does not support this version of IP",
    EPERM: "this machine forbids it, usually a firewall",
    EMSGSIZE: "this machine cannot send that much at once",
}
"""Errors that only this machine causes, and the cause of each."""

_ROUTING = (ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL, ENETDOWN, ENODEV)
"""What the kernel says when it has no route; the first three also where an ICMP message from elsewhere said so."""


def explainError(error: OSError, host: str = "") -> tuple[ExitCode, str]:
    """Return the exit code for `error`, and the words for it.

    `host` is the IP address that was tried, if any. The code is LOCAL where the trouble is this machine's: nothing was
    sent, and nothing is known of the path.
    """
    if isinstance(error, gaierror):  # of an IP address, because of the interface in it
        return ExitCode.LOCAL, "this machine has no such interface"
    number = error.errno or 0
    words = os.strerror(number)
    trouble = _TROUBLES.get(number)
    if number == EAGAIN:
        if not host:  # a Unix socket
            return ExitCode.UNREACHABLE, f"{words} (the server's queue is full)"
        trouble = "the send buffer of this machine is full"
    elif host and number in _ROUTING and not _hasRoute(host):
        trouble = _whyUnrouted(host, number)
    if trouble:
        return ExitCode.LOCAL, f"{words} ({trouble})"
    return ExitCode.TIMED_OUT if number == ETIMEDOUT else ExitCode.UNREACHABLE, words


def worst(codes: Set[ExitCode]) -> ExitCode:
    """Return the exit code of a server whose addresses failed with `codes`; trouble of this machine counts least."""
    return next(code for code in (ExitCode.UNREACHABLE, ExitCode.TIMED_OUT, ExitCode.LOCAL) if code in codes)


def explainResolver(error: Exception | None) -> tuple[ExitCode, str] | None:
    """Return the exit code and the words for local trouble behind the resolver's `error`; None for none.

    Where the resolver can't open its files or a socket it may raise that error, but usually it says that the name has
    no address. So this checks whether there is a free descriptor.
    """
    try:
        if isinstance(error, OSError) and not isinstance(error, gaierror):
            raise error
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as trouble:
        explained = explainError(trouble)
        return explained if explained[0] is ExitCode.LOCAL else None
    return None


def _whyUnrouted(host: str, number: int) -> str:
    """Return why this machine has no route to `host`, for which the kernel said `number`."""
    if number == EINVAL and ":" in host and "%" not in host and ip_address(host).is_link_local:
        return f"a link-local address needs its interface: [{host}%eth0]:PORT"
    return "this machine does not send to that address" if number == EACCES else "this machine has no route there"


def _hasRoute(host: str) -> bool:
    """Return whether this machine has a route to `host`: connecting a UDP socket looks it up, and sends nothing."""
    try:
        family, kind, _, _, address = getaddrinfo(host, 9, type=SOCK_DGRAM, flags=AI_NUMERICHOST)[0]
        with socket(family, kind) as unsent:
            unsent.connect(address)
    except OSError:
        return False
    return True
