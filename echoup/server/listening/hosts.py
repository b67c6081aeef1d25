"""The addresses of this machine that a description names."""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from errno import EADDRNOTAVAIL, EAFNOSUPPORT
from typing import Any, TypeVar

from echoup.addresses import parsePort, splitAddress

P = TypeVar("P")


def parseOwnAddress(description: str, otherForms: str = "") -> tuple[str | None, int]:
    """Return the host and the port that `description` names; the host is None for every address of this machine.

    The forms are `PORT` or `*:PORT` (every address, IPv4 and IPv6), `HOST:PORT` and `[V6]:PORT`. Raise ValueError, with
    one line that says what is wrong, for anything else; that line names `otherForms`, too, for a text of no known form.
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


def openEach(
    host: str | None,
    port: int,
    kind: socket.SocketKind,
    openOne: Callable[[socket.AddressFamily, Any], P],
    close: Callable[[P], object],
    family: socket.AddressFamily = socket.AF_UNSPEC,
) -> list[P]:
    """Return what `openOne` makes of the family and the address of each address of `host`.

    An address that this machine lacks (often IPv6) is passed over where there is another. `family` restricts the
    addresses, unless it is AF_UNSPEC. Raise OSError, after `close` for all that is open, where one can't be opened.
    """
    found = socket.getaddrinfo(host, port, family, kind, flags=socket.AI_PASSIVE)
    missing: OSError | None = None
    results: list[P] = []
    with ExitStack() as opened:
        for own, address in dict.fromkeys((own, address) for own, _, _, _, address in found):
            try:
                results.append(openOne(own, address))
            except OSError as error:
                if error.errno not in (EADDRNOTAVAIL, EAFNOSUPPORT):
                    raise
                missing = error
            else:
                opened.callback(close, results[-1])
        if missing and not results:
            raise missing
        opened.pop_all()
    return results
