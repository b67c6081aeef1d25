"""What a TLS client's first message asks for.

Python's `SSLContext.sni_callback` would tell it as well, but if the name isn't ASCII it fails the handshake and writes
a traceback.
"""

from io import BytesIO

_HANDSHAKE = 22
_CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = b"\1", b"\0\0", b"\0"


def parseServerName(data: bytes) -> bytes | None:
    """Return the host name that a client asks for (SNI; RFC 6066, 3), which may be any bytes.

    `data` is what it sent first: TLS records, among which its ClientHello may be spread (RFC 8446, 4.1.2 and 5.1). None
    if it asks for none, or if that isn't a complete ClientHello.
    """
    message, start = bytearray(), 0
    while data[start : start + 1] == bytes([_HANDSHAKE]):
        end = start + 5 + int.from_bytes(data[start + 3 : start + 5])
        message += data[start + 5 : end]
        start = end
    try:
        stream = BytesIO(message)
        if _take(stream, 1) != _CLIENT_HELLO:
            return None
        hello = BytesIO(_takeVector(stream, 3))
        _take(hello, 2 + 32)  # the version and the random bytes
        for width in (1, 2, 1):  # the session, the ciphers and the compression methods
            _takeVector(hello, width)
        extensions = BytesIO(_takeVector(hello, 2))
        while _take(extensions, 2) != _SERVER_NAME:
            _takeVector(extensions, 2)
        names = BytesIO(_takeVector(BytesIO(_takeVector(extensions, 2)), 2))
        return _takeVector(names, 2) if _take(names, 1) == _HOST_NAME else None
    except EOFError:
        return None


def _take(stream: BytesIO, size: int) -> bytes:
    if len(taken := stream.read(size)) < size:
        raise EOFError
    return taken


def _takeVector(stream: BytesIO, width: int) -> bytes:
    """Take the bytes whose number is in the `width` bytes before them (RFC 8446, 3.4)."""
    return _take(stream, int.from_bytes(_take(stream, width)))
