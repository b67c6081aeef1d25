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

from echoup.tls.certificateinfo import CertificateInfo, fingerprints, parseCertificate


@dataclass(frozen=True)
class ChainCertificate:
    """One certificate of a chain; its texts come from outside."""

    info: CertificateInfo
    names: tuple[str, ...]
    """The names and addresses that it is for (subjectAltName; RFC 5280, 4.2.1.6)."""
    key: str
    """The type and size of its key: `RSA 2048`, `EC secp256r1`, `Ed25519`."""
    fingerprint: str
    """The SHA-256 of the certificate, as fingerprints of echoup.tls.certificateinfo returns it."""
    keyFingerprint: str
    """Likewise, of its public key."""
    isSelfSigned: bool
    """Whether it names itself as its issuer."""
    hasIssuerURL: bool
    """Whether it says where its issuer's certificate is to be had, as those of public authorities do."""
    issuerOrganization: str
    """The organization of its issuer; empty if it has none."""

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
    for der in chain:
        info = parseCertificate(der)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # as in echoup.tls.certificateinfo
                parsed = x509.load_der_x509_certificate(der)
                if info:
                    found.append(_describe(parsed, der, info))
        except Exception:  # cryptography raises many kinds, not all of them ValueErrors
            break
    return tuple(found)


def _describe(parsed: x509.Certificate, der: bytes, info: CertificateInfo) -> ChainCertificate:
    whole, key = fingerprints(der)
    alternatives = _extension(parsed, x509.SubjectAlternativeName)
    access = _extension(parsed, x509.AuthorityInformationAccess)
    organizations = parsed.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return ChainCertificate(
        info,
        tuple(str(name.value) for name in alternatives or ()),
        _describeKey(parsed),
        whole,
        key,
        parsed.subject == parsed.issuer,
        any(each.access_method == AuthorityInformationAccessOID.CA_ISSUERS for each in access or ()),
        str(organizations[0].value) if organizations else "",
    )


def _extension(parsed: x509.Certificate, kind: type[Any]) -> Any:
    try:
        return parsed.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _describeKey(parsed: x509.Certificate) -> str:
    key = parsed.public_key()
    if isinstance(key, RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    return type(key).__name__.removesuffix("PublicKey").lstrip("_")
