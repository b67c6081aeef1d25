"""Certificates for the tests, signed by two authorities that are new in each run."""

from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from ssl import CERT_REQUIRED, PROTOCOL_TLS_CLIENT, SSLContext, TLSVersion

import trustme

TLS_1_2, TLS_1_3 = TLSVersion.TLSv1_2, TLSVersion.TLSv1_3


class Certificates:
    """A trusted authority, an untrusted one, and files with the certificates that they sign."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self._other = trustme.CA()
        self.authority = str(folder / "authority.pem")
        self._authority.cert_pem.write_to_path(self.authority)
        self.other = str(folder / "other.pem")
        self._other.cert_pem.write_to_path(self.other)

    @cached_property
    def server(self) -> str:
        """The path of a certificate for localhost and its addresses, with its key."""
        return self.issue("server", "localhost", "127.0.0.1", "::1")

    @cached_property
    def client(self) -> str:
        """The path of a client's certificate, with its key."""
        return self.issue("client", "client@example.org", commonName="client")

    @cached_property
    def stranger(self) -> str:
        """The path of a client's certificate from the untrusted authority, with its key."""
        return self.issue("stranger", "stranger@example.org", commonName="stranger", other=True)

    def issue(
        self,
        name: str,
        *identities: str,
        commonName: str | None = None,
        other: bool = False,
        expired: bool = False,
        keyType: trustme.KeyType = trustme.KeyType.ECDSA,
    ) -> str:
        """Write a new key and its certificate for `identities` into the file `name`.pem, and return its path."""
        authority = self._other if other else self._authority
        end = datetime.now(UTC) + timedelta(days=-1 if expired else 30)
        leaf = authority.issue_cert(
            *identities,
            common_name=commonName,
            not_before=end - timedelta(days=60),
            not_after=end,
            key_type=keyType,
        )
        path = str(self._folder / f"{name}.pem")
        leaf.private_key_and_cert_chain_pem.write_to_path(path)
        return path

    def context(self, version: TLSVersion = TLS_1_3, client: str | None = None) -> SSLContext:
        """Return a client's context that speaks `version` and trusts the authority."""
        context = SSLContext(PROTOCOL_TLS_CLIENT)
        context.minimum_version = context.maximum_version = version
        context.verify_mode = CERT_REQUIRED
        context.load_verify_locations(self.authority)
        if client:
            context.load_cert_chain(client)
        return context
