"""What the certificates of a chain say."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from echoup.escaping import LONGEST
from echoup.plurals import listed
from echoup.tls.certificateinfo import CertificateInfo, alternativeNames, fingerprints, parseCertificate


@dataclass(frozen=True)
class ChainCertificate:
    """One certificate of a chain; its texts come from outside."""

    info: CertificateInfo
    names: tuple[str, ...]
    """The names and addresses that it is for."""
    key: str
    """The type and size of its key: `RSA 2048`, `EC secp256r1`, `Ed25519`; `unknown` where it can't be read."""
    fingerprint: str
    """The SHA-256 of the certificate, as fingerprints of echoup.tls.certificateinfo returns it."""
    keyFingerprint: str
    """Likewise, of its public key."""
    hasIssuerURL: bool = False
    """Whether it says where its issuer's certificate is to be had, as those of public authorities do."""
    issuerOrganization: str = ""
    """The organization of its issuer; empty if it has none."""

    @property
    def subject(self) -> str:
        """Its subject, for people."""
        return _shortened(self.info.subject)

    @property
    def issuer(self) -> str:
        """Its issuer, for people."""
        return _shortened(self.info.issuer)

    @property
    def firstNames(self) -> str:
        """Its first names, for people."""
        return listed([_shortened(name) for name in self.names])

    @property
    def isSelfSigned(self) -> bool:
        """Whether it names itself as its issuer."""
        return self.info.subject == self.info.issuer

    def describe(self) -> str:
        """Return its names, its dates and its key in one line."""
        names = f", for {self.firstNames}" if self.names else ""
        valid = f"{self.info.notBefore:%Y-%m-%d} to {self.info.notAfter:%Y-%m-%d}"
        return f"{self.subject}{names}; issued by {self.issuer}; valid {valid}; {self.key}"

    def figures(self) -> dict[str, Any]:
        """Return the JSON values of it."""
        return {
            "subject": self.info.subject,
            "names": [*self.names],
            "issuer": self.info.issuer,
            "notBefore": self.info.notBefore.isoformat(),
            "notAfter": self.info.notAfter.isoformat(),
            "key": self.key,
            "sha256": self.fingerprint,
            "publicKeySha256": self.keyFingerprint,
        }

    def isBrief(self, now: datetime, days: float) -> bool:
        """Return whether it expires in less than `days`, and less than a third of its time is left.

        Certificates that live for some days only are renewed as late as that.
        """
        lifetime = self.info.notAfter - self.info.notBefore
        return self.info.daysLeft(now) < days and self.info.notAfter - now < lifetime / 3


def parseChain(chain: Sequence[bytes]) -> tuple[ChainCertificate, ...]:
    """Return what the certificates of `chain`, in DER, say, up to the first that can't be parsed."""
    found: list[ChainCertificate] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in echoup.tls.certificateinfo
        for der in chain:
            try:
                found.append(_parse(der))
            except Exception:  # cryptography raises many kinds, not all of them ValueErrors
                break
    return tuple(found)


def _parse(der: bytes) -> ChainCertificate:
    parsed = x509.load_der_x509_certificate(der)
    info = parseCertificate(der)
    if not info:
        raise ValueError("the certificate can't be parsed")
    try:
        access = [*parsed.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value]
    except x509.ExtensionNotFound:
        access = []
    organizations = parsed.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return ChainCertificate(
        info,
        tuple(alternativeNames(parsed)),
        _describeKey(parsed),
        *fingerprints(der),
        any(each.access_method == AuthorityInformationAccessOID.CA_ISSUERS for each in access),
        str(organizations[0].value) if organizations else "",
    )


def _describeKey(parsed: x509.Certificate) -> str:
    try:
        key = parsed.public_key()
    except Exception:  # as above
        return "unknown"
    if isinstance(key, RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    return type(key).__name__.removesuffix("PublicKey").lstrip("_")


def _shortened(text: str) -> str:
    """Return `text`, or its beginning: a certificate may have names of any length, or none."""
    return text if 0 < len(text) <= LONGEST else f"{text[:LONGEST]}…" if text else "no name"
