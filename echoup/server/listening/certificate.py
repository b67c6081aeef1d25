"""The certificate that a TLS listener shows, and those that it asks for."""

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from echoup.tls.context import makeContext, naming

METHODS = {
    "TLS_METHOD": ssl.TLSVersion.MAXIMUM_SUPPORTED,
    "SSLv23_METHOD": ssl.TLSVersion.MAXIMUM_SUPPORTED,
    "TLSv1_2_METHOD": ssl.TLSVersion.TLSv1_2,
}
"""What `sslmethod=` may be, and the highest version of TLS that it admits; the lowest is always 1.2 (RFC 8996)."""


class ServerCertificate:
    """A server's certificate and private key, in files, and the TLS context made of them.

    What was read last stays in memory: another process that gets this, and can't read the files, or finds others there,
    has the same context all the same.
    """

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
        given = (privateKey, *self._certificates, *filter(None, (dhParameters, clientCA)))
        # The process may go to another folder (`twistd --rundir`), and reads them again there.
        self._paths = {path: Path(path).absolute() for path in given}
        self.reload()

    def __getstate__(self) -> dict[str, object]:
        """Return all but the context, which is nothing for another process."""
        return {name: value for name, value in vars(self).items() if name != "context"}

    def __setstate__(self, state: Mapping[str, object]) -> None:
        """Make the context anew, of what was read."""
        vars(self).update(state)
        self.context = self._makeContext(self._contents)

    def reload(self) -> None:
        """Read the files, again; raise ValueError, and keep what was read before, where that's impossible."""
        contents = {}
        for name, path in self._paths.items():
            with naming(name):
                contents[name] = path.read_bytes()
        self.context = self._makeContext(contents)
        self._contents = contents

    def _makeContext(self, contents: Mapping[str, bytes]) -> ssl.SSLContext:
        context = makeContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = self._highest
        for path in self._certificates:
            # Of all in one OpenSSL, which wants them so, couldn't tell which file is bad.
            with naming(path), _inFile(contents[path]) as file:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(file)
        chain, key = b"\n".join(contents[path] for path in self._certificates), contents[self._privateKey]
        with naming(self._privateKey), _inFile(chain) as chainFile, _inFile(key) as keyFile:
            context.load_cert_chain(chainFile, keyFile, self._askNobody)
        if self._dhParameters:
            with naming(self._dhParameters), _inFile(contents[self._dhParameters]) as file:
                context.load_dh_params(file)
        if self._clientCA:
            with naming(self._clientCA), _inFile(contents[self._clientCA]) as file:
                context.load_verify_locations(file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _askNobody(self) -> NoReturn:
        """OpenSSL would ask for a passphrase on the terminal, and wait."""
        raise ValueError(f"{self._privateKey}: the private key is encrypted")


@contextmanager
def _inFile(content: bytes) -> Iterator[str]:
    """Yield the path of a file with `content`, for OpenSSL; it's in memory: a private key is to be on no other disk."""
    with os.fdopen(os.memfd_create("certificate"), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"
