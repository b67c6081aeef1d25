"""A server's certificate: its names, how long it is valid, and its fingerprints."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

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


def fingerprints(der: bytes) -> tuple[str, str]:
    """Return the SHA-256 of a certificate in DER and of its SubjectPublicKeyInfo, each as `sha256:` and hex digits.

    The second is what RFC 7469 pins, and is the same for a new certificate of the same key; it is empty if the
    certificate can't be parsed.
    """
    return _fingerprint(der), _fingerprint(publicKey) if (publicKey := _publicKeyOf(der)) else ""


def _fingerprint(der: bytes) -> str:
    return f"sha256:{sha256(der).hexdigest()}"


def _publicKeyOf(der: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of a certificate (RFC 5280, 4.1), as it is in it; empty if there is none.

    cryptography knows only some kinds of keys, and writes those that it knows anew.
    """
    try:
        (_, certificate), *_ = _elements(der)
        (_, signed), *_ = _elements(certificate)
        fields = [element for tag, element in _elements(signed, isWhole=True) if tag != _VERSION]
    except (IndexError, ValueError):
        return b""
    return fields[_PUBLIC_KEY] if len(fields) > _PUBLIC_KEY else b""


_VERSION = 0xA0
"""The tag of the only field of a TBSCertificate in front of the serial number that may be missing."""

_PUBLIC_KEY = 5
"""The fields after it: serial number, signature, issuer, validity, subject, and this."""


def _elements(der: bytes, *, isWhole: bool = False) -> Iterator[tuple[int, bytes]]:
    """Yield the tags and the contents of the elements in `der` (X.690, 8.1), or with `isWhole` the whole elements."""
    start = 0
    while start < len(der):
        length, begin = der[start + 1], start + 2
        if length >= 0x80:  # this many bytes have the length
            begin += length & 0x7F
            length = int.from_bytes(der[start + 2 : begin], "big")
        end = begin + length
        if end > len(der):
            raise ValueError("the element is cut")
        yield der[start], der[start if isWhole else begin : end]
        start = end


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
