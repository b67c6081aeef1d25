"""`tls` on paths to good and bad servers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.support.addresses import Address, unused
from tests.support.authorities import Certificates
from tests.support.commands import listenTLS
from tests.support.daemon import Daemon
from tests.support.diagnoses import diagnose
from tests.support.peers import need, running
from tests.support.proxies import haproxy
from tests.support.tlsfaults import faulty, makeSelfSigned


@contextmanager
def openssl(folder: Path, certificate: str, *options: str) -> Iterator[Address]:
    """Run OpenSSL's own server, which sends lines back in reverse, and yield its address."""
    address = unused()
    host, port = address.address
    command = [
        need("openssl"),
        "s_server",
        "-accept",
        f"{host}:{port}",
        "-cert",
        certificate,
        "-key",
        certificate,
        "-rev",
    ]
    with running([*command, *options], address, folder / "openssl.log"):
        yield address


def judged(address: Address, *options: str) -> tuple[int, list[str], dict[str, object]]:
    """Return the exit code, the causes and the figures of the check."""
    target = address.target.removeprefix("tls:")
    done = diagnose(target, "--tls", "--server-name", "localhost", "--only", "tls", *options)
    return done.code, done.causes("tls"), done.check("tls")["figures"]


def test_interceptionIsCaughtByThePin(tmp_path: Path, certificates: Certificates) -> None:
    """A proxy whose certificate is trusted, too, is caught by the pin of the server's, which the server meets."""
    trusted = ("--cafile", certificates.authority)
    with Daemon.start(tmp_path, listen=[listenTLS(certificates.server)]) as daemon:
        direct = daemon.address
        code, causes, figures = judged(direct, *trusted)
        assert (code, causes) == (0, [])
        chain = figures["chain"]
        assert isinstance(chain, list)
        pin = chain[0]["sha256"]
        code, causes, figures = judged(direct, *trusted, "--pin", pin, "--strict")
        assert (code, causes, figures["isPinned"]) == (0, [], True)
        forged = certificates.issue("forged", "localhost")
        server = f"{direct.target.removeprefix('tls:')} ssl verify none"
        with haproxy(tmp_path, server, f"ssl crt {forged}") as proxy:
            assert judged(proxy, *trusted)[:2] == (0, [])
            code, causes, figures = judged(proxy, *trusted, "--pin", pin)
    assert (code, causes, figures["isTrusted"]) == (6, ["pin-mismatch"], True)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [("expired", "certificate-expired"), ("misnamed", "certificate-wrong-name"), ("self", "certificate-self-signed")],
)
def test_badCertificatesAreShown(tmp_path: Path, certificates: Certificates, fault: str, cause: str) -> None:
    """A certificate that isn't accepted is shown, and why; the other checks go on with it."""
    certificate = makeSelfSigned(tmp_path) if fault == "self" else faulty(certificates, fault)
    with Daemon.start(tmp_path, listen=[listenTLS(certificate)]) as daemon:
        target = daemon.address.target.removeprefix("tls:")
        done = diagnose(target, "--tls", "--cafile", certificates.authority, "--only", "tls", "--only", "exact")
    assert (done.code, done.causes("tls")) == (6, [cause])
    assert done.check("tls")["figures"]["chain"]
    assert done.check("exact")["problems"] == []


def test_missingIntermediate(tmp_path: Path) -> None:
    """A server that doesn't send the intermediate certificate is told from one that does."""
    root = trustme.CA(organization_name="Example")
    leaf = trustme.CA(root, path_length=0, organization_name="Example").issue_cert("localhost")
    authority, whole, alone = tmp_path / "root.pem", tmp_path / "whole.pem", tmp_path / "alone.pem"
    root.cert_pem.write_to_path(authority)
    leaf.private_key_and_cert_chain_pem.write_to_path(whole)
    leaf.private_key_pem.write_to_path(alone)
    leaf.cert_chain_pems[0].write_to_path(alone, append=True)
    for certificate, code, found in ((whole, 0, []), (alone, 6, ["intermediate-missing"])):
        with Daemon.start(tmp_path, listen=[listenTLS(str(certificate))]) as daemon:
            assert judged(daemon.address, "--cafile", str(authority))[:2] == (code, found)


def test_oneVersionOnly(tmp_path: Path, certificates: Certificates) -> None:
    """A server of TLS 1.2 only is a note, and one of 1.3 only is fine."""
    trusted = ("--cafile", certificates.authority)
    with openssl(tmp_path, certificates.server, "-tls1_2") as address:
        code, causes, figures = judged(address, *trusted)
        assert (code, causes) == (0, ["no-tls-1.3"])
        assert figures["versions"] == {"TLS 1.2": True, "TLS 1.3": False}
    with openssl(tmp_path, certificates.server, "-tls1_3") as address:
        code, causes, figures = judged(address, *trusted, "--strict")
        assert (code, causes) == (0, [])
        assert figures["versions"] == {"TLS 1.2": False, "TLS 1.3": True}


def test_clientCertificateIsDemanded(tmp_path: Path, certificates: Certificates) -> None:
    """A proxy that demands a client certificate is recognized, and one is accepted."""
    bind = f"ssl crt {certificates.server} ca-file {certificates.authority} verify required"
    with Daemon.start(tmp_path) as daemon, haproxy(tmp_path, daemon.address.target, bind) as proxy:
        assert judged(proxy, "--cafile", certificates.authority)[:2] == (6, ["client-certificate-demanded"])
        given = ("--cafile", certificates.authority, "--cert", certificates.client, "--strict")
        assert judged(proxy, *given)[:2] == (0, [])


def test_serverNameDecides(tmp_path: Path, certificates: Certificates) -> None:
    """A server that presents another certificate to a client without a name is told."""
    other = certificates.issue("other", "other.example")
    names = ("-servername", "localhost", "-cert2", certificates.server, "-key2", certificates.server)
    with openssl(tmp_path, other, *names) as address:
        code, causes, figures = judged(address, "--cafile", certificates.authority)
    assert (code, causes) == (0, ["server-name-needed"])
    assert (figures["withoutName"], figures["withOtherName"]) == ("other certificate", "other certificate")


def test_noTLS(tmp_path: Path) -> None:
    """A server without TLS is told."""
    with Daemon.start(tmp_path) as daemon:
        code, causes, _ = judged(daemon.address)
    assert (code, causes) == (6, ["no-tls"])
