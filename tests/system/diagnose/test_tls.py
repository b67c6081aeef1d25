"""`tls` on paths to good and bad servers."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from socket import AF_INET
from ssl import PROTOCOL_TLS_SERVER, SSLContext

import pytest
import trustme

from echoup.client.diagnose.checks.handshake import check
from echoup.client.diagnose.finding import Finding
from echoup.client.exitcodes import ExitCode
from echoup.client.target.security import Security
from echoup.client.target.stream import StreamTarget
from tests.support.addresses import Address, unused
from tests.support.authorities import Certificates
from tests.support.checks import causesOf, find
from tests.support.peers import need, running
from tests.support.proxies import haproxy
from tests.support.tlsfaults import makeSelfSigned
from tests.support.tlsserver import servingTLS


@contextmanager
def openssl(folder: Path, certificate: str, *options: str) -> Iterator[Address]:
    """Run OpenSSL's own server, which sends lines back in reverse, and yield its address."""
    address = unused()
    host, port = address.address
    command = [need("openssl"), "s_server", "-accept", f"{host}:{port}", "-rev", "-cert", certificate]
    with running([*command, "-key", certificate, *options], address, folder / "openssl.log"):
        yield address


def found(address: Address, cafile: str, cert: str | None = None, pin: str | None = None) -> tuple[list[str], Finding]:
    """Return the causes and all else that the check finds, for the name localhost."""
    host, port = address.address
    finding = find(check, StreamTarget("", host, port, Security(cafile, cert, serverName="localhost", pin=pin)))
    return causesOf(finding), finding


def test_interceptionIsCaughtByThePin(tmp_path: Path, certificates: Certificates) -> None:
    """A proxy whose certificate is trusted, too, is caught by the pin of the server's, which the server meets."""
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server)
    with servingTLS(context) as port:
        direct = Address(AF_INET, ("127.0.0.1", port))
        causes, finding = found(direct, certificates.authority)
        assert causes == []
        pin = finding.figures["chain"][0]["sha256"]
        causes, finding = found(direct, certificates.authority, pin=pin)
        assert (causes, finding.figures["isPinned"]) == ([], True)
        forged = certificates.issue("forged", "localhost")
        with haproxy(tmp_path, f"127.0.0.1:{port} ssl verify none", f"ssl crt {forged}") as proxy:
            assert found(proxy, certificates.authority)[0] == []
            causes, finding = found(proxy, certificates.authority, pin=pin)
    assert (causes, finding.problems[0].code) == (["pin-mismatch"], ExitCode.TLS_FAILED)
    assert finding.figures["isTrusted"] is True


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("good", ""),
        ("expired", "certificate-expired"),
        ("misnamed", "certificate-wrong-name"),
        ("self-signed", "certificate-self-signed"),
        ("stranger", "unknown-authority"),
        ("incomplete", "intermediate-missing"),
        ("complete", ""),
    ],
)
def test_certificatesAreJudged(tmp_path: Path, fault: str, cause: str) -> None:
    """A certificate that isn't accepted is shown, and why."""
    root, other = trustme.CA(organization_name="Ours"), trustme.CA(organization_name="Theirs")
    intermediate = trustme.CA(root, path_length=0, organization_name="Ours")
    authority, path = tmp_path / "root.pem", tmp_path / "server.pem"
    root.cert_pem.write_to_path(authority)
    issuer = {"stranger": other, "complete": intermediate, "incomplete": intermediate}.get(fault, root)
    name = "elsewhere.example" if fault == "misnamed" else "localhost"
    leaf = issuer.issue_cert(name, not_after=datetime(2001, 1, 1, tzinfo=UTC) if fault == "expired" else None)
    leaf.private_key_and_cert_chain_pem.write_to_path(path)
    options = ["-cert_chain", str(path)] if fault == "complete" else []
    certificate = makeSelfSigned(tmp_path) if fault == "self-signed" else str(path)
    with openssl(tmp_path, certificate, *options) as address:
        causes, finding = found(address, str(authority))
    assert causes == ([cause] if cause else [])
    assert finding.figures["chain"]


def test_oneVersionOnly(tmp_path: Path, certificates: Certificates) -> None:
    """A server of TLS 1.2 only is a note, and one of 1.3 only is fine."""
    for option, notes, works in (("-tls1_2", ["no-tls-1.3"], [True, False]), ("-tls1_3", [], [False, True])):
        with openssl(tmp_path, certificates.server, option) as address:
            causes, finding = found(address, certificates.authority)
        assert (causes, [*finding.figures["versions"].values()]) == (notes, works)


def test_clientCertificateIsDemanded(tmp_path: Path, certificates: Certificates) -> None:
    """A proxy that demands a client certificate is recognized, in both versions of TLS, and one is accepted."""
    for version in ("TLSv1.2", "TLSv1.3"):
        verified = f"ca-file {certificates.authority} verify required ssl-min-ver {version} ssl-max-ver {version}"
        with haproxy(tmp_path, "127.0.0.1:9", f"ssl crt {certificates.server} {verified}") as proxy:
            assert found(proxy, certificates.authority)[0] == ["client-certificate-demanded"]
            causes, finding = found(proxy, certificates.authority, cert=certificates.client)
            assert causes == (["no-tls-1.3"] if version == "TLSv1.2" else [])
            assert finding.figures["isTrusted"]


def test_serverNameDecides(tmp_path: Path, certificates: Certificates) -> None:
    """A server that presents another certificate to a client without a name is told."""
    other = certificates.issue("another", "other.example")
    names = ("-servername", "localhost", "-cert2", certificates.server, "-key2", certificates.server)
    with openssl(tmp_path, other, *names) as address:
        causes, finding = found(address, certificates.authority)
    assert causes == ["server-name-needed"]
    assert finding.figures["withoutName"] == finding.figures["withOtherName"] == "other certificate"
