"""The certificate that a TLS listener shows, and the authorities that sign its clients' certificates."""

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from errno import EINVAL
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from echoup.tls.context import makeContext, naming, refusePassphrase

if TYPE_CHECKING:
    from echoup.tls.certificateinfo import CertificateInfo

DEFAULT_KEY = "server.pem"
"""The default file of the private key, as in Twisted's `ssl:` endpoint."""


@dataclass(eq=False)
class ServerCertificate:
    """A server's certificate and private key, in PEM files, and the TLS context made of what was read last.

    The paths have the names of Twisted's `ssl:` endpoint. Without `certKey` the certificate is in the file of the key.
    The certificates between it and the root follow it there, or are in `extraCertChain`. With `clientCA`, clients must
    have a certificate signed by one in that file. Raise FileError for files that can't be used.

    A process that unpickles it makes the same context, even if it can't read the files, or if they have changed.
    """

    privateKey: str = DEFAULT_KEY
    certKey: str | None = None
    extraCertChain: str | None = None
    clientCA: str | None = None
    context: ssl.SSLContext = field(init=False)
    """For the next connection; those that are open keep theirs."""

    def __post_init__(self) -> None:
        self._certificates = [path for path in (self.file, self.extraCertChain) if path]
        paths = (self.privateKey, *self._certificates, *([self.clientCA] if self.clientCA else []))
        self._paths = {}
        for path in paths:
            with naming(path):
                # Absolute, because `reload` may run after the process went to another folder (`twistd --rundir`).
                self._paths[path] = Path(path).absolute()
        self.reload()
        _loadParser()

    @property
    def file(self) -> str:
        """The file with the certificate itself."""
        return self.certKey or self.privateKey

    @property
    def info(self) -> "CertificateInfo | None":
        """The facts of the certificate that was read last; None if only OpenSSL can parse it."""
        from echoup.tls.certificateinfo import parseFirstCertificate

        return parseFirstCertificate(self._contents[self.file])

    def __getstate__(self) -> dict[str, object]:
        """Return all but the context, which can't be pickled."""
        return {name: value for name, value in vars(self).items() if name != "context"}

    def __setstate__(self, state: Mapping[str, object]) -> None:
        """Make the context of what was read last."""
        vars(self).update(state)
        self.context = self._makeContext(self._contents)
        if self.clientCA:
            _loadParser()  # for the certificates of clients; without them a worker doesn't need it

    def reload(self) -> None:
        """Read the files again; if that is impossible, keep what was read before, and raise FileError."""
        contents = {}
        for name, path in self._paths.items():
            with naming(name):
                if not S_ISREG(path.stat().st_mode):
                    raise OSError(EINVAL, "not a regular file")  # to open a named pipe might block
                contents[name] = path.read_bytes()
        self.context = self._makeContext(contents)
        self._contents = contents

    def _makeContext(self, contents: Mapping[str, bytes]) -> ssl.SSLContext:
        context = makeContext(ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = 1  # each costs a client's first connection 13 us; a resumed session gets a new one
        for path in self._certificates:
            # OpenSSL wants them all in one file; each is tried alone first, so that the error names the bad one.
            with naming(path, missing="certificate"), _inFile(contents[path]) as file:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(file)
        chain, key = b"\n".join(contents[path] for path in self._certificates), contents[self.privateKey]
        # The certificates are good, so nothing but the key can be missing.
        with naming(self.privateKey, missing="private key"), _inFile(chain) as chainFile, _inFile(key) as keyFile:
            context.load_cert_chain(chainFile, keyFile, partial(refusePassphrase, self.privateKey))
        if self.clientCA:
            with naming(self.clientCA, missing="certificate"), _inFile(contents[self.clientCA]) as file:
                context.load_verify_locations(file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _loadParser() -> None:
    """Import what parses certificates: 45 ms and 9 MiB. Later it may be out of reach (`twistd --chroot`, `--uid`)."""
    import echoup.tls.certificateinfo  # noqa: F401


@contextmanager
def _inFile(content: bytes) -> Iterator[str]:
    """Yield the path of a file with `content`, for OpenSSL. The file is in memory: no disk gets a private key."""
    with os.fdopen(os.memfd_create("certificate"), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"
