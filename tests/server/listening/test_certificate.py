"""A certificate is read from every form that its files may have, and can be read again."""

import contextlib
import os
import pickle
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from twisted.trial.unittest import SynchronousTestCase

from echoup.server.listening.certificate import ServerCertificate
from echoup.tls.certificateinfo import parseCertificate
from echoup.tls.context import FileError
from tests.support.certificates import VERSIONS, inDER
from tests.support.descriptors import fewDescriptors, keepsDescriptors
from tests.support.doubles import raised
from tests.support.tlspeer import connectInMemory


class CertificateTestCase(SynchronousTestCase):
    """A test with a folder of files, the root that signed them, and clients that trust it."""

    def setUp(self) -> None:
        """Make the folder, and a certificate signed by an authority between it and the root."""
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.root = trustme.CA()
        self.between = self.root.create_child_ca()
        self.leaf = self.between.issue_cert("localhost")

    def file(self, name: str, *contents: bytes | trustme.Blob) -> str:
        """Write a file, and return its path."""
        path = self.folder / name
        path.write_bytes(b"".join(content if isinstance(content, bytes) else content.bytes() for content in contents))
        return str(path)

    def server(self, name: str = "server.pem") -> str:
        """Write a certificate with its chain and its key into a file, and return its path."""
        return self.file(name, self.leaf.private_key_pem, *self.leaf.cert_chain_pems)

    def client(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        """Return the context of a client that trusts only the root."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = context.maximum_version = version
        self.root.configure_trust(context)
        return context

    def refusal(self, *arguments: str, **named: str) -> str:
        """Return the words with which a certificate is refused; it is one line that names a file by its whole path."""
        error = raised(FileError, lambda: ServerCertificate(*arguments, **named))
        assert error is not None
        path, _, words = str(error).removeprefix(f"{self.folder}/").partition(": ")
        assert str(error) == f"{self.folder}/{path}: {words}"
        assert error.paths == (f"{self.folder}/{path}",)
        assert words.isprintable()
        return f"{path}: {words}"


class FormTests(CertificateTestCase):
    """A certificate may come in all forms that Twisted's `ssl:` endpoint knows, and is used with good TLS only."""

    def chainOf(self, certificate: ServerCertificate) -> int:
        """Let a client that trusts only the root connect, and return how many certificates it was sent."""
        for version in VERSIONS:
            near, _ = connectInMemory(self.client(version), certificate.context)
            assert near.version() == version.name.replace("_", ".")
        return len(near._sslobj.get_unverified_chain())  # type: ignore[attr-defined]  # public from Python 3.13 on

    def test_oneFileHoldsEverything(self) -> None:
        """Key, certificate and chain may be in one file, with the key first or last."""
        assert self.chainOf(ServerCertificate(self.server())) == 2
        other = self.file("other.pem", *self.leaf.cert_chain_pems, self.leaf.private_key_pem)
        assert self.chainOf(ServerCertificate(other)) == 2

    def test_keyInItsOwnFile(self) -> None:
        """The key may be in a file of its own; the chain in the certificate's file is sent whole."""
        key = self.file("key.pem", self.leaf.private_key_pem)
        chain = self.file("chain.pem", *self.leaf.cert_chain_pems)
        assert self.chainOf(ServerCertificate(key, chain)) == 2
        assert self.chainOf(ServerCertificate(certKey=chain, privateKey=key)) == 2

    def test_chainInItsOwnFile(self) -> None:
        """The certificates up to the root may be in a third file, also if the last line of each file isn't ended."""
        certificate, between = (blob.bytes().rstrip() for blob in self.leaf.cert_chain_pems)
        key = self.file("key.pem", self.leaf.private_key_pem)
        paths = key, self.file("certificate.pem", certificate)
        assert self.chainOf(ServerCertificate(*paths, extraCertChain=self.file("between.pem", between))) == 2
        one = self.file("one.pem", self.leaf.private_key_pem, certificate)
        assert self.chainOf(ServerCertificate(one, extraCertChain=self.file("between.pem", between))) == 2

    def test_defaultFile(self) -> None:
        """Without arguments everything is in server.pem in the current folder."""
        self.server()
        with contextlib.chdir(self.folder):
            assert self.chainOf(ServerCertificate()) == 2

    def test_textBetweenBlocksIsIgnored(self) -> None:
        """Text between the blocks of a file is ignored, in any encoding."""
        first, second = (blob.bytes() for blob in self.leaf.cert_chain_pems)
        noise = b"subject=\xff\n"
        path = self.file("server.pem", noise, self.leaf.private_key_pem, noise, first, noise, second, noise)
        assert self.chainOf(ServerCertificate(path)) == 2

    def test_otherCiphersAreRefused(self) -> None:
        """A client of TLS 1.2 that offers no ECDHE with authenticated encryption isn't served."""
        self.leaf = self.between.issue_cert("localhost", key_type=trustme.KeyType.RSA)
        context = ServerCertificate(self.server()).context
        for ciphers in ("DHE-RSA-AES128-GCM-SHA256", "AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256"):
            client = self.client(ssl.TLSVersion.TLSv1_2)
            client.set_ciphers(ciphers)
            error = raised(ssl.SSLError, connectInMemory, client, context)
            assert error is not None
            assert error.reason == "NO_SHARED_CIPHER"
        client = self.client(ssl.TLSVersion.TLSv1_2)
        client.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
        connectInMemory(client, context)

    def test_oldClientIsRefused(self) -> None:
        """A client that offers TLS 1.1 at most isn't served, with any ciphers."""
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.root.configure_trust(client)
        client.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # because it is what it is
            client.minimum_version = ssl.TLSVersion.TLSv1
            client.maximum_version = ssl.TLSVersion.TLSv1_1
        error = raised(ssl.SSLError, connectInMemory, client, ServerCertificate(self.server()).context)
        assert error is not None
        assert error.reason == "UNSUPPORTED_PROTOCOL"

    def test_renegotiationIsOff(self) -> None:
        """A client can't begin another handshake in the middle of the stream, as TLS 1.2 allows."""
        assert ServerCertificate(self.server()).context.options & ssl.OP_NO_RENEGOTIATION

    def test_intermediateClientAuthority(self) -> None:
        """The authority for clients may be an intermediate one; clients that its root signed are then refused."""
        between = self.root.create_child_ca()
        context = ServerCertificate(self.server(), clientCA=self.file("clients.pem", between.cert_pem)).context
        for version in VERSIONS:
            client = self.client(version)
            between.issue_cert("client@example.org").configure_cert(client)
            connectInMemory(client, context)
            client = self.client(version)
            self.root.issue_cert("client@example.org").configure_cert(client)
            assert raised(ssl.SSLCertVerificationError, connectInMemory, client, context)

    def test_clientNeedsACertificate(self) -> None:
        """With an authority for clients, a client needs a certificate that it signed."""
        clients, others = trustme.CA(), trustme.CA()
        path = self.file("clients.pem", others.cert_pem, clients.cert_pem)
        context = ServerCertificate(self.server(), clientCA=path).context
        for version in VERSIONS:
            for authority in (clients, others):
                client = self.client(version)
                authority.issue_cert("client@example.org").configure_cert(client)
                connectInMemory(client, context)
            client = self.client(version)
            assert raised(ssl.SSLError, connectInMemory, client, context)
            self.root.issue_cert("client@example.org").configure_cert(client)
            assert raised(ssl.SSLCertVerificationError, connectInMemory, client, context)


class SessionTests(CertificateTestCase):
    """A client may resume its session, and is let in only if a full handshake would let it in."""

    def clients(self) -> Iterator[ssl.SSLContext]:
        """Yield clients that keep sessions: in tickets, and in the server's memory, which only TLS 1.2 does."""
        for version in VERSIONS:
            yield self.client(version)
        client = self.client(ssl.TLSVersion.TLSv1_2)
        client.options |= ssl.OP_NO_TICKET
        yield client

    def test_sessionIsResumed(self) -> None:
        """A session is resumed, and so is the one that a resumption leaves."""
        context = ServerCertificate(self.server()).context
        for client in self.clients():
            ends = [connectInMemory(client, context)]  # OpenSSL forgets a session that is freed before its close_notify
            for _ in range(3):
                ends.append(connectInMemory(client, context, session=ends[-1][0].session))
                assert all(end.session_reused for end in ends[-1])

    def test_sessionOfAnotherContextIsNotResumed(self) -> None:
        """With a session of another worker or certificate, or from before a reload, the handshake is a full one."""
        certificate = ServerCertificate(self.server())
        other = ServerCertificate(self.server())
        copy = pickle.loads(pickle.dumps(certificate))  # noqa: S301  # our own
        for client in self.clients():
            first = connectInMemory(client, certificate.context)
            certificate.reload()
            for context in (certificate.context, other.context, copy.context):
                near, _ = connectInMemory(client, context, session=first[0].session)
                assert not near.session_reused

    def test_resumedClientKeepsItsCertificate(self) -> None:
        """A client that had to have a certificate resumes with the same one."""
        authority = trustme.CA()
        context = ServerCertificate(self.server(), clientCA=self.file("clients.pem", authority.cert_pem)).context
        for client in self.clients():
            authority.issue_cert("client@example.org").configure_cert(client)
            near, far = connectInMemory(client, context)
            assert far.getpeercert(binary_form=True)
            again, resumed = connectInMemory(client, context, session=near.session)
            assert again.session_reused
            assert resumed.getpeercert(binary_form=True) == far.getpeercert(binary_form=True)

    def test_sessionWithoutACertificateLetsNobodyIn(self) -> None:
        """A session of an address that demands no certificate is worth nothing at one that does."""
        authority = trustme.CA()
        anyone = ServerCertificate(self.server()).context
        certified = ServerCertificate(self.server(), clientCA=self.file("clients.pem", authority.cert_pem)).context
        for client in self.clients():
            first = connectInMemory(client, anyone)
            assert raised(ssl.SSLError, connectInMemory, client, certified, "localhost", first[0].session)

    def test_sessionEndsWithItsAuthority(self) -> None:
        """A session of a client that the new authority did not sign is worth nothing after the reload."""
        old, new = trustme.CA(), trustme.CA()
        for client in self.clients():
            certificate = ServerCertificate(self.server(), clientCA=self.file("clients.pem", old.cert_pem))
            old.issue_cert("client@example.org").configure_cert(client)
            first = connectInMemory(client, certificate.context)
            self.file("clients.pem", new.cert_pem)
            certificate.reload()
            refused = (connectInMemory, client, certificate.context, "localhost", first[0].session)
            assert raised(ssl.SSLCertVerificationError, *refused)


class MistakeTests(CertificateTestCase):
    """A file that can't be used is refused in one line that names it."""

    def setUp(self) -> None:
        """Write files of which each is right for one argument at the most."""
        super().setUp()
        self.server()
        self.file("key.pem", self.leaf.private_key_pem)
        self.file("certificate.pem", self.leaf.cert_chain_pems[0])
        self.file("empty.pem")
        self.file("garbage.pem", b"-----BEGIN CERTIFICATE-----\nabcd\n-----END CERTIFICATE-----\n")
        self.file("torn.pem", self.leaf.cert_chain_pems[0].bytes()[:-30])
        self.file("text.pem", b"hello\n\0\xff")
        Path(self.folder, "folder.pem").mkdir()
        os.mkfifo(self.folder / "pipe.pem")  # to open it would wait for a writer, forever

    def path(self, name: str) -> str:
        """Return the path of a file in the folder."""
        return f"{self.folder}/{name}.pem"

    def test_unusableFileIsNamed(self) -> None:
        """For each argument, a file that is missing, not a regular one or of another format is refused."""
        reasons = {
            "missing": "No such file or directory",
            "folder": "not a regular file",
            "pipe": "not a regular file",
            "empty": "",
            "text": "",
            "garbage": "",
        }
        server, key, certificate = map(self.path, ("server", "key", "certificate"))
        for name, reason in reasons.items():
            path = self.path(name)
            for refusal in (
                self.refusal(path),
                self.refusal(path, certificate),
                self.refusal(key, path),
                self.refusal(server, extraCertChain=path),
                self.refusal(server, clientCA=path),
            ):
                assert refusal.startswith(f"{name}.pem: {reason}")
                assert refusal != f"{name}.pem: "

    def test_misplacedFileIsNamed(self) -> None:
        """A file of the right format for another argument is refused."""
        server, key, certificate, torn = map(self.path, ("server", "key", "certificate", "torn"))
        assert self.refusal(key) == "key.pem: no certificate in it"
        assert self.refusal(key, key) == "key.pem: no certificate in it"
        assert self.refusal(certificate) == "certificate.pem: no usable private key in it"
        assert self.refusal(key, torn) == "torn.pem: no usable certificate in it"
        assert self.refusal(server, extraCertChain=key) == "key.pem: no certificate in it"
        assert self.refusal(server, extraCertChain=torn) == "torn.pem: no usable certificate in it"
        assert self.refusal(server, clientCA=key) == "key.pem: no certificate in it"

    def test_mismatchedKeyIsNamed(self) -> None:
        """A key that doesn't fit the certificate is refused."""
        other = self.file("other.pem", self.between.issue_cert("localhost").private_key_pem)
        assert self.refusal(other, self.path("certificate")) == "other.pem: the key does not match the certificate"

    def test_encryptedKeyIsNamed(self) -> None:
        """An encrypted key is refused, in both formats, because a daemon can't ask for a passphrase."""
        key = load_pem_private_key(self.leaf.private_key_pem.bytes(), None)
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            pem = key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret"))
            path = self.file("encrypted.pem", pem)
            both = self.file("both.pem", pem, *self.leaf.cert_chain_pems)
            assert self.refusal(path, self.path("certificate")) == "encrypted.pem: the private key is encrypted"
            assert self.refusal(both) == "both.pem: the private key is encrypted"

    def test_unreadableFileIsNamed(self) -> None:
        """A file that can't be opened is told in the system's words."""
        link = Path(self.folder, "loop.pem")
        link.symlink_to(link)
        assert self.refusal(str(link)) == "loop.pem: Too many levels of symbolic links"

    def test_removedFolder(self) -> None:
        """In a folder that was removed, a relative path names no file."""
        self.addCleanup(os.chdir, Path.cwd())
        with TemporaryDirectory() as folder:
            os.chdir(folder)
        assert str(raised(ValueError, ServerCertificate, "key.pem")) == "key.pem: No such file or directory"


class ReloadTests(CertificateTestCase):
    """The files can be read again."""

    def subject(self, certificate: ServerCertificate) -> object:
        """Return the serial number of the certificate that a new connection is shown."""
        near, _ = connectInMemory(self.client(), certificate.context)
        shown = near.getpeercert()
        assert shown is not None
        return shown["serialNumber"]

    def test_newConnectionsGetTheNewFiles(self) -> None:
        """New connections get the new certificate, and open ones go on."""
        certificate = ServerCertificate(self.server())
        old = connectInMemory(self.client(), certificate.context)
        before = self.subject(certificate)
        self.leaf = self.between.issue_cert("localhost")
        self.server()
        assert self.subject(certificate) == before
        certificate.reload()
        assert self.subject(certificate) != before
        old[1].write(b"hello")
        assert old[0].read(5) == b"hello"

    def test_factsAreThoseOfWhatWasReadLast(self) -> None:
        """The facts are those of the certificate itself, not of its chain, as it was read last."""
        key = self.file("key.pem", self.leaf.private_key_pem)
        certificate = ServerCertificate(key, self.file("chain.pem", *self.leaf.cert_chain_pems))
        assert certificate.info == parseCertificate(inDER(self.leaf))
        self.file("chain.pem", b"oops")
        assert raised(FileError, certificate.reload)
        assert certificate.info == parseCertificate(inDER(self.leaf))
        self.leaf = self.between.issue_cert("localhost")
        self.file("key.pem", self.leaf.private_key_pem)
        self.file("chain.pem", *self.leaf.cert_chain_pems)
        certificate.reload()
        copy = pickle.loads(pickle.dumps(certificate))  # noqa: S301  # our own
        assert certificate.info == copy.info == parseCertificate(inDER(self.leaf))

    def test_clientAuthorityIsReadAgain(self) -> None:
        """The authority for clients is read again, too."""
        clients, others = trustme.CA(), trustme.CA()
        certificate = ServerCertificate(self.server(), clientCA=self.file("clients.pem", clients.cert_pem))
        client = self.client()
        others.issue_cert("client@example.org").configure_cert(client)
        assert raised(ssl.SSLCertVerificationError, connectInMemory, client, certificate.context)
        self.file("clients.pem", others.cert_pem)
        certificate.reload()
        connectInMemory(client, certificate.context)

    def test_failureKeepsTheOldCertificate(self) -> None:
        """Files that can't be used leave the certificate as it was, until they are put right."""
        certificate = ServerCertificate(self.server())
        before = self.subject(certificate)
        other = trustme.CA().issue_cert("localhost").private_key_pem
        for content in (b"", b"oops", other.bytes(), other.bytes() + self.leaf.cert_chain_pems[0].bytes()):
            self.file("server.pem", content)
            assert str(raised(ValueError, certificate.reload)).startswith(f"{self.folder}/server.pem: ")
            assert self.subject(certificate) == before
        Path(self.folder, "server.pem").unlink()
        assert raised(ValueError, certificate.reload)
        assert self.subject(certificate) == before
        self.leaf = self.between.issue_cert("localhost")
        self.server()
        certificate.reload()
        assert self.subject(certificate) != before

    def test_pathsAreAbsolute(self) -> None:
        """The files stay the same when the process goes to another folder."""
        self.server()
        with contextlib.chdir(self.folder):
            certificate = ServerCertificate(certKey="server.pem", extraCertChain="server.pem")
        before = self.subject(certificate)
        self.leaf = self.between.issue_cert("localhost")
        self.server()
        certificate.reload()
        assert self.subject(certificate) != before
        Path(self.folder, "server.pem").unlink()
        assert str(raised(ValueError, certificate.reload)) == "server.pem: No such file or directory"

    def test_pickleHasWhatWasRead(self) -> None:
        """A process that unpickles it has what was read last, also if the files have changed; no disk has a copy."""
        clients = trustme.CA()
        paths = [self.file("clients.pem", clients.cert_pem), self.server()]
        certificate = ServerCertificate(paths[1], clientCA=paths[0])
        self.leaf = self.between.issue_cert("localhost")
        self.server()
        certificate.reload()
        for path in paths:
            Path(path).write_bytes(b"oops")
        assert raised(ValueError, certificate.reload)
        copy = pickle.loads(pickle.dumps(certificate))  # noqa: S301  # our own
        client = self.client()
        assert raised(ssl.SSLError, connectInMemory, client, copy.context)
        clients.issue_cert("client@example.org").configure_cert(client)
        certificates = [connectInMemory(client, one.context)[0].getpeercert() for one in (certificate, copy)]
        assert certificates[0] == certificates[1]
        self.leaf.cert_chain_pems[0].write_to_path(paths[0])
        self.server()
        copy.reload()
        assert {path.name for path in self.folder.iterdir()} == {"clients.pem", "server.pem"}

    def test_reloadWithoutDescriptors(self) -> None:
        """A reload without a free descriptor fails, and leaves the certificate as it was."""
        certificate = ServerCertificate(self.server())
        before = self.subject(certificate)
        for spare in range(2):
            with fewDescriptors(spare):
                error = raised(ValueError, certificate.reload)
            assert str(error) == f"{self.folder}/server.pem: Too many open files"
        assert self.subject(certificate) == before
        certificate.reload()

    def test_readingLeavesNoDescriptor(self) -> None:
        """Reading leaves no descriptor open, whether or not it succeeds."""
        with keepsDescriptors():
            certificate = ServerCertificate(self.server())
            self.file("server.pem", self.leaf.private_key_pem)
            assert raised(ValueError, certificate.reload)


class DamageTests(CertificateTestCase):
    """A file of the right format may be damaged."""

    def test_reversedLineIsRefused(self) -> None:
        """A certificate with a line reversed is refused, although its key is good."""
        lines = self.leaf.cert_chain_pems[0].bytes().splitlines(keepends=True)
        lines[3] = lines[3].strip()[::-1] + b"\n"
        path = self.file("damaged.pem", self.leaf.private_key_pem, b"".join(lines))
        assert self.refusal(path).startswith("damaged.pem: ")
