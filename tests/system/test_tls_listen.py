"""`--listen tls:` with --tls-cert and --tls-key: TLS at the addresses of a plain port."""

import signal
import ssl
from dataclasses import replace
from pathlib import Path
from socket import AF_INET, AF_INET6

import pytest

from tests.support.authorities import Certificates
from tests.support.daemon import Daemon
from tests.support.tls import TLSConnection
from tests.support.waiting import eventually
from tests.support.ways import HEADERS, Way

pytestmark = pytest.mark.usefixtures("reactor")


def split(certificates: Certificates, name: str, folder: Path, expired: bool = False) -> tuple[Path, Path]:
    """Return a file with a new certificate, and one with its key."""
    issued = Path(certificates.issue(name, "localhost", expired=expired)).read_text()
    key, begin, chain = issued.partition("-----BEGIN CERTIFICATE-----")
    (folder / "cert.pem").write_text(begin + chain)
    (folder / "key.pem").write_text(key)
    return folder / "cert.pem", folder / "key.pem"


def shown(daemon: Daemon, context: ssl.SSLContext) -> set[bytes | None]:
    """Return the certificates that the daemon shows at its addresses, asked often enough to meet each worker."""
    found = set()
    for address in daemon.addresses * 10:
        with TLSConnection.to(address, context) as connection:
            found.add(connection.tls.getpeercert(binary_form=True))
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_everyAddressIsServed(tmp_path: Path, certificates: Certificates, workers: int) -> None:
    """A port is served over IPv4 and IPv6, a host at its address, with a PROXY header before TLS and without."""
    cert, key = split(certificates, "listen", tmp_path)
    context = certificates.context()
    options = [f"--tls-cert={cert}", f"--tls-key={key}", f"--workers={workers}", "--log-connections"]
    listen = ["tls:0", "tls:*:0", "tls:127.0.0.1:0", "tls:[::1]:0"]
    with Daemon.start(tmp_path, *options, listen=listen) as daemon:
        assert all(address.isTLS for address in daemon.addresses)
        families = [address.family for address in daemon.addresses]
        assert sorted(families[:4]) == sorted([AF_INET, AF_INET6] * 2)
        assert families[4:] == [AF_INET, AF_INET6]
        for address in daemon.addresses:
            assert Way(address, context).exchange(b"hello") == b"HELLO"
        assert daemon.stop() == 143
        assert daemon.text.count("listening on tls:0.0.0.0:") == daemon.text.count("listening on tls:[::]:") == 2
    with Daemon.start(tmp_path, *options, "--proxy-from=127.0.0.0/8", "--proxy-from=::1", listen=listen[2:]) as daemon:
        for address in daemon.addresses:
            for header in HEADERS.values():
                assert Way(replace(address, header=header), context).exchange(b"hello") == b"HELLO"
        eventually(lambda: len(daemon.connections) == 4)
        assert {each["peer"] for each in daemon.connections} == {"192.0.2.1:4242"}


@pytest.mark.parametrize("workers", [1, 2])
def test_filesAreReadAgain(tmp_path: Path, certificates: Certificates, workers: int) -> None:
    """SIGHUP reads both files again, once for all addresses; files that can't be read change nothing.

    The log warns of a certificate that has expired, once for all addresses and processes.
    """
    cert, key = split(certificates, "first", tmp_path)
    context = certificates.context()
    variables = {"ECHOUP_TLS_CERT": str(cert), "ECHOUP_TLS_KEY": str(key)}
    listen = ["tls:127.0.0.1:0", "tls:[::1]:0"]
    with Daemon.start(tmp_path, f"--workers={workers}", listen=listen, environment=variables) as daemon:
        (before,) = shown(daemon, context)
        split(certificates, "second", tmp_path)
        assert shown(daemon, context) == {before}
        daemon.signal(signal.SIGHUP)
        eventually(lambda: f"reloaded the certificate in {cert}" in daemon.text)
        (after,) = eventually(lambda: len(found := shown(daemon, context)) == 1 and before not in found and found)
        key.unlink()
        daemon.signal(signal.SIGHUP)
        failure = f"cannot reload the certificate in {cert}; the old one stays in use: {key}: No such file or directory"
        eventually(lambda: failure in daemon.text)
        assert shown(daemon, context) == {after}
        split(certificates, "third", tmp_path, expired=True)
        daemon.signal(signal.SIGHUP)
        eventually(lambda: f"certificate {cert} expired on 20" in daemon.text)
        assert daemon.stop() == 143
        said = ["reloaded the certificate in", "cannot reload", " expired on "]
        assert [daemon.text.count(words) for words in said] == [2, 1, 1]


def test_clientCertificatesAreRequired(tmp_path: Path, certificates: Certificates) -> None:
    """With --tls-client-ca, only clients with a certificate of that authority are served, and the log names them."""
    files = [f"--tls-cert={certificates.server}", f"--tls-client-ca={certificates.authority}"]
    with Daemon.start(tmp_path, *files, "--log-connections", listen=["tls:127.0.0.1:0"]) as daemon:
        context = certificates.context()
        context.load_cert_chain(certificates.client)
        assert Way(daemon.address, context).exchange(b"hello") == b"HELLO"
        with (
            pytest.raises((ssl.SSLError, ConnectionError)),
            TLSConnection.to(daemon.address, certificates.context()) as connection,
        ):
            connection.ask(b"hello")
        eventually(lambda: [each["reason"] for each in daemon.connections] == ["done", "tls"])
        served, refused = daemon.connections
        assert (served["tls_version"], served["server_name"], refused["server_name"]) == ("TLSv1.3", *["localhost"] * 2)
        assert "CN=client" in served["client_subject"].strip('"').split(",")
