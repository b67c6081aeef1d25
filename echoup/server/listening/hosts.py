"""The addresses of this machine that a description names."""

import socket
from collections.abc import Callable, Iterator
from errno import EADDRNOTAVAIL, EAFNOSUPPORT
from typing import Any, TypeVar

from echoup.addresses import parsePort, splitAddress

P = TypeVar("P")


def parseOwnAddress(description: str, otherForms: str = "") -> tuple[str | None, int]:
    """Return the host, None for every address of this machine, and the port that `description` names.

    `PORT` or `*:PORT` (every address, IPv4 and IPv6), `HOST:PORT` or `[V6]:PORT`. Raise ValueError, with one line that
    says what is wrong, for anything else; if it looks like none of these it also names `otherForms`.
    """
    if not description.isprintable():
        raise ValueError(f"{description!r} is not an address")
    name = description.partition(":")[0]
    if name in (description, "*"):
        return None, parsePort(description.removeprefix("*:"))
    if description.count(":") > 1 and not description.startswith("["):
        raise ValueError(f"{description!r} is neither HOST:PORT nor [V6]:PORT{otherForms}")
    host, port = splitAddress(description)
    if port is None:
        raise ValueError(f"{description!r} has no port")
    return host, port


def listenOnEach(
    host: str | None,
    port: int,
    kind: socket.SocketKind,
    listen: Callable[[socket.AddressFamily, Any], P],
    family: socket.AddressFamily = socket.AF_UNSPEC,
) -> Iterator[P]:
    """Yield what `listen` makes of each address of `host`, given its family and itself; raise OSError where it does.

    The addresses are those of `family`, unless that is AF_UNSPEC.

    An address that this machine lacks (often IPv6) is passed over, unless there is no other.
    """
    found = socket.getaddrinfo(host, port, family, kind, flags=socket.AI_PASSIVE)
    missing: OSError | None = None
    listening = False
    for own, address in dict.fromkeys((own, address) for own, _, _, _, address in found):
        try:
            opened = listen(own, address)
        except OSError as error:
            if error.errno not in (EADDRNOTAVAIL, EAFNOSUPPORT):
                raise
            missing = error
        else:
            listening = True
            yield opened
    if missing and not listening:
        raise missing
