"""Addresses as people write and read them."""

import ipaddress
import re
from collections.abc import Callable

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress

from echoup.escaping import word

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST = re.compile(r"[\w.-]+")
_IPV6 = re.compile(r"[0-9a-fA-F:.]+(%(?=.{1,15}$)\w+([.-]\w+)*)?", re.ASCII)  # with the name of an interface
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


def splitAddress(text: str) -> tuple[str, int | None]:
    """Split `HOST`, `HOST:PORT`, `V6`, `[V6]` or `[V6]:PORT` into the host and the port; the port may be None.

    A host is a name (in any script that IDNA can encode), an IPv4 or an IPv6 address. Raise ValueError, with one line
    that says what is wrong, for anything else.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or rest[:1] not in ("", ":"):
            raise ValueError(f"{text!r} is not [ADDRESS]:PORT")
        port = rest[1:] if rest else None
        _check(host, "an IPv6 address", _IPV6, ipaddress.IPv6Address)
    elif text.count(":") > 1:
        host, port = text, None
        _check(host, "an IPv6 address", _IPV6, ipaddress.IPv6Address)
    else:
        host, colon, rest = text.partition(":")
        port = rest if colon else None
        _check(host, "a host name or an IP address", _HOST, lambda name: name.encode("idna"))
    return host, None if port is None else parsePort(port)


def parsePort(text: str) -> int:
    """Return the port number that `text` names, 0 to 65535; raise ValueError for anything else."""
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise ValueError(f"{text!r} is not a port number from 0 to 65535")
    return int(text)


def describeAddress(address: IAddress) -> str:
    """Return `address` as one word: `192.0.2.1:8081`, `[2001:db8::1]:8081`, `unix:/path` or `unix`."""
    if isinstance(address, IPv4Address | IPv6Address):
        return joinAddress(address.host, address.port)
    name = getattr(address, "name", None)
    return f"unix:{word(name)}" if name else "unix"


def joinAddress(host: str, port: int) -> str:
    """Return `HOST:PORT` or `[V6]:PORT`, which `splitAddress` splits again."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check(host: str, what: str, form: re.Pattern[str], parse: Callable[[str], object]) -> None:
    """Raise ValueError unless `host` is `what`: it has the `form`, and `parse` raises no ValueError."""
    try:
        if not form.fullmatch(host):
            raise ValueError
        parse(host)
    except ValueError:
        raise ValueError(f"{host!r} is not {what}") from None
