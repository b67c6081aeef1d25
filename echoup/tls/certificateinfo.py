"""A server's certificate: its names, and how long it is valid."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509


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


def _parse(load: Callable[[bytes], x509.Certificate], data: bytes) -> CertificateInfo | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cryptography warns of deviations that don't concern the user
            parsed = load(data)
            subject = parsed.subject.rfc4514_string() or _alternatives(parsed)
            issuer = parsed.issuer.rfc4514_string()
            return CertificateInfo(subject, issuer, parsed.not_valid_before_utc, parsed.not_valid_after_utc)
    except Exception:  # cryptography raises many kinds, not all of them ValueErrors
        return None


def _alternatives(parsed: x509.Certificate) -> str:
    """Return the first names of the extension subjectAltName (RFC 5280, 4.2.1.6); empty without one."""
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    return ", ".join(str(name.value) for name in list(names)[:3])  # some have hundreds
