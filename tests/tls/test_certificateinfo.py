"""What the reports show of a certificate."""

from datetime import timedelta
from hashlib import sha256
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generateRSAKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from trustme import CA
from twisted.trial.unittest import SynchronousTestCase

from echoup.tls.certificateinfo import CertificateInfo, fingerprints, parseCertificate, parseFirstCertificate
from tests.support.certificates import inDER
from tests.support.properties import damaged, given, st
from tests.support.samples import BEGINNING, NOW, RIGHT


def nameless(*alternatives: x509.GeneralName) -> bytes:
    """Return a certificate in DER without a subject, and with alternative names or without."""
    key, nobody = generate_private_key(SECP256R1()), x509.Name([])
    builder = x509.CertificateBuilder(nobody, nobody, key.public_key(), 1, NOW, NOW)
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=True)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


class CertificateTests(SynchronousTestCase):
    """`parseCertificate` reads the names and the dates of a certificate."""

    def test_namesAndDatesAreRead(self) -> None:
        """A certificate has its subject, its issuer, and the times from which and to which it is valid."""
        certificate = parseCertificate(inDER(RIGHT))
        assert certificate is not None
        assert certificate.subject.startswith("OU=Testing cert")
        assert certificate.issuer.startswith("OU=Testing CA")
        assert certificate.issuer.endswith(",O=Us")
        assert certificate.notBefore == BEGINNING
        assert certificate.notAfter == NOW + timedelta(days=3)

    def test_daysLeftOfExpiredAreNegative(self) -> None:
        """The days that are left are negative when it has expired."""
        certificate = CertificateInfo("a", "b", NOW, NOW)
        assert certificate.daysLeft(NOW - timedelta(hours=36)) == 1.5
        assert certificate.daysLeft(NOW + timedelta(hours=36)) == -1.5

    def test_invalidAtTheTimeIsAProblem(self) -> None:
        """Before and after the time in which it is valid, the problem is told, with the day in UTC."""
        certificate = CertificateInfo("a", "b", BEGINNING, NOW)
        for now, problem in (
            (BEGINNING - timedelta(seconds=1), "is not valid before 2029-12-02"),
            (BEGINNING, ""),
            (NOW, ""),
            (NOW + timedelta(seconds=1), "expired on 2030-01-01"),
        ):
            assert certificate.problem(now) == problem

    def test_firstOfAFileIsRead(self) -> None:
        """Of a PEM file with text, a key and several certificates, the first certificate is read."""
        first = RIGHT.cert_chain_pems[0].bytes()
        other = CA().cert_pem.bytes()
        pem = b"subject=\xff\n" + RIGHT.private_key_pem.bytes() + b"between\n" + first + other
        assert parseFirstCertificate(pem) == parseCertificate(inDER(RIGHT))
        assert parseFirstCertificate(RIGHT.private_key_pem.bytes()) is None

    def test_alternativeNamesReplaceEmptySubject(self) -> None:
        """Where the subject is empty, the first alternative names of any kind replace it."""
        names = [x509.DNSName("a.example"), x509.IPAddress(ip_address("::1")), x509.DNSName("b"), x509.DNSName("c")]
        certificate = parseCertificate(nameless(*names))
        assert certificate == CertificateInfo("a.example, ::1, b", "", NOW, NOW)
        assert parseCertificate(nameless()) == CertificateInfo("", "", NOW, NOW)

    @given(st.data())
    def test_damagedIsReadOrNone(self, data: st.DataObject) -> None:
        """A damaged certificate is read, or is None; nothing is raised, and no warning is given."""
        certificate = parseCertificate(damaged(data, inDER(RIGHT)))
        assert certificate is None or isinstance(certificate, CertificateInfo)

    def test_junkIsNone(self) -> None:
        """Bytes that are no certificate are None."""
        for junk in (b"", b"junk", inDER(RIGHT)[:-1]):
            assert parseCertificate(junk) is None


class FingerprintTests(SynchronousTestCase):
    """`fingerprints` returns those of a certificate and of its public key."""

    def test_eachKindOfKeyHasOne(self) -> None:
        """They are the hashes of the DER and of the key's, whatever its kind and however long its parts are."""
        elliptic = generate_private_key(SECP256R1())
        long = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a" * 60)] * 9)
        for key, algorithm in (
            (elliptic, SHA256()),
            (Ed25519PrivateKey.generate(), None),
            (generateRSAKey(65537, 2048), SHA256()),
        ):
            for name in (x509.Name([]), long):
                builder = x509.CertificateBuilder(name, name, key.public_key(), 2**150, NOW, NOW)
                der = builder.sign(key, algorithm).public_bytes(Encoding.DER)
                publicKey = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
                assert fingerprints(der) == tuple(f"sha256:{sha256(data).hexdigest()}" for data in (der, publicKey))

    @given(st.data())
    def test_damagedHasItsOwn(self, data: st.DataObject) -> None:
        """A damaged certificate has a fingerprint, and maybe a public key; nothing is raised."""
        der = damaged(data, inDER(RIGHT))
        whole, publicKey = fingerprints(der)
        assert whole == f"sha256:{sha256(der).hexdigest()}"
        assert publicKey == "" or publicKey.startswith("sha256:")

    def test_junkHasNoPublicKey(self) -> None:
        """Bytes that are no certificate have no public key."""
        for junk in (b"", b"0", b"junk", inDER(RIGHT)[:-1]):
            assert fingerprints(junk)[1] == ""
