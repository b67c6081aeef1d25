"""TLS contexts: what they speak and trust, and one line that says what is wrong with a file or a peer."""

import ssl
from pathlib import Path
from tempfile import TemporaryDirectory

from trustme import CA, Blob
from twisted.trial.unittest import SynchronousTestCase

from echoup.tls.context import FileError, explain, makeContext, naming, refusePassphrase
from tests.support.certificates import NAME, contexts, writeCertificates
from tests.support.doubles import raised
from tests.support.tlspeer import connectInMemory


class NamingTests(SynchronousTestCase):
    """`naming` turns an error about files into one line that names them."""

    def setUp(self) -> None:
        """Write certificates and keys."""
        self.directory = Path(self.enterContext(TemporaryDirectory()))
        writeCertificates(self.directory)
        (self.directory / "empty").touch()

    def load(self, cert: str, key: str) -> None:
        """Load a certificate and its key."""
        paths = self.directory / cert, self.directory / key
        with naming(*paths):
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*paths, refusePassphrase)

    def test_matchingFilesAreLoaded(self) -> None:
        """A certificate and its key raise nothing, in two files or in one."""
        self.load("server.crt", "server.key")
        self.load("server.pem", "server.pem")

    def test_unusableFilesAreNamed(self) -> None:
        """Files of which OpenSSL can't use one are both named, with its reason."""
        d = self.directory
        for cert, key, message in (
            ("server.crt", "client.key", f"{d}/server.crt and {d}/client.key: the key does not match the certificate"),
            ("server.crt", "empty", f"{d}/server.crt and {d}/empty: no usable certificate or private key in it"),
            ("empty", "server.key", f"{d}/empty and {d}/server.key: no usable certificate or private key in it"),
            ("server.crt", "encrypted.key", "the private key is encrypted"),
        ):
            assert str(raised(ValueError, self.load, cert, key)) == message

    def test_errorHasThePaths(self) -> None:
        """The error has the paths of the files that it is about, as they were given."""
        error = raised(FileError, self.load, "server.crt", "empty")
        assert error is not None
        assert error.paths == (f"{self.directory}/server.crt", f"{self.directory}/empty")

    def test_unreadableFileIsNamed(self) -> None:
        """A file that can't be read is named, with the system's reason."""

        def read(path: Path) -> None:
            with naming(path):
                path.read_bytes()

        for path, reason in (
            (self.directory / "nothing", "No such file or directory"),
            (self.directory, "Is a directory"),
        ):
            assert str(raised(ValueError, read, path)) == f"{path}: {reason}"


class ExplainTests(SynchronousTestCase):
    """`explain` returns the words of an error of TLS."""

    def test_alertsAreToldInWords(self) -> None:
        """An alert is told in OpenSSL's words, also one that Python has no name for."""
        for number, words in ((40, "sslv3 alert handshake failure"), (120, "tlsv1 alert no application protocol")):
            incoming = ssl.MemoryBIO()
            tls = contexts(ssl.TLSVersion.TLSv1_3)[0].wrap_bio(incoming, ssl.MemoryBIO(), server_hostname=NAME)
            raised(ssl.SSLWantReadError, tls.do_handshake)
            incoming.write(bytes([21, 3, 3, 0, 2, 2, number]))  # RFC 8446, 5.1 and 6: a fatal alert
            error = raised(ssl.SSLError, tls.do_handshake)
            assert error is not None
            assert explain(error) == words


class ContextTests(SynchronousTestCase):
    """`makeContext` speaks nothing weak, and trusts the certificates that it is given."""

    def setUp(self) -> None:
        """Make a chain of three: root, intermediate and leaf."""
        self.root = CA()
        self.intermediate = self.root.create_child_ca()
        self.leaf = self.intermediate.issue_cert(NAME)

    def context(self, protocol: int, *trusted: Blob) -> ssl.SSLContext:
        """Return a context of ours that shows the chain, trusts `trusted` and demands a certificate."""
        context = makeContext(protocol)
        self.leaf.configure_cert(context)
        for blob in trusted:
            context.load_verify_locations(cadata=blob.bytes().decode())
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def test_ciphersAreForwardSecretAndAuthenticated(self) -> None:
        """Every cipher has forward secrecy and authenticated encryption; AES-GCM with ECDHE is there in each form."""
        for protocol in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER):
            ciphers = makeContext(protocol).get_ciphers()
            assert all(cipher["aead"] for cipher in ciphers)
            assert {cipher["kea"] for cipher in ciphers} <= {"kx-any", "kx-ecdhe", "kx-dhe"}
            assert {cipher["auth"] for cipher in ciphers} <= {"auth-any", "auth-ecdsa", "auth-rsa"}
            names = {cipher["name"] for cipher in ciphers}
            for kind in ("ECDSA", "RSA"):
                assert {f"ECDHE-{kind}-AES{size}-GCM-SHA{hashed}" for size, hashed in ((128, 256), (256, 384))} <= names

    def test_securityLevelIsTheSystems(self) -> None:
        """The security level that the system configures for OpenSSL stays."""
        for protocol in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER):
            assert makeContext(protocol).security_level == ssl.SSLContext(protocol).security_level

    def test_peerWithoutStrongCipherIsRefused(self) -> None:
        """The handshake with a peer that has CBC ciphers only fails, on either side."""
        for weak in (0, 1):
            ends = self.context(ssl.PROTOCOL_TLS_CLIENT, self.root.cert_pem), self.context(ssl.PROTOCOL_TLS_SERVER)
            ends[1].verify_mode = ssl.CERT_NONE
            ends[weak].maximum_version = ssl.TLSVersion.TLSv1_2
            assert connectInMemory(*ends, NAME)[0].version() == "TLSv1.2"
            ends[weak].set_ciphers("ECDHE+AES:!AESGCM:!AESCCM")
            error = raised(ssl.SSLError, connectInMemory, *ends, NAME)
            assert error is not None
            assert error.reason == "NO_SHARED_CIPHER"

    def test_anyCertificateOfTheChainCanBeTrusted(self) -> None:
        """Each certificate of the chain, also the intermediate and the leaf, is enough to trust."""
        stranger = CA().cert_pem
        for blob in (self.root.cert_pem, self.intermediate.cert_pem, self.leaf.cert_chain_pems[0]):
            client = self.context(ssl.PROTOCOL_TLS_CLIENT, stranger, blob)
            ends = connectInMemory(client, self.context(ssl.PROTOCOL_TLS_SERVER, stranger, blob), NAME)
            assert ends[0].version() == "TLSv1.3"
            for unconvinced in (
                (self.context(ssl.PROTOCOL_TLS_CLIENT, stranger), self.context(ssl.PROTOCOL_TLS_SERVER, blob)),
                (client, self.context(ssl.PROTOCOL_TLS_SERVER, stranger)),
            ):
                assert raised(ssl.SSLCertVerificationError, connectInMemory, *unconvinced, NAME)

    def test_trustedLeafMustMatchTheName(self) -> None:
        """A server's own certificate, although trusted by itself, must be for the server's name."""
        client = self.context(ssl.PROTOCOL_TLS_CLIENT, self.leaf.cert_chain_pems[0])
        server = self.context(ssl.PROTOCOL_TLS_SERVER, self.root.cert_pem)
        error = raised(ssl.SSLCertVerificationError, connectInMemory, client, server, "elsewhere.example")
        assert "not valid for 'elsewhere.example'" in str(error)
