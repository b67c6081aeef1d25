"""What a client's own flight of a TLS handshake shows."""

from collections.abc import Iterator

_CHANGE_CIPHER_SPEC, _HANDSHAKE, _APPLICATION_DATA = 20, 22, 23
"""The types of records (RFC 8446, 5.1)."""

_CERTIFICATE = 11
"""The type of a handshake message (RFC 8446, 4)."""


def hasCertificate(flight: bytes) -> bool:
    """Return whether a client's `flight`, whole records, has a Certificate message, which may be an empty one.

    A client sends it if and only if the server has asked for a certificate (RFC 5246, 7.4.6; RFC 8446, 4.4.2). In TLS
    1.2 it can be read. In TLS 1.3 it is encrypted, but then there is a record in front of the one with Finished.
    """
    encrypted, isReadable = 0, True
    for kind, content in _records(flight):
        if kind == _HANDSHAKE and isReadable and content[:1] == bytes([_CERTIFICATE]):
            return True
        isReadable = isReadable and kind != _CHANGE_CIPHER_SPEC
        encrypted += kind == _APPLICATION_DATA
    return encrypted > 1


def _records(flight: bytes) -> Iterator[tuple[int, bytes]]:
    while flight:
        end = 5 + int.from_bytes(flight[3:5], "big")
        yield flight[0], flight[5:end]
        flight = flight[end:]
