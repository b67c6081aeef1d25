"""The check `tls`."""

import ssl
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import MSG_PEEK, socket
from tempfile import TemporaryDirectory

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.defer import Deferred

from echoup.client.diagnose.checks import handshake
from echoup.client.diagnose.checks.handshake import check
from echoup.client.diagnose.finding import Finding, Problem, Status
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.diagnose.scope import Scope
from echoup.client.exitcodes import ExitCode
from echoup.client.target.security import Security
from echoup.client.target.stream import StreamTarget
from echoup.tls.certificateinfo import fingerprints
from tests.support.doubles import ReactorTestCase
from tests.support.tlsserver import echo, servingTLS

NAME = "localhost"
NOW = datetime.now(UTC)
AUTHORITY = trustme.CA(organization_name="Ours")


def server(*names: str, authority: trustme.CA = AUTHORITY, days: tuple[float, float] = (-30, 60)) -> ssl.SSLContext:
    """Return the context of a server whose certificate is for `names`, and valid between those days from now."""
    leaf = authority.issue_cert(
        *(names or (NAME, "127.0.0.1")),
        not_before=NOW + timedelta(days[0]),
        not_after=NOW + timedelta(days[1]),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


class HandshakeCheckTests(ReactorTestCase):
    """The check `tls` of a server in this process."""

    def setUp(self) -> None:
        """Trust the authority."""
        super().setUp()
        self.patch(handshake, "BREATH", 0)
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.security = Security(cafile=self.write("ca.pem", AUTHORITY.cert_pem))

    def write(self, name: str, *blobs: trustme.Blob) -> str:
        """Write a PEM file, and return its path."""
        path = self.folder / name
        path.write_bytes(b"".join(blob.bytes() for blob in blobs))
        return str(path)

    def find(
        self,
        context: ssl.SSLContext,
        security: Security | None = None,
        host: str = NAME,
        serve: Callable[[socket, ssl.SSLContext], None] = echo,
        seconds: float = 0,
    ) -> tuple[PathUnderTest, Finding]:
        """Return the path and the finding for a server with `context`; let `seconds` pass as fast as they can."""
        with servingTLS(context, serve) as port:
            target = StreamTarget("", host, port, security or self.security)
            path = PathUnderTest(self.reactor, target, Scope())
            path.address = "127.0.0.1"
            finding = Deferred.fromCoroutine(check(path, lambda _: None))
            while seconds > 0 and not finding.called:
                self.reactor.advance(0.5, 0.5)
                seconds -= 0.5
            self.reactor.until(lambda: finding.called)
            self.reactor.turn()
        return path, self.successResultOf(finding)

    def assertFound(self, finding: Finding, *expected: tuple[Status, str]) -> Problem:
        """Check the status and cause of the problems, and return the first."""
        assert [(problem.status, problem.cause) for problem in finding.problems] == [*expected]
        for problem in finding.problems:
            assert problem.text
            assert problem.meaning
            assert problem.advice
            assert problem.status is not Status.FAIL or problem.code is not ExitCode.WRONG
        return finding.problems[0]

    def refused(self, context: ssl.SSLContext, cause: str, **keywords: object) -> Problem:
        """Check that the certificate isn't accepted, though it is shown, and that the path is usable otherwise."""
        path, finding = self.find(context, **keywords)  # type: ignore[arg-type]
        problem = self.assertFound(finding, (Status.FAIL, cause))
        assert problem.code is ExitCode.TLS_FAILED
        assert finding.summary == problem.text
        assert finding.figures["isTrusted"] is False
        assert finding.figures["chain"]
        assert path.obstacle == ""
        return problem

    def test_goodServerIsFine(self) -> None:
        """A good server has nothing against it, by name and by address."""
        path, finding = self.find(server())
        assert (finding.problems, path.obstacle) == ((), "")
        assert finding.summary.startswith("TLSv1.3 with TLS_AES_256_GCM_SHA384 in ")
        assert finding.summary.endswith(" trusted, for 60 more days; sessions are resumed")
        figures = finding.figures
        assert figures["versions"] == {"TLS 1.2": True, "TLS 1.3": True}
        assert figures["resumption"] == {"isOffered": True, "works": True}
        assert (figures["withoutName"], figures["withOtherName"]) == ("same certificate", "same certificate")
        assert (figures["serverName"], figures["protocol"], figures["isPinned"]) == (NAME, None, None)
        (leaf,) = figures["chain"]
        assert leaf["names"] == [NAME, "127.0.0.1"]
        _, finding = self.find(server(), host="127.0.0.1")
        assert finding.problems == ()
        assert (finding.figures["withoutName"], finding.figures["serverName"]) == (None, None)

    def test_chainIsPresented(self) -> None:
        """All certificates that the server sends are shown."""
        _, finding = self.find(server(authority=AUTHORITY.create_child_ca()))
        assert finding.problems == ()
        leaf, intermediate = finding.figures["chain"]
        assert leaf["issuer"] == intermediate["subject"]

    def test_missingIntermediateIsTold(self) -> None:
        """A server that sends its own certificate only, of an intermediate authority of the same organization."""
        intermediate = trustme.CA(AUTHORITY, path_length=0, organization_name="Ours")
        leaf = intermediate.issue_cert(NAME)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.write("leaf.pem", leaf.private_key_pem, leaf.cert_chain_pems[0]))
        problem = self.refused(context, "intermediate-missing")
        assert "fullchain.pem" in problem.advice

    def test_hugeCertificateIsDescribed(self) -> None:
        """A certificate whose subject fills most of what TLS takes is described, and its name is cut."""
        key = ed25519.Ed25519PrivateKey.generate()
        name = x509.Name([x509.NameAttribute(x509.ObjectIdentifier("1.2.3.4"), "ä" * 20000)])
        builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW - timedelta(1), NOW + timedelta(60))
        pem = builder.sign(key, None).public_bytes(Encoding.PEM)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.write("huge.pem", trustme.Blob(private), trustme.Blob(pem)))
        problem = self.refused(context, "certificate-self-signed")
        assert all(len(line) < 1000 for line in problem.seen)

    def test_unknownAuthorityIsTold(self) -> None:
        """A certificate of another authority is of an unknown one."""
        problem = self.refused(server(authority=trustme.CA(organization_name="Theirs")), "unknown-authority")
        assert "O=Theirs" in problem.text
        assert "--cafile" in problem.advice

    def test_selfSignedCertificateIsTold(self) -> None:
        """A self-signed certificate is named so."""
        authority = trustme.CA(organization_name="Theirs")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.write("self.pem", authority.private_key_pem, authority.cert_pem))
        assert "--cafile" in self.refused(context, "certificate-self-signed").advice

    def test_datesAreTold(self) -> None:
        """An expired certificate, and one that isn't valid yet, are told with the date."""
        problem = self.refused(server(days=(-30, -1)), "certificate-expired")
        assert f"expired on {NOW - timedelta(1):%Y-%m-%d}" in problem.text
        problem = self.refused(server(days=(1, 30)), "certificate-not-yet-valid")
        assert f"from {NOW + timedelta(1):%Y-%m-%d %H:%M} UTC on" in problem.text

    def test_namesAreTold(self) -> None:
        """A certificate for others is told with its names."""
        problem = self.refused(server("a.example", "b.example"), "certificate-wrong-name")
        assert problem.text == "the server's certificate is for a.example, b.example, not localhost"
        problem = self.refused(server("a.example"), "certificate-wrong-name", host="127.0.0.1")
        assert problem.text == "the server's certificate is for a.example, not 127.0.0.1"

    def test_endOfACertificateIsNear(self) -> None:
        """A certificate that ends within two weeks is a warning, unless it only lives for days."""
        _, finding = self.find(server(days=(-80, 10)))
        problem = self.assertFound(finding, (Status.WARN, "certificate-expires-soon"))
        assert problem.text.startswith("the server's certificate expires in 10.0 days, on ")
        _, finding = self.find(server(days=(-3, 4)))
        assert finding.problems == ()

    def test_pinIsMet(self) -> None:
        """The pin of the certificate, and that of its key, are met, also without any trust."""
        context = server()
        _, finding = self.find(context)
        (leaf,) = finding.figures["chain"]
        for pin in (leaf["sha256"], leaf["publicKeySha256"]):
            for security in (Security(cafile=self.security.cafile, pin=pin), Security(insecure=True, pin=pin)):
                _, finding = self.find(context, security)
                assert (finding.problems, finding.figures["isPinned"]) == ((), True)

    def test_pinIsNotMet(self) -> None:
        """A certificate that is trusted, and isn't the pinned one, may be an interception."""
        pin = fingerprints(x509.load_pem_x509_certificate(AUTHORITY.cert_pem.bytes()).public_bytes(Encoding.DER))[0]
        _, finding = self.find(server(), Security(cafile=self.security.cafile, pin=pin))
        problem = self.assertFound(finding, (Status.FAIL, "pin-mismatch"))
        assert problem.code is ExitCode.TLS_FAILED
        assert "intercepting" in problem.text
        _, finding = self.find(server(), Security(insecure=True, pin=pin))
        assert "intercepting" not in self.assertFound(finding, (Status.FAIL, "pin-mismatch")).text
        assert finding.figures["isTrusted"] is None

    def test_oneVersionOnly(self) -> None:
        """A server without TLS 1.3 is a note; one without TLS 1.2 is fine."""
        context = server()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        _, finding = self.find(context)
        self.assertFound(finding, (Status.NOTE, "no-tls-1.3"))
        assert finding.figures["versions"] == {"TLS 1.2": True, "TLS 1.3": False}
        context = server()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        _, finding = self.find(context)
        assert finding.problems == ()
        assert finding.figures["versions"] == {"TLS 1.2": False, "TLS 1.3": True}

    def test_oldVersionsOnly(self) -> None:
        """A server that has neither is told."""
        context = server()
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        path, finding = self.find(context)
        self.assertFound(finding, (Status.FAIL, "no-common-version"))
        assert path.obstacle == "no TLS handshake"

    def test_noCommonCipher(self) -> None:
        """A server with other ciphers only is told."""
        context = server()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE+AES256+SHA384:!AESGCM")
        _, finding = self.find(context)
        self.assertFound(finding, (Status.FAIL, "no-common-cipher"))

    def test_sessionsAreNotOffered(self) -> None:
        """A server that offers no session to resume is fine."""
        context = server()
        context.num_tickets = 0
        _, finding = self.find(context)
        assert finding.problems == ()
        assert finding.figures["resumption"] == {"isOffered": False, "works": False}

    def test_brokenResumptionIsTold(self) -> None:
        """A server that refuses the clients that resume a session is told."""
        context = server()
        connections: list[socket] = []

        def serve(connection: socket, context: ssl.SSLContext) -> None:
            connections.append(connection)
            if len(connections) <= 7:  # the first, and six that differ; sessions are resumed at the end
                echo(connection, context)

        _, finding = self.find(context, serve=serve)
        self.assertFound(finding, (Status.WARN, "resumption-fails"))

    def test_serverNameDecides(self) -> None:
        """Another certificate, or none, for a client that sends no name is a note."""
        other = server("other.example")

        def choose(tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
            if name != NAME:
                tls.context = other
            return None

        context = server()
        context.sni_callback = choose
        _, finding = self.find(context)
        self.assertFound(finding, (Status.NOTE, "server-name-needed"))
        assert (finding.figures["withoutName"], finding.figures["withOtherName"]) == ("other certificate",) * 2

        def refuse(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> int | None:
            return None if name == NAME else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

        context.sni_callback = refuse
        _, finding = self.find(context)
        self.assertFound(finding, (Status.NOTE, "server-name-needed"))
        assert finding.figures["withoutName"] == "refused"
        _, finding = self.find(context, Security(cafile=self.security.cafile, serverName="elsewhere"))
        self.assertFound(finding, (Status.FAIL, "server-name-refused"))

    def test_applicationProtocolIsTold(self) -> None:
        """A server that agrees on HTTP says so."""
        context = server()
        context.set_alpn_protocols(["h2"])
        _, finding = self.find(context)
        assert finding.problems == ()
        assert finding.figures["protocol"] == "h2"
        assert "it speaks h2" in finding.summary

    def test_clientCertificateIsDemanded(self) -> None:
        """A server that demands a client certificate, or refuses ours, is told, in both versions of TLS."""
        clients, strangers = trustme.CA(), trustme.CA()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = server()
            context.verify_mode = ssl.CERT_REQUIRED
            context.minimum_version = context.maximum_version = version
            clients.configure_trust(context)
            path, finding = self.find(context)
            self.assertFound(finding, (Status.FAIL, "client-certificate-demanded"))
            assert path.obstacle == "no TLS handshake"
            for authority, causes in ((strangers, ["client-certificate-refused"]), (clients, [])):
                leaf = authority.issue_cert("client@example.org")
                cert = self.write("client.pem", leaf.private_key_and_cert_chain_pem)
                security = Security(cafile=self.security.cafile, cert=cert)
                _, finding = self.find(context, security)
                found = [problem.cause for problem in finding.problems if problem.status is Status.FAIL]
                assert found == causes, (version, finding)

    def test_otherServersAreTold(self) -> None:
        """A server that echoes what isn't TLS, one that closes, and one that is silent are told apart."""

        def mirror(connection: socket, _: ssl.SSLContext) -> None:
            while data := connection.recv(65536):
                connection.sendall(data.upper())

        def close(connection: socket, _: ssl.SSLContext) -> None:
            connection.recv(65536)

        def hold(connection: socket, _: ssl.SSLContext) -> None:
            while connection.recv(65536):
                pass

        for serve, cause, code, seconds in (
            (mirror, "no-tls", ExitCode.TLS_FAILED, 0),
            (close, "handshake-closed", ExitCode.TLS_FAILED, 0),
            (hold, "handshake-silent", ExitCode.TIMED_OUT, 20),
        ):
            path, finding = self.find(server(), serve=serve, seconds=seconds)
            problem = self.assertFound(finding, (Status.FAIL, cause))
            assert (problem.code, path.obstacle) == (code, "no TLS handshake")

    def test_intolerantServerIsTold(self) -> None:
        """One that closes at a ClientHello with TLS 1.3, and shakes hands with TLS 1.2, is told."""

        def serve(connection: socket, context: ssl.SSLContext) -> None:
            if b"\x00\x2b\x00" not in connection.recv(4096, MSG_PEEK):  # the extension supported_versions
                echo(connection, context)

        context = server()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        _, finding = self.find(context, serve=serve)
        problem = self.assertFound(finding, (Status.FAIL, "version-intolerance"))
        assert "TLS 1.2" in problem.text
