"""The payloads of the check `exact`."""

import os
import string
from dataclasses import dataclass, field
from enum import Enum
from random import SystemRandom

PAUSE = 0.005
"""Seconds between the bytes of a payload that is sent byte by byte."""

SIZES = (1, 1_000, 4_096, 16_385, 65_537)
"""In bytes: one, less and more than a TCP segment, and just over a TLS record, and over the buffers of most proxies."""

LARGE = (262_144, 1_048_576)
"""The sizes that are left out where the path is too slow for them."""

_LETTERS = string.ascii_letters + string.digits


class Kind(Enum):
    """What a payload tests."""

    VALUES = "values"
    SIZE = "size"
    PIECES = "pieces"
    """How the bytes are divided over writes."""
    LOOKALIKE = "look-alike"
    """Whether something on the path takes an interest in a protocol."""


@dataclass(frozen=True)
class Sample:
    """A payload."""

    name: str
    """What the report calls it."""
    kind: Kind
    data: bytes
    pieces: tuple[int, ...] = ()
    """The sizes of the writes that it is divided into; empty: one write."""
    pause: float = 0
    """Seconds between the writes; 0: one turn of the reactor."""
    protocol: str = ""
    """The protocol that it looks like."""
    twin: bytes = field(default=b"", repr=False)
    """Of a look-alike: random text of the same shape."""


def text(size: int) -> bytes:
    """Return `size` random letters and digits, the first one in lower case, so that no cache can know the reply."""
    data = os.urandom(size).translate(bytes(ord(_LETTERS[byte % len(_LETTERS)]) for byte in range(256)))
    return bytes([97 + data[0] % 26]) + data[1:] if data else b""


def opening() -> Sample:
    """Return the payload that goes first; it has no line end."""
    return Sample("56 letters and digits", Kind.VALUES, text(56))


def samples(host: str) -> list[Sample]:
    """Return the payloads, but for those of LARGE sizes; `host` is our own address, which gateways look for."""
    burst = tuple(SystemRandom().choices(range(1, 38), k=200))
    return [*_values(), *map(ofSize, SIZES), *_pieces(burst), *_lookalikes(host)]


def ofSize(size: int) -> Sample:
    """Return a payload of `size` bytes."""
    return Sample(f"{size} bytes" if size > 1 else "1 byte", Kind.SIZE, text(size))


def _values() -> list[Sample]:
    payloads = {
        "all 256 byte values": bytes(range(256)) + b" end",
        "line ends": b"a\r\nb\nc\rd\n\re\r\n\r\nf\n\ng\r\n.\r\nh",
        "control bytes": b"a\0b\0\0c\x03d\x04e\x08f\tg\x11h\x13i\x16j\x17k\x1al\x1b[1mm\x7fn",
        "telnet commands": b"a\xffb\xff\xffc\xff\xfd\x01d\xff\xfb\x03e\xff\xf4f\xff\xfd\x06g\xff\xfa\x18\x01\xff\xf0h",
        "UTF-8": "straße, café, €, 日本, 😀, ı, ǆ, ".encode()
        + b"\xef\xbb\xbf and what isn't: \xc0\xaf\xfe\xe9t\xe9 end",
    }
    return [Sample(name, Kind.VALUES, text(8) + data) for name, data in payloads.items()]


def _pieces(burst: tuple[int, ...]) -> list[Sample]:
    dribbled = text(24) + " é € 😀 \r\nend".encode()
    return [
        Sample(f"{len(dribbled)} bytes, byte by byte", Kind.PIECES, dribbled, (1,) * len(dribbled), PAUSE),
        Sample(f"{sum(burst)} bytes in a burst of {len(burst)} writes", Kind.PIECES, text(sum(burst)), burst),
    ]


def _lookalikes(host: str) -> list[Sample]:
    tag, octets = text(12).decode(), host.replace(".", ",") if host.count(".") == 3 else "192,0,2,1"
    sdp = f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio 49170 RTP/AVP 0\r\n"
    head = f"Via: SIP/2.0/TCP {host}:5060;branch=z9hG4bK{tag}\r\nMax-Forwards: 70\r\nFrom: <sip:a@{host}>;tag={tag}\r\n"
    rest = f"Call-ID: {tag}@{host}\r\nContact: <sip:a@{host}:5060>\r\n"
    register = (
        f"REGISTER sip:example.com SIP/2.0\r\n{head}To: <sip:a@{host}>\r\n{rest}CSeq: 1 REGISTER\r\n"
        "Expires: 300\r\nContent-Length: 0\r\n\r\n"
    )
    invite = (
        f"INVITE sip:b@example.com SIP/2.0\r\n{head}To: <sip:b@example.com>\r\n{rest}CSeq: 1 INVITE\r\n"
        f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n{sdp}"
    )
    payloads = (
        ("HTTP", "an HTTP request", f"GET /{tag} HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\n\r\n"),
        ("SIP", "a SIP REGISTER", register),
        ("SIP", "a SIP INVITE with SDP", invite),
        ("FTP", "an FTP PORT", f"USER {tag}\r\nPORT {octets},200,21\r\n"),
        ("FTP", "an FTP 227", f"227 Entering Passive Mode ({octets},200,21) {tag}\r\n"),
    )
    return [
        Sample(name, Kind.LOOKALIKE, data.encode(), protocol=protocol, twin=_twin(data.encode()))
        for protocol, name, data in payloads
    ]


def _twin(data: bytes) -> bytes:
    """Return `data` with random letters and digits in place of its own."""
    random = SystemRandom()
    choices = {False: string.ascii_letters, True: string.digits}
    return b"".join(
        random.choice(choices[byte.isdigit()]).encode() if byte.isalnum() else byte
        for byte in (data[i : i + 1] for i in range(len(data)))
    )
