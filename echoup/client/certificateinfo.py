"""A server's certificate: whose it is, and how long it is good."""

import warnings
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

NAMES = 3
"""Of a certificate that has its names only as alternatives, so many are shown."""


@dataclass(frozen=True)
class CertificateInfo:
    """What a person wants to know of a certificate; the names are foreign text."""

    subject: str
    """As RFC 4514 writes it; where it is empty, as modern ones are, the first of the alternative names."""
    issuer: str
    notBefore: datetime
    """From when on it is valid, in UTC."""
    notAfter: datetime
    """When it expires, in UTC."""

    def daysLeft(self, now: datetime) -> float:
        """Return how many days it is good for; negative if it has expired."""
        return (self.notAfter - now) / timedelta(days=1)


def parseCertificate(der: bytes) -> CertificateInfo | None:
    """Return what a certificate in DER says; None if it can't be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a certificate that isn't as it should be is no concern of the user's
            parsed = x509.load_der_x509_certificate(der)
            subject = parsed.subject.rfc4514_string() or _alternatives(parsed)
            issuer = parsed.issuer.rfc4514_string()
            return CertificateInfo(subject, issuer, parsed.not_valid_before_utc, parsed.not_valid_after_utc)
    except Exception:  # there are many kinds, not all of them ValueErrors
        return None


def _alternatives(parsed: x509.Certificate) -> str:
    """Return the first names of the extension subjectAltName (RFC 5280, 4.2.1.6); empty if it isn't there."""
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    return ", ".join(str(name.value) for name in list(names)[:NAMES])
