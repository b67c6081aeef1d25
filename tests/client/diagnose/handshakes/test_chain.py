"""What the certificates of a chain say."""

from datetime import UTC, datetime, timedelta

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.handshakes.chain import ChainCertificate, parseChain
from tests.support.certificates import inDER

NOW = datetime.now(UTC)
ISSUER = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])


def issue(key: ed25519.Ed25519PrivateKey, *extensions: x509.ExtensionType) -> bytes:
    """Return a self-signed certificate of `key`, in DER, that is valid for 60 days, 10 of which are left."""
    builder = x509.CertificateBuilder(ISSUER, ISSUER, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(NOW - timedelta(50)).not_valid_after(NOW + timedelta(10))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, None).public_bytes(Encoding.DER)


class ChainTests(SynchronousTestCase):
    """`parseChain` returns what reports show of certificates."""

    def parse(self, der: bytes) -> ChainCertificate:
        """Return the only certificate of a chain."""
        (found,) = parseChain([der])
        return found

    def test_keysAreNamed(self) -> None:
        """The type and size of a key are told."""
        authority = trustme.CA()
        for kind, expected in ((trustme.KeyType.RSA, "RSA 2048"), (trustme.KeyType.ECDSA, "EC secp256r1")):
            assert self.parse(inDER(authority.issue_cert("there", key_type=kind))).key == expected
        assert self.parse(issue(ed25519.Ed25519PrivateKey.generate())).key == "Ed25519"

    def test_namesAndOriginsAreTold(self) -> None:
        """A certificate has names, an organization that issued it, and perhaps an address of that one's certificate."""
        der = inDER(trustme.CA(organization_name="Ours").issue_cert("there.example", "192.0.2.1"))
        found = self.parse(der)
        assert found.names == ("there.example", "192.0.2.1")
        assert (found.issuerOrganization, found.isSelfSigned, found.hasIssuerURL) == ("Ours", False, False)
        where = x509.UniformResourceIdentifier("http://ca.example/ca.crt")
        access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, where)
        found = self.parse(issue(ed25519.Ed25519PrivateKey.generate(), x509.AuthorityInformationAccess([access])))
        assert (found.issuerOrganization, found.isSelfSigned, found.hasIssuerURL, found.names) == ("", True, True, ())

    def test_endIsNear(self) -> None:
        """The end is near if it comes within the days, and less than a third of the time is left."""
        found = self.parse(issue(ed25519.Ed25519PrivateKey.generate()))
        assert found.isBrief(NOW, 14)
        assert not found.isBrief(NOW, 9)
        assert not found.isBrief(NOW - timedelta(20), 60)

    def test_garbageEndsTheChain(self) -> None:
        """What can't be parsed, and what follows it, isn't described."""
        good = issue(ed25519.Ed25519PrivateKey.generate())
        assert len(parseChain([good, b"garbage", good])) == 1
        assert parseChain([]) == ()
