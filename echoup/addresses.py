"""Addresses as people write and read them."""

import ipaddress
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress

from echoup.escaping import word

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST = re.compile(r"[\w-]{1,63}(\.[\w-]{1,63})*\.?", re.ASCII)
_IPV6 = re.compile(r"[0-9a-fA-F:.]+(%(?=.{1,15}$)\w+([.-]\w+)*)?", re.ASCII)  # with the name of an interface
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


def splitAddress(text: str) -> tuple[str, int | None]:
    """Split `HOST`, `HOST:PORT`, `V6`, `[V6]` or `[V6]:PORT` into the host and the port; the port may be None.

    A host is a name (in any script that `encodeHost` can encode), an IPv4 or an IPv6 address. Raise ValueError, with
    one line that says what is wrong, for anything else.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or rest[:1] not in ("", ":"):
            raise ValueError(f"{text!r} is not [ADDRESS]:PORT")
        port = rest[1:] if rest else None
        _check(host, "an IPv6 address", _isIPv6)
    elif text.count(":") > 1:
        host, port = text, None
        _check(host, "an IPv6 address", _isIPv6)
    else:
        host, colon, rest = text.partition(":")
        port = rest if colon else None
        _check(host, "a host name or an IP address", _isName)
    return host, None if port is None else parsePort(port)


def parsePort(text: str) -> int:
    """Return the port number that `text` names, 0 to 65535; raise ValueError for anything else."""
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise ValueError(f"{text!r} is not a port number from 0 to 65535")
    return int(text)


def encodeHost(host: str) -> str:
    """Return `host` as resolvers take it: a name in ASCII, an IP address as it is.

    That is IDNA 2008, after the mapping of UTS 46 without its transitional rules (RFC 5891, UTS 46, 4). Symbols and
    underscores, which only UTS 46 admits, are encoded as well, as browsers do. Raise UnicodeError for any other text.
    """
    if host.isascii():
        return host
    import idna

    def encode(label: str) -> str:
        if label.isascii():
            return label
        with suppress(idna.InvalidCodepoint):
            return idna.alabel(label).decode()
        return "xn--" + label.encode("punycode").decode()

    return ".".join(map(encode, idna.uts46_remap(host, std3_rules=False, transitional=False).split(".")))


def peerName(host: str) -> str:
    """Return the name or IP address that identifies `host` in its certificate; SNI has it, too, if it is a name.

    The dot at the end of a name (RFC 6066, 3), its case, and the interface of a link-local address only help to find
    the host. An IPv4 address may be written in any form of inet_aton(3), or mapped to IPv6 (RFC 4291, 2.5.5.2). Raise
    UnicodeError for anything else.
    """
    name = encodeHost(host).removesuffix(".").lower()
    with suppress(socket.gaierror):
        numeric = socket.getaddrinfo(name.partition("%")[0], None, flags=socket.AI_NUMERICHOST)
        return unmapHost(str(numeric[0][4][0]))
    return name


def hostOf(name: Any) -> str:
    """Return the host in the address `name` of an IP socket; a link-local host has its interface (RFC 4007, 11)."""
    if not any(name[3:]):
        return str(name[0])
    return socket.getnameinfo(name, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]


def describeName(name: Any) -> str:
    """Return the address `name` of an IP socket as `describeAddress` does."""
    return joinAddress(hostOf(name), name[1])


def describeAddress(address: IAddress) -> str:
    """Return `address` as one word: `192.0.2.1:8081`, `[2001:db8::1]:8081`, `unix:/path`, `unix:@name` or `unix`.

    `@name` is an abstract socket (unix(7)), as ss(8) writes it; a file of that name is `./@name`.
    """
    if isinstance(address, IPv6Address) and "%" not in address.host:
        return describeName((address.host, address.port, address.flowInfo, address.scopeID))
    if isinstance(address, IPv4Address | IPv6Address):
        return joinAddress(address.host, address.port)
    name = getattr(address, "name", None)
    if not name:
        return "unix"
    if name.startswith(b"\0"):
        return f"unix:@{word(name[1:])}"
    return f"unix:{'./' if name.startswith(b'@') else ''}{word(name)}"


def unmapAddress(address: IAddress) -> IAddress:
    """Return the IPv4 address that an IPv4-mapped IPv6 address stands for; any other as it is; see `unmapHost`."""
    if isinstance(address, IPv6Address) and (host := unmapHost(address.host)) != address.host:
        return IPv4Address(address.type, host, address.port)
    return address


def unmapHost(host: str) -> str:
    """Return the IPv4 address that an IPv4-mapped IPv6 address stands for (RFC 4291, 2.5.5.2); any other host as it is.

    A socket for both IPv4 and IPv6 reports such addresses for IPv4 clients. Raise ValueError for a host with `ffff:` in
    it that is not an address.
    """
    if "ffff:" not in host.lower():  # parsing costs 2 us, and most addresses are others
        return host
    mapped = ipaddress.IPv6Address(host).ipv4_mapped
    return host if mapped is None else str(mapped)


def joinAddress(host: str, port: int) -> str:
    """Return `HOST:PORT` or `[V6]:PORT`, which `splitAddress` splits again."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check(host: str, what: str, isRight: Callable[[str], bool]) -> None:
    """Raise ValueError unless `host` is `what`: `isRight` returns true, and raises no ValueError."""
    with suppress(ValueError):
        if isRight(host):
            return
    raise ValueError(f"{host!r} is not {what}")


def _isIPv6(host: str) -> bool:
    return bool(_IPV6.fullmatch(host) and ipaddress.IPv6Address(host))


def _isName(host: str) -> bool:
    return bool(_HOST.fullmatch(encodeHost(host)))
