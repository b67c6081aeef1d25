"""Faults of a server's TLS, with the message for each."""

import subprocess
from pathlib import Path

from tests.support.authorities import Certificates
from tests.support.peers import need

FAULTS = [
    ("expired", "certificate has expired"),
    ("misnamed", "IP address mismatch, certificate is not valid for '127.0.0.1'"),
    ("stranger", "unable to get local issuer certificate"),
]

NO_TLS = [
    ("tutorial", "unexpected message; the server does not seem to speak TLS"),
    ("unchanged", "unexpected message; the server does not seem to speak TLS"),
    ("chatty", "wrong version number; the server does not seem to speak TLS"),
    ("short", "the server closed the connection"),
    ("resetting", "the server closed the connection"),
]
"""Servers that speak no TLS, with the message for the failed handshake with each."""


def faulty(certificates: Certificates, fault: str) -> str:
    """Write a certificate for 127.0.0.1 that has one of the FAULTS, and return its path."""
    identity = "elsewhere.example" if fault == "misnamed" else "127.0.0.1"
    return certificates.issue(f"faulty-{fault}", identity, expired=fault == "expired", other=fault == "stranger")


def makeSelfSigned(folder: Path) -> str:
    """Write a self-signed certificate with its key, made in the usual way, and return its path."""
    key, certificate, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost")
    names = ("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    subprocess.run(
        [need("openssl"), "req", "-x509", *kind, *names, "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
        timeout=60,
    )
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return str(both)
