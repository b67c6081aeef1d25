"""The certificate that a TLS listener shows, and those that it asks for."""

import os
import ssl
from pathlib import Path
from typing import NoReturn

from echoup.tls import loading, makeContext

METHODS = {
    "TLS_METHOD": ssl.TLSVersion.MAXIMUM_SUPPORTED,
    "SSLv23_METHOD": ssl.TLSVersion.MAXIMUM_SUPPORTED,
    "TLSv1_2_METHOD": ssl.TLSVersion.TLSv1_2,
}
"""What `sslmethod=` may be, and the highest version of TLS that it admits; the lowest is always 1.2 (RFC 8996)."""


class Certificate:
    """A server's certificate and private key, in files, and the TLS context made of them."""

    context: ssl.SSLContext
    """For the next connection; those that are open keep theirs."""

    def __init__(
        self,
        privateKey: str = "server.pem",
        certKey: str | None = None,
        sslmethod: str = "TLS_METHOD",
        extraCertChain: str | None = None,
        dhParameters: str | None = None,
        clientCA: str | None = None,
    ) -> None:
        """The names are those of Twisted's `ssl:` endpoint; the values are paths of PEM files.

        Without `certKey` the certificate is in the file of the key. The certificates between it and the root may
        follow it there, or be in `extraCertChain`. With `clientCA` clients must have a certificate signed by one in
        that file. Raise ValueError, with one line that says what is wrong, for what can't be used.
        """
        if sslmethod not in METHODS:
            raise ValueError(f"sslmethod={sslmethod} is none of {', '.join(METHODS)}: there is no TLS below 1.2")
        self._privateKey = privateKey
        self._certificates = [certKey or privateKey, *([extraCertChain] if extraCertChain else [])]
        self._highest = METHODS[sslmethod]
        self._dhParameters = dhParameters
        self._clientCA = clientCA
        self.reload()

    def __getstate__(self) -> dict[str, object]:
        """Return what another process needs: it reads the files itself, with `reload`, before there is a context."""
        return {name: value for name, value in vars(self).items() if name != "context"}

    def reload(self) -> None:
        """Read the files, again; raise ValueError, and keep what was read before, where that's impossible."""
        context = makeContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = self._highest
        self._loadChain(context)
        if self._dhParameters:
            with loading(self._dhParameters):
                context.load_dh_params(self._dhParameters)
        if self._clientCA:
            with loading(self._clientCA):
                context.load_verify_locations(self._clientCA)
            context.verify_mode = ssl.CERT_REQUIRED
        self.context = context

    def _loadChain(self, context: ssl.SSLContext) -> None:
        """Load the certificates from one file, as OpenSSL wants it; in memory, because the disk may be read-only."""
        with loading(self._privateKey), os.fdopen(os.memfd_create("certificates"), "wb") as chain:
            for path in self._certificates:
                with loading(path):
                    # Of all in one it couldn't tell which file is bad.
                    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(path)
                    chain.write(Path(path).read_bytes() + b"\n")
            chain.flush()
            context.load_cert_chain(f"/proc/self/fd/{chain.fileno()}", self._privateKey, self._askNobody)

    def _askNobody(self) -> NoReturn:
        """OpenSSL would ask for a passphrase on the terminal, and wait."""
        raise ValueError(f"{self._privateKey}: the private key is encrypted")
