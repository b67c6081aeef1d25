"""The PROXY protocol's header, versions 1 and 2, read and written, without I/O.

haproxy's doc/proxy-protocol.txt specifies it (here: that of 2026-04-27); the docstrings name its sections.
"""

import ipaddress
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import reduce
from socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct
from typing import Literal

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from echoup.escaping import shortWord, word

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
"""The first bytes of a v2 header (2.2)."""

LONGEST_LINE = 107
"""The most bytes of a v1 header, its CRLF included (2.1)."""

_OPENINGS = (b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN", SIGNATURE)
_WORDS = re.compile(rb"PROXY TCP[46] ([0-9A-Fa-f.:]+ ){0,3}[0-9A-Fa-f.:]*\r?")  # or the first part of them
_PORT = re.compile(r"0|[1-9][0-9]*")

_LOCAL, _PROXY = 0x20, 0x21
_INET, _INET6, _UNIX = 1, 2, 3
_STREAM, _DGRAM = 1, 2
_LAYOUTS = {_INET: Struct("!4s4sHH"), _INET6: Struct("!16s16sHH"), _UNIX: Struct("!108s108s")}
_UNKNOWN = {1: b"PROXY UNKNOWN\r\n", 2: SIGNATURE + bytes([_LOCAL, 0, 0, 0])}

_AUTHORITY, _CRC32C, _UNIQUE_ID, _SSL = 0x02, 0x03, 0x05, 0x20
_SSL_VERSION, _SSL_CN, _SSL_CIPHER = 0x21, 0x22, 0x23
_TLS, _CERTIFICATE = 0x01, 0x06  # flags; a certificate may be this connection's or that of a session it resumed

_CRC32C_TABLE = [reduce(lambda crc, _: crc >> 1 ^ (crc & 1) * 0x82F63B78, range(8), byte) for byte in range(256)]


class ProxyHeaderError(ValueError):
    """The received bytes can't begin a header; the message says why, in one line."""


@dataclass(frozen=True)
class ClientTLS:
    """The TLS between the client and the proxy, as the proxy reports it (2.2.6)."""

    connected: bool
    """Whether the client speaks TLS."""

    verified: bool | None = None
    """Whether the client's certificate was verified; None if it showed none."""

    version: bytes = b""
    cipher: bytes = b""
    commonName: bytes = b""


@dataclass(frozen=True)
class ProxyHeader:
    """The contents of a header; a field that is missing is None or empty."""

    source: IAddress | None = None
    """The client; None if the connection's own addresses apply."""

    destination: IAddress | None = None
    """The address that the client connected to; None if `source` is."""

    authority: bytes = b""
    """The host that the client asked for; the client chooses these bytes (2.2.2)."""

    uniqueId: bytes = b""
    """The proxies' identifier of this connection, up to 128 bytes (2.2.5)."""

    tls: ClientTLS | None = None

    @property
    def fields(self) -> dict[str, str]:
        """The fields of a log line other than addresses; each value is one word that can't forge another field."""
        said = {"authority": self.authority}
        if tls := self.tls:
            said["tls"] = (tls.version or b"yes") if tls.connected else b"no"
            said["tls_cipher"] = tls.cipher
            said["tls_cn"] = tls.commonName
            said["tls_verified"] = {True: b"yes", False: b"no", None: b""}[tls.verified]
        words = {name: shortWord(value) for name, value in said.items() if value}
        if self.uniqueId:
            # It isn't text: each byte is escaped on its own, so that different identifiers look different.
            words["unique_id"] = word(self.uniqueId.decode("latin-1").encode("unicode_escape"))
        return words


class ProxyHeaderParser:
    """Takes the header off the beginning of one stream, which arrives in pieces of any size."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._size: int | None = None

    @property
    def version(self) -> int:
        """The version of the header that `feed` has returned."""
        return 2 if self._received.startswith(SIGNATURE) else 1

    def feed(self, data: bytes) -> tuple[ProxyHeader, bytes] | None:
        """Take the next bytes; return the header and the bytes after it when it is complete, and None before that.

        Raise ProxyHeaderError as soon as the bytes can't begin a header; addresses and TLVs are checked once the header
        is complete (2.1, 2.2).
        """
        self._received += data
        if self._size is None:
            self._size = _findSize(bytes(self._received[:LONGEST_LINE]))
        if self._size is None or len(self._received) < self._size:
            return None
        header, rest = bytes(self._received[: self._size]), bytes(self._received[self._size :])
        return (_parseBinary if header.startswith(SIGNATURE) else _parseLine)(header), rest


def encodeProxyHeader(version: int, source: IAddress, destination: IAddress) -> bytes:
    """Return the header, of version 1 or 2, of a stream from `source` to `destination`.

    If the version can't express the two, the header is UNKNOWN (2.1), or LOCAL, which every receiver must accept,
    unlike UNSPEC (2.2).
    """
    ends = [end for end in (source, destination) if isinstance(end, IPv4Address | IPv6Address)]
    ips = [ipaddress.ip_address(end.host.partition("%")[0]) for end in ends]
    families = [ip.version for ip in ips]
    names = [end.name or b"" for end in (source, destination) if isinstance(end, UNIXAddress)]
    if families in ([4, 4], [6, 6]):
        if version == 1:
            return f"PROXY TCP{families[0]} {ips[0]} {ips[1]} {ends[0].port} {ends[1].port}\r\n".encode("ascii")
        family = _INET if families[0] == 4 else _INET6
        block = _LAYOUTS[family].pack(ips[0].packed, ips[1].packed, ends[0].port, ends[1].port)
    elif version == 2 and [len(name) <= 108 for name in names] == [True, True]:
        family = _UNIX
        block = _LAYOUTS[family].pack(*names)
    else:
        return _UNKNOWN[version]
    return SIGNATURE + bytes([_PROXY, family << 4 | _STREAM]) + len(block).to_bytes(2) + block


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of `data` (2.2.3; RFC 4960, appendix B)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC32C_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _findSize(start: bytes) -> int | None:
    """Return the size of the header that begins with `start`, or None if `start` is too short to tell."""
    for opening in _OPENINGS:
        if start.startswith(opening):
            return _findBinarySize(start) if opening == SIGNATURE else _findLineSize(start)
    if not any(opening.startswith(start) for opening in _OPENINGS):
        raise ProxyHeaderError(f"{start[:16]!r} does not begin a PROXY protocol header")
    return None


def _findLineSize(start: bytes) -> int | None:
    """Return the size of a v1 header, or None before its CRLF (2.1)."""
    line, end, _ = start.partition(b"\r\n")
    if not line.startswith(b"PROXY UNKNOWN") and not _WORDS.fullmatch(line):
        raise ProxyHeaderError(f"{line!r} is not addresses and ports separated by single spaces")
    if end:
        return len(line) + 2
    if len(line) + (1 if line.endswith(b"\r") else 2) > LONGEST_LINE:
        raise ProxyHeaderError(f"the line has more than {LONGEST_LINE} bytes")
    return None


def _parseLine(line: bytes) -> ProxyHeader:
    """Parse a v1 header: addresses and ports, or UNKNOWN and any bytes (2.1)."""
    if line.startswith(b"PROXY UNKNOWN"):
        return ProxyHeader()
    protocol, *words = line.decode("ascii").removesuffix("\r\n").removeprefix("PROXY ").split(" ")
    if len(words) != 4:
        raise ProxyHeaderError(f"{words} are not two addresses and two ports")
    return ProxyHeader(_parseEnd(protocol, *words[::2]), _parseEnd(protocol, *words[1::2]))


def _parseEnd(protocol: str, host: str, port: str) -> IAddress:
    try:
        ip = (ipaddress.IPv4Address if protocol == "TCP4" else ipaddress.IPv6Address)(host)
    except ValueError:
        raise ProxyHeaderError(f"{host!r} is not an address for {protocol}") from None
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise ProxyHeaderError(f"{port!r} is not a port number from 0 to 65535")
    return _address("TCP", ip.packed, int(port))


def _findBinarySize(start: bytes) -> int | None:
    """Return the size of a v2 header, or None before its 16th byte (2.2)."""
    if len(start) > 12 and start[12] not in (_LOCAL, _PROXY):
        raise ProxyHeaderError(f"version and command are 0x{start[12]:02x}, not 0x20 or 0x21")
    if len(start) > 13 and start[12] == _PROXY and (start[13] >> 4 > _UNIX or start[13] & 15 > _DGRAM):
        raise ProxyHeaderError(f"unknown address family and transport 0x{start[13]:02x}")
    if len(start) < 16:
        return None
    length = int.from_bytes(start[14:16])
    if (layout := _findLayout(start)) and length < layout.size:
        raise ProxyHeaderError(f"addresses of {layout.size} bytes don't fit into {length}")
    return 16 + length


def _findLayout(header: bytes) -> Struct | None:
    """Return the layout of the addresses in a v2 header; None if everything after its 16th byte is ignored.

    That is the case with LOCAL, and if the family or the transport is UNSPEC: addresses are ignored then, and because
    their length isn't known, neither is the place where TLVs would begin (2.2).
    """
    specified = header[12] == _PROXY and header[13] >> 4 and header[13] & 15
    return _LAYOUTS[header[13] >> 4] if specified else None


def _parseBinary(header: bytes) -> ProxyHeader:
    """Parse a v2 header (2.2).

    With DGRAM the addresses apply as well: it describes the client's path to the proxy, not this connection.
    """
    layout = _findLayout(header)
    if not layout:
        return ProxyHeader()
    tlvs = _findTLVs(header, 16 + layout.size)
    if _CRC32C in tlvs:  # that of the header with 0 in its place (2.2.3)
        place = tlvs[_CRC32C]
        if header[place] != crc32c(header[: place.start] + bytes(4) + header[place.stop :]).to_bytes(4):
            raise ProxyHeaderError("the checksum is wrong")
    uniqueId = header[tlvs[_UNIQUE_ID]]
    if len(uniqueId) > 128:
        raise ProxyHeaderError(f"the unique ID has {len(uniqueId)} bytes, and at most 128 are allowed")
    ends = layout.unpack_from(header, 16)
    transport: Literal["TCP", "UDP"] = "TCP" if header[13] & 15 == _STREAM else "UDP"
    return ProxyHeader(
        _address(transport, *ends[::2]),
        _address(transport, *ends[1::2]),
        header[tlvs[_AUTHORITY]],
        uniqueId,
        _parseTLS(header[tlvs[_SSL]]) if _SSL in tlvs else None,
    )


def _findTLVs(block: bytes, start: int) -> defaultdict[int, slice]:
    """Return the place in `block` of the value of each type of TLV, from `start` on; an empty place if there is none.

    If there are several TLVs of a type, the first applies, as in haproxy.
    """
    found: defaultdict[int, slice] = defaultdict(lambda: slice(0))
    while start < len(block):
        end = start + 3 + int.from_bytes(block[start + 1 : start + 3])
        if end > len(block):
            raise ProxyHeaderError(f"a TLV of type 0x{block[start]:02x} is longer than the field that contains it")
        found.setdefault(block[start], slice(start + 3, end))
        start = end
    return found


def _parseTLS(value: bytes) -> ClientTLS:
    """Parse the value of PP2_TYPE_SSL (2.2.6).

    haproxy reports clients without a certificate as verified (make_proxy_line_v2); a flag tells whether there was one.
    """
    if len(value) < 5:
        raise ProxyHeaderError(f"the TLV of type 0x20 has {len(value)} bytes, and at least 5 are needed")
    tlvs = _findTLVs(value, 5)
    return ClientTLS(
        connected=bool(value[0] & _TLS),
        verified=value[1:5] == bytes(4) if value[0] & _CERTIFICATE else None,
        version=value[tlvs[_SSL_VERSION]],
        cipher=value[tlvs[_SSL_CIPHER]],
        commonName=value[tlvs[_SSL_CN]],
    )


def _address(transport: Literal["TCP", "UDP"], host: bytes, port: int = 0) -> IAddress:
    """Return an address as Twisted's transports do: the name of a Unix socket is None, not empty.

    An abstract name begins with a NUL (unix(7)), and the header doesn't tell its length: NULs at its end are padding.
    """
    if len(host) == 4:
        return IPv4Address(transport, inet_ntop(AF_INET, host), port)
    if len(host) == 16:
        return IPv6Address(transport, inet_ntop(AF_INET6, host), port)
    return UNIXAddress((host.rstrip(b"\0") if host.startswith(b"\0") else host.partition(b"\0")[0]) or None)
