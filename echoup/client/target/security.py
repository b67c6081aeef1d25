"""How the client speaks TLS."""

import os
import re
import ssl
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from echoup.tls.context import makeContext, naming, refusePassphrase

PIN = "sha256:"
"""What a pin begins with: the name of its hash."""


def parsePin(text: str) -> str:
    """Return `sha256:` and 64 lowercase hexadecimal digits, for `text` in any case and with or without colons.

    `openssl x509 -fingerprint -sha256` writes a colon after each byte. Raise ValueError for anything else.
    """
    kind, _, digits = text.lower().partition(":")
    if not (f"{kind}:" == PIN and re.fullmatch("[0-9a-f]{64}|([0-9a-f]{2}:){31}[0-9a-f]{2}", digits)):
        raise ValueError(f"{text!r} is not {PIN} and the 64 hexadecimal digits of a SHA-256 fingerprint")
    return PIN + digits.replace(":", "")


@dataclass(frozen=True)
class Security:
    """How to speak TLS with a server: what to trust and what to present; the paths are those of PEM files."""

    cafile: str | None = None
    """The certificates to trust, in a file or in the *.pem of a folder, instead of the system's."""
    cert: str | None = None
    """Our own certificate, and those between it and its root."""
    key: str | None = None
    """The private key, if it isn't in the file of the certificate."""
    serverName: str | None = None
    """The name to ask for and to find in the certificate, if it isn't that of the host."""
    insecure: bool = False
    """Whether any certificate is trusted."""
    pin: str | None = None
    """What the certificate or its public key has to be, as `parsePin` returns it; it also counts with `insecure`."""

    @cached_property
    def context(self) -> ssl.SSLContext:
        """The TLS context; raise ValueError, with one line that says why, if one of the files can't be used."""
        context = makeContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.cafile:
            root = Path(self.cafile)
            isFolder = os.path.isdir(root)  # noqa: PTH112  # Path.is_dir raises where stat(2) is not permitted
            for path in sorted(root.glob("*.pem")) if isFolder else [root]:
                with naming(path), path.open("rb"):
                    context.load_verify_locations(path)
        else:
            context.load_default_certs()
        if self.cert:
            files = [file for file in (self.cert, self.key) if file]
            for file in files:  # OpenSSL doesn't tell which of the two it can't open
                with naming(file), Path(file).open("rb"):
                    pass
            with naming(*files):
                context.load_cert_chain(self.cert, self.key, refusePassphrase)
        return context
