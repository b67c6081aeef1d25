"""TLS contexts, and the words for what is wrong with certificates, keys and peers."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn


@contextmanager
def loading(*paths: str | Path) -> Iterator[None]:
    """Turn what goes wrong when OpenSSL loads the files at `paths` into a ValueError of one line that names them."""
    for path in paths:
        with naming(path), Path(path).open("rb"):
            pass
    with naming(*paths):
        yield


@contextmanager
def naming(*paths: str | Path) -> Iterator[None]:
    """Turn an error of OpenSSL or the system into a ValueError of one line that names `paths`, which it's about."""
    names = " and ".join(map(str, paths))
    try:
        yield
    except ssl.SSLError as error:
        # Whoever has read a PEM file without finding what it looked for has no reason to tell.
        why = explain(error) if error.reason else "no usable certificate or private key in it"
        raise ValueError(f"{names}: {why}") from None
    except OSError as error:
        raise ValueError(f"{names}: {error.strerror}") from None


def makeContext(protocol: int) -> ssl.SSLContext:
    """Return a context for `protocol`, a client's or a server's, with nothing below TLS 1.2 (RFC 8996).

    In 1.2, too, there is only forward secrecy and authenticated encryption. Every certificate that is trusted is so
    by itself, whoever has signed it. There is no renegotiation: nothing could be written while it lasts.
    """
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aDSS")
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def askNobody() -> NoReturn:
    """Refuse an encrypted private key: OpenSSL would ask for its passphrase, on the terminal or in the input."""
    raise ValueError("the private key is encrypted")


def explain(error: ssl.SSLError) -> str:
    """Return what `error` says, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    return re.sub(r"^\[.*?\] | \(_ssl\.c:\d+\)$", "", str(error))
