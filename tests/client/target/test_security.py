"""The TLS context of the client: what it trusts, and what it shows."""

import os
import shutil
import ssl
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.target.security import Security, parsePin
from tests.support.certificates import NAME, serverContext, writeCertificates
from tests.support.doubles import raised
from tests.support.tlspeer import connectInMemory


class SecurityTests(SynchronousTestCase):
    """`Security` makes a context that is strict unless it is told otherwise."""

    def setUp(self) -> None:
        """Write the certificates."""
        self.directory = Path(self.enterContext(TemporaryDirectory()))
        writeCertificates(self.directory)
        self.ca = str(self.directory / "ca.pem")

    def shakeHands(self, security: Security, server: str = "server", name: str = NAME) -> ssl.SSLObject:
        """Return the server's end of a connection to a server with the named certificate, which wants one, too."""
        return connectInMemory(security.context, serverContext(self.directory, server), name)[1]

    def assertRefuses(self, security: Security, message: str, server: str = "server", name: str = NAME) -> None:
        """Check that the server's certificate is refused."""
        error = raised(ssl.SSLCertVerificationError, self.shakeHands, security, server, name)
        assert error is not None
        assert message in error.verify_message

    def test_contextIsStrict(self) -> None:
        """It has no TLS below 1.2, requires a certificate of the right name, and has no renegotiation."""
        for security in (Security(), Security(self.ca)):
            context = security.context
            assert context.minimum_version == ssl.TLSVersion.TLSv1_2
            assert context.verify_mode == ssl.CERT_REQUIRED
            assert context.check_hostname
            assert context.options & ssl.OP_NO_RENEGOTIATION

    def test_fileIsTrusted(self) -> None:
        """A certificate of the authority in the file, for the name or the address, is accepted."""
        for name in (NAME, "localhost", "127.0.0.1", "::1"):
            assert self.shakeHands(Security(self.ca), name=name).version() == "TLSv1.3"

    def test_systemIsTrustedByDefault(self) -> None:
        """Without a file the system's authorities are trusted."""
        with patch.dict(os.environ, SSL_CERT_FILE=self.ca):
            self.shakeHands(Security())

    def test_folderIsTrusted(self) -> None:
        """The authorities may be in a folder, in any of its *.pem."""
        folder = self.directory / "authorities"
        folder.mkdir()
        self.assertRefuses(Security(str(folder)), "certificate")
        (folder / "readme.txt").write_text("not a certificate")
        shutil.copy(self.directory / "other.crt", folder / "a.pem")
        shutil.copy(self.ca, folder / "b.pem")
        self.shakeHands(Security(str(folder)))

    def test_badCertificatesAreRefused(self) -> None:
        """Certificates that expired, for another name, or of an untrusted authority are refused."""
        self.assertRefuses(Security(self.ca), "expired", server="expired")
        self.assertRefuses(Security(self.ca), f"not valid for '{NAME}'", server="other")
        self.assertRefuses(Security(self.ca), "not valid for '127.0.0.2'", name="127.0.0.2")
        self.assertRefuses(Security(), "certificate")

    def test_insecureTrustsAny(self) -> None:
        """Each of these is accepted with `insecure`."""
        for server in ("server", "expired", "other"):
            self.shakeHands(Security(insecure=True), server)
            self.shakeHands(Security(self.ca, insecure=True), server)

    def test_ownCertificateIsShown(self) -> None:
        """Our own certificate is shown, with its key in the same file or in another; without one, none is."""
        together = str(self.directory / "client.pem")
        apart = str(self.directory / "client.crt"), str(self.directory / "client.key")
        for security in (Security(self.ca, together), Security(self.ca, *apart), Security(None, *apart, insecure=True)):
            certificate = self.shakeHands(security).getpeercert()
            assert certificate is not None
            assert certificate["subjectAltName"] == (("DNS", "client.example"),)
        assert self.shakeHands(Security(self.ca)).getpeercert() is None

    def test_unusableFileIsNamed(self) -> None:
        """A file that can't be used is refused in one line that names it."""
        d = self.directory
        (d / "pem").mkdir()
        (d / "pem" / "text.pem").write_text("hello")
        for security, message in (
            (Security(f"{d}/nothing"), f"{d}/nothing: No such file or directory"),
            (Security("x" * 300), f"{'x' * 300}: File name too long"),
            (Security(f"{d}/ca.key"), f"{d}/ca.key: No such file or directory"),
            (Security(f"{d}/server.key"), f"{d}/server.key: no certificate in it"),
            (Security(f"{d}/pem"), f"{d}/pem/text.pem: no certificate in it"),
            (Security(None, f"{d}/nothing"), f"{d}/nothing: No such file or directory"),
            (Security(None, f"{d}/client.crt"), f"{d}/client.crt: no usable certificate or private key in it"),
            (Security(None, f"{d}/client.crt", f"{d}/nothing"), f"{d}/nothing: No such file or directory"),
            (Security(None, f"{d}/client.crt", str(d)), f"{d}: Is a directory"),
            (Security(None, f"{d}/client.crt", f"{d}/encrypted.key"), "the private key is encrypted"),
            (
                Security(None, f"{d}/client.crt", f"{d}/server.key"),
                f"{d}/client.crt and {d}/server.key: the key does not match the certificate",
            ),
        ):
            assert str(raised(ValueError, getattr, security, "context")) == message

    def test_emptyFileIsRefused(self) -> None:
        """An empty file is no authority."""
        path = self.directory / "empty.pem"
        path.touch()
        assert str(raised(ValueError, getattr, Security(str(path)), "context")).startswith(f"{path}: ")


class PinTests(SynchronousTestCase):
    """`parsePin` takes a SHA-256 fingerprint."""

    def test_eachFormIsTaken(self) -> None:
        """The digits may have any case, and colons between the bytes, as OpenSSL writes them."""
        digits = "0123456789abcdef" * 4
        colons = ":".join(digits[start : start + 2] for start in range(0, 64, 2))
        for text in (f"sha256:{digits}", f"SHA256:{digits.upper()}", f"sha256:{colons}", f"sha256:{colons.upper()}"):
            assert parsePin(text) == f"sha256:{digits}"

    def test_anythingElseIsRefused(self) -> None:
        """Anything else is refused, with what would be right."""
        digits = "0123456789abcdef" * 4
        for text in (
            "",
            digits,
            f"sha1:{digits}",
            f"sha256:{digits[:-1]}",
            f"sha256:{digits}0",
            f"sha256:{digits[:-1]}g",
        ):
            error = raised(ValueError, parsePin, text)
            assert str(error) == f"{text!r} is not sha256: and the 64 hexadecimal digits of a SHA-256 fingerprint"
