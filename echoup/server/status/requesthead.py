"""What an HTTP request begins with, and which requests are refused for it; without I/O.

The grammar is that of RFC 9112, without its leniencies: lines end with CRLF, no header field is folded, and the target
is a path with or without a query. A body is refused by its announcement, so nothing of it needs to be kept.
"""

import re
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

MOST_BYTES = 16384
"""The longest head that is read, in bytes. Browsers send the cookies of all sites of a host, whatever the port."""

MOST_FIELDS = 100
"""The most header fields that a request may have."""

_BEGINNING = re.compile(rb"[A-Z]{0,20}( .*)?")  # of a line that isn't complete yet
_LINE = re.compile(rb"([A-Z]{1,20}) (/[!-~]*) (HTTP/1\.[01])")
_FIELD = re.compile(rb"([\w!#$%&'*+.^`|~-]+):([\t -~\x80-\xff]*)")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w-]+(?:\.[\w-]+)*\.?)(?::[0-9]*)?", re.ASCII)


class Refused(Exception):
    """A request is refused; the message is one line that says why."""

    def __init__(self, code: int, reason: str) -> None:
        """`code` is the status code of the answer."""
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class Head:
    """The head of a request."""

    method: bytes
    target: bytes
    version: bytes
    host: str | None
    """The name or IP address in the Host field, in lower case, without port; None without the field."""
    accept: tuple[bytes, ...]
    """The values of the Accept fields."""

    def refuseForeignHost(self, own: str, names: Collection[str]) -> None:
        """Raise Refused for a request to another host.

        A web page can have its browser ask this site under a name of its own, which its resolver lets point here (DNS
        rebinding), and then read the answer. It can't do so under these: an IP address that is a loopback one or `own`,
        `localhost`, and the `names`, which are in lower case. They are compared as a whole.
        """
        if self.host is not None and self.host not in (own, "localhost", *names) and not _isLoopback(self.host):
            raise Refused(421, "the Host field names another site; --status-host NAME allows its name")


def parseHead(data: bytes) -> Head | None:
    """Return the head at the beginning of `data`; None as long as it isn't complete. Raise Refused for any other."""
    text, end, _ = data.partition(b"\r\n\r\n")
    first, *fields = text.split(b"\r\n")
    line = _LINE.fullmatch(first)
    if not (line if end or fields else _BEGINNING.fullmatch(first)):
        raise Refused(400, "this is not a request of HTTP/1.0 or HTTP/1.1 for a path")
    if len(text) > MOST_BYTES or len(fields) > MOST_FIELDS:
        raise Refused(431, f"the request has more than {MOST_BYTES} bytes or {MOST_FIELDS} header fields")
    if not (line and end):
        return None
    values: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for each in fields:
        field = _FIELD.fullmatch(each)
        if not field:
            raise Refused(400, "a header field is malformed")
        values[field[1].lower()].append(field[2].strip())
    if b"transfer-encoding" in values or any(length != b"0" for length in values[b"content-length"]):
        raise Refused(413, "no request may have a body")
    method, target, version = line.groups()
    host = _parseHost(values[b"host"], isNeeded=version == b"HTTP/1.1")
    return Head(method, target, version, host, tuple(values[b"accept"]))


def _parseHost(values: list[bytes], isNeeded: bool) -> str | None:
    if not values and not isNeeded:
        return None
    host = _HOST.fullmatch(values[0].decode("latin-1")) if len(values) == 1 else None
    if not host:
        raise Refused(400, "the request has no valid Host field, or several")
    name = host[1].lower().removesuffix(".")
    if name.startswith("["):
        with suppress(AddressValueError):
            return str(IPv6Address(name[1:-1]))
    return name


def _isLoopback(host: str) -> bool:
    """Return whether `host` is a loopback address; an IPv4-mapped one is none, because no client writes that."""
    kind = IPv6Address if ":" in host else IPv4Address
    try:
        address = kind(host)
    except AddressValueError:
        return False
    return address.is_loopback and not getattr(address, "ipv4_mapped", None)
