"""TLS contexts, and error messages about certificates, keys and peers."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

_REASONS = {
    "NO_CERTIFICATE_OR_CRL_FOUND": "no certificate in it",
    "KEY_VALUES_MISMATCH": "the key does not match the certificate",
    "KEY_TYPE_MISMATCH": "the key does not match the certificate",
    "NO_CERTIFICATE_ASSIGNED": "the key does not match the certificate",  # it is of another type
}
"""Plain words for reasons that OpenSSL gives."""


class FileError(ValueError):
    """Files can't be used; the message is one line that begins with their paths."""

    def __init__(self, why: object, *paths: str | Path) -> None:
        self.paths = tuple(map(str, paths))
        super().__init__(f"{' and '.join(self.paths)}: {why}")


@contextmanager
def naming(*paths: str | Path, missing: str = "certificate or private key") -> Iterator[None]:
    """Turn an error of OpenSSL or the system into a FileError about `paths`.

    `missing` is what they have to contain.
    """
    try:
        yield
    except ssl.SSLError as error:
        # OpenSSL gives no reason when a PEM file has nothing of the kind that it looks for.
        why = explain(error) if error.reason else f"no usable {missing} in it"
        raise FileError(why, *paths) from None
    except OSError as error:
        raise FileError(error.strerror, *paths) from None


def makeContext(protocol: int) -> ssl.SSLContext:
    """Return a context for `protocol`, a client's or a server's, with nothing below TLS 1.2 (RFC 8996).

    TLS 1.2 also has only ciphers with forward secrecy and authenticated encryption. A certificate that is trusted needs
    no trusted issuer. Renegotiation is refused, because nothing can be written while it lasts.
    """
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aDSS")
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def refusePassphrase(path: str | None = None) -> NoReturn:
    """Raise ValueError for an encrypted private key, whose passphrase OpenSSL would ask for on the terminal."""
    why = "the private key is encrypted"
    raise FileError(why, path) if path else ValueError(why)


def explain(error: ssl.SSLError) -> str:
    """Return the reason that `error` gives, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    if error.reason in _REASONS:
        return _REASONS[error.reason]
    return re.sub(r"^\[.*?\] | \(_ssl\.c:\d+\)$", "", str(error))
