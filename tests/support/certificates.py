"""Certificates for the tests: valid ones, and some that must be refused."""

import ssl
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from trustme import CA, LeafCert

VERSIONS = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
"""The versions of TLS that echoup speaks."""

NAME = "there.example"
"""A name in the server's certificate, in addition to localhost, 127.0.0.1 and ::1."""


def writeCertificates(directory: Path) -> None:
    """Write PEM files into `directory`: `ca.pem`, to be trusted, and certificates that it signs.

    `server`, `expired`, `other` (for another name) and `client` each have `.key`, `.crt`, and `.pem` with both;
    `encrypted.key` is the client's, with a passphrase.
    """
    ca = CA()
    ca.cert_pem.write_to_path(directory / "ca.pem")
    names = [NAME, "localhost", "127.0.0.1", "::1"]
    for name, leaf in {
        "server": ca.issue_cert(*names),
        "expired": ca.issue_cert(*names, not_after=datetime(2001, 1, 1, tzinfo=UTC)),
        "other": ca.issue_cert("elsewhere.example"),
        "client": ca.issue_cert("client.example"),
    }.items():
        leaf.private_key_pem.write_to_path(directory / f"{name}.key")
        leaf.cert_chain_pems[0].write_to_path(directory / f"{name}.crt")
        leaf.private_key_and_cert_chain_pem.write_to_path(directory / f"{name}.pem")
    key = load_pem_private_key((directory / "client.key").read_bytes(), None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (directory / "encrypted.key").write_bytes(encrypted)


def serverContext(directory: Path, name: str = "server") -> ssl.SSLContext:
    """Return a server's context with the named certificate of `directory`; a client's certificate is optional."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / f"{name}.pem")
    context.load_verify_locations(directory / "ca.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


@cache
def contexts(version: ssl.TLSVersion, demanding: bool = False) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a client's context and a server's; a demanding server requires a certificate, and the client has none."""
    client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as name:
        writeCertificates(Path(name))
        client.load_verify_locations(f"{name}/ca.pem")
        server.load_verify_locations(f"{name}/ca.pem")
        server.load_cert_chain(f"{name}/server.pem")
    for context in (client, server):
        context.minimum_version = context.maximum_version = version
    if demanding:
        server.verify_mode = ssl.CERT_REQUIRED
    return client, server


def inDER(leaf: LeafCert) -> bytes:
    """Return the certificate of `leaf` in DER."""
    return x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).public_bytes(Encoding.DER)
