"""From the text of TARGET to a target."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from ipaddress import ip_address

from echoup.addresses import splitAddress
from echoup.client.target.datagram import DatagramTarget
from echoup.client.target.security import Security
from echoup.client.target.stream import PORT, StreamTarget
from echoup.endpointstrings import applyTo, parsing, socketPath, splitDescription, wholeNumber

HOST = "127.0.0.1"

JOINERS = "[\u200c\u200d]"
"""The only characters of names in some scripts that can't be seen (RFC 5892, A.1 and A.2)."""

_KIND = re.compile(r"(?![0-9a-fA-F]{1,4}$)[a-zA-Z]\w*", re.ASCII)
"""A word that may be meant as the kind of a target; an IPv6 address doesn't begin with one."""

Target = StreamTarget | DatagramTarget


def parseTarget(description: str) -> Target:
    """Return the target that `description` names.

    It is `HOST`, `HOST:PORT`, `[V6]:PORT`, `udp:` before one of these, or a Twisted client endpoint string of one of
    the PARSERS. Raise ValueError, with one line that says what is wrong, for anything else.
    """
    if not re.sub(JOINERS, "", description).isprintable():
        raise ValueError(f"{description!r} is not an address")
    kind, colon, rest = description.partition(":")
    if rest.startswith("//") and kind != "unix":
        raise ValueError(f"{description!r} is a URL; write HOST:PORT, tls:HOST:PORT or udp:HOST:PORT")
    if colon and kind == "udp":
        return DatagramTarget(*_parseAddress(description, rest))
    if colon and kind in PARSERS:
        with parsing(description, kind):
            if re.search(r":(port=|timeout=)?-[0-9]", description):
                raise ValueError("a number is negative")
            (_, *values), named = splitDescription(description)
            return applyTo(partial(PARSERS[kind], description), values, named)
    if description.isdigit():
        raise ValueError(f"{description!r} is a port without a host; for this machine write {HOST}:{description}")
    if colon and kind == "ssl" and not rest.isdigit():
        raise ValueError(f"{description!r} is not supported; write tls:HOST:PORT")
    if ":" in rest and _KIND.fullmatch(kind):
        kinds = ", ".join(f"{name}:" for name in PARSERS)
        raise ValueError(f"{description!r} has an unknown kind; the kinds are {kinds} and udp:")
    return StreamTarget(description, *_parseAddress(description, description))


def _parseAddress(description: str, address: str) -> tuple[str, int]:
    host, port = splitAddress(address)
    if port == 0:
        raise ValueError(f"{description!r} has port 0, which cannot be connected to")
    return host, PORT if port is None else port


def _parseTCP(
    description: str,
    *address: str,
    host: str | None = None,
    port: str | None = None,
    timeout: str = "0",
    bindAddress: str | None = None,
) -> StreamTarget:
    """Return the target of Twisted's `tcp:` endpoint string; its address may also be `HOST` or `[V6]:PORT`."""
    address += tuple(value for value in (host, port) if value is not None)
    if bindAddress is not None:
        ip_address(bindAddress)
    if len(address) == 2 and ":" in address[0]:
        address = (f"[{address[0]}]", address[1])
    return StreamTarget(
        description,
        *_parseAddress(description, ":".join(address)),
        bindAddress=bindAddress,
        patience=wholeNumber(timeout),
    )


def _parseTLS(
    description: str,
    /,
    *address: str,
    certificate: str | None = None,
    privateKey: str | None = None,
    trustRoots: str | None = None,
    **named: str,
) -> StreamTarget:
    """Return the target of Twisted's `tls:` endpoint string; its address is that of `_parseTCP`."""
    target = applyTo(partial(_parseTCP, description), [*address], named)
    return replace(target, security=Security(trustRoots, certificate, privateKey))


def _parseUNIX(description: str, path: str, *, timeout: str = "0") -> StreamTarget:
    """Return the target of Twisted's `unix:` endpoint string; its path may also be `@NAME`, an abstract socket."""
    return StreamTarget(description, path=socketPath(path), patience=wholeNumber(timeout))


PARSERS: dict[str, Callable[..., StreamTarget]] = {"tcp": _parseTCP, "tls": _parseTLS, "unix": _parseUNIX}
"""The kinds of Twisted's client endpoints that can half-close without a loss."""
