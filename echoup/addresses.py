"""Addresses as people write and read them."""

import ipaddress
import re

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
        _checkIPv6(host)
    elif text.count(":") > 1:
        host, port = text, None
        _checkIPv6(host)
    else:
        host, colon, rest = text.partition(":")
        port = rest if colon else None
        _checkName(host)
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


def _checkIPv6(host: str) -> None:
    try:
        if not _IPV6.fullmatch(host):
            raise ValueError
        ipaddress.IPv6Address(host)
    except ValueError:
        raise ValueError(f"{host!r} is not an IPv6 address") from None


def _checkName(host: str) -> None:
    try:
        if not _HOST.fullmatch(host):
            raise ValueError
        host.encode("idna")
    except ValueError:
        raise ValueError(f"{host!r} is not a host name or an IP address") from None
