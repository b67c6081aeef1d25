"""A server's certificate: its names, how long it is valid, and its fingerprints."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

T = TypeVar("T")


@dataclass(frozen=True)
class CertificateInfo:
    """What reports show of a certificate; the names come from outside."""

    subject: str
    """In the form of RFC 4514; if it is empty, as in most modern certificates, the first alternative names."""
    issuer: str
    notBefore: datetime
    """When it becomes valid, in UTC."""
    notAfter: datetime
    """When it expires, in UTC."""

    def daysLeft(self, now: datetime) -> float:
        """Return the days from `now` until it expires; negative if it has expired."""
        return (self.notAfter - now) / timedelta(days=1)

    def problem(self, now: datetime) -> str:
        """Return why it isn't valid at `now`, with the date in UTC; empty if it is."""
        if now < self.notBefore:
            return f"is not valid before {self.notBefore:%Y-%m-%d}"
        return f"expired on {self.notAfter:%Y-%m-%d}" if now > self.notAfter else ""


def parseCertificate(der: bytes) -> CertificateInfo | None:
    """Return the facts of a certificate in DER; None if it can't be parsed."""
    return _parse(x509.load_der_x509_certificate, der)


def parseFirstCertificate(pem: bytes) -> CertificateInfo | None:
    """Return the facts of the first certificate of a PEM file; None if it can't be parsed."""
    return _parse(x509.load_pem_x509_certificate, pem)


def fingerprints(der: bytes) -> tuple[str, str]:
    """Return the SHA-256 of a certificate in DER and of its SubjectPublicKeyInfo, each as `sha256:` and hex digits.

    The second is what RFC 7469 pins, and is the same for a new certificate of the same key; it is empty if the
    certificate can't be parsed, or if cryptography doesn't know its kind of key.
    """
    return _fingerprint(der), _fingerprint(publicKey) if (publicKey := _read(_publicKey, der)) else ""


def _fingerprint(der: bytes) -> str:
    return f"sha256:{sha256(der).hexdigest()}"


def _publicKey(der: bytes) -> bytes:
    key = x509.load_der_x509_certificate(der).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _parse(load: Callable[[bytes], x509.Certificate], data: bytes) -> CertificateInfo | None:
    def info(data: bytes) -> CertificateInfo:
        parsed = load(data)
        subject = parsed.subject.rfc4514_string() or ", ".join(alternativeNames(parsed)[:3])  # some have hundreds
        issuer = parsed.issuer.rfc4514_string()
        return CertificateInfo(subject, issuer, parsed.not_valid_before_utc, parsed.not_valid_after_utc)

    return _read(info, data)


def _read(read: Callable[[bytes], T], data: bytes) -> T | None:
    """Return what `read` makes of the `data` of a certificate; None if it can't be parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cryptography warns of deviations that don't concern the user
            return read(data)
    except Exception:  # cryptography raises many kinds, not all of them ValueErrors
        return None


def alternativeNames(parsed: x509.Certificate) -> list[str]:
    """Return the names and addresses that a certificate is for (subjectAltName; RFC 5280, 4.2.1.6).

    Raise ValueError if the extensions can't be parsed.
    """
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names]
