"""The addresses that `--listen`, also after `tls:`, and `--udp` take: a port, or a host and a port."""

import re

from echoup.addresses import joinAddress, parsePort, splitAddress, unmapHost

STREAMS = ("tls", "tcp", "tcp6", "ssl", "unix", "systemd")
"""The kinds of address that only `--listen` takes."""

DATAGRAMS = ("udp", "udp4", "udp6")
"""The kinds of address that other programs take for UDP."""

_URL = re.compile(r"(?!unix:)([a-z][a-z0-9+.-]*)://([^/]*).*", re.IGNORECASE | re.DOTALL)
_SECURE = ("https", "wss", "tls", "ssl")


def parseOwnAddress(text: str, otherForms: str = "") -> tuple[str | None, int]:
    """Return the host and the port that `text` names; the host is None for every address of this machine.

    The forms are `PORT` or `*:PORT` (every address, IPv4 and IPv6), `HOST:PORT` and `[V6]:PORT`. Raise ValueError, with
    one line that says what is wrong, for anything else; for an unknown form, that line also names `otherForms`.
    """
    if not text.isprintable():
        raise ValueError(f"{text!r} is not an address")
    name, colon, rest = text.partition(":")
    if not colon or name == "*":
        return None, _parsePort(rest if colon else name)
    if not name and not rest.count(":"):
        raise ValueError(f"{text!r} has no host; write {rest or 'PORT'}")
    if text.count(":") > 1 and not text.startswith("["):
        raise ValueError(f"{text!r} is neither HOST:PORT nor [V6]:PORT{otherForms}")
    host, port = splitAddress(text)
    if port is None:
        raise ValueError(f"{text!r} has no port; write {joinAddress(host, 0).removesuffix('0')}PORT")
    return unmapHost(host), port


def refuseForeignForms(text: str) -> None:
    """Raise ValueError for an address as other programs take it, such as a URL; the message says what to write here."""
    if url := _URL.fullmatch(text):
        scheme, address = url[1].lower(), url[2] or "HOST"
        if not re.search(r":\d+$", address):
            address += ":PORT"
        option = "--udp" if scheme in DATAGRAMS else "--listen"
        raise ValueError(f"{text!r} is a URL; write {option} {'tls:' if scheme in _SECURE else ''}{address}")
    kind, colon, rest = text.partition(":")
    if colon and kind in DATAGRAMS:
        raise ValueError(f"{text!r} is a UDP address; write --udp {rest or 'PORT'}")
    if kind == "haproxy" and ":" in rest:
        raise ValueError(f"{text!r} is not supported; write --listen {rest} --proxy-from NETWORK")


def _parsePort(text: str) -> int:
    """Parse a port number; raise ValueError, with what to write instead, for anything else."""
    try:
        return parsePort(text)
    except ValueError as error:
        if text.startswith(("/", "./", "@")):
            raise ValueError(f"{error}; a Unix socket is unix:{text}") from None
        if re.fullmatch(r"[^\W\d][\w.-]*|\d+(\.\d+)+", text):
            raise ValueError(f"{error}; write {text}:PORT for a host") from None
        raise
