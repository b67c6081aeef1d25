"""`echoup ping` over TLS: the details of a handshake, and the report of each of its faults."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from socket import AF_INET, socket

import pytest
from cryptography import x509

from tests.support.addresses import Address, randomPort
from tests.support.authorities import Certificates
from tests.support.commands import listenTLS
from tests.support.daemon import Daemon
from tests.support.peers import need, running
from tests.support.pings import TIMED, ping, probe
from tests.support.servers import serving
from tests.support.tls import speaking
from tests.support.tlsfaults import FAULTS, NO_TLS, faulty, makeSelfSigned
from tests.support.waiting import eventually


@pytest.fixture(scope="module", params=["TLSv1.2", "TLSv1.3"])
def version(request: pytest.FixtureRequest) -> str:
    """The version of TLS that the daemon speaks."""
    return str(request.param)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates, version: str) -> Iterator[Daemon]:
    """A daemon with good TLS."""
    folder = tmp_path_factory.mktemp("daemon")
    listen, environment = [listenTLS(certificates.server)], speaking(folder, version)
    with Daemon.start(folder, "--log-connections", listen=listen, environment=environment) as daemon:
        yield daemon


def subjectAndIssuer(file: str) -> tuple[str, str]:
    """Return the subject and the issuer of the first certificate of a file."""
    certificate = x509.load_pem_x509_certificates(Path(file).read_bytes())[0]
    return certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()


@pytest.mark.parametrize("option", ["", "--half-close", "--keep"])
@pytest.mark.parametrize("size", [1, 56, pytest.param(100_000, marks=pytest.mark.portable)])
def test_handshakeIsStep(daemon: Daemon, certificates: Certificates, version: str, size: int, option: str) -> None:
    """All comes back, with both ends or without, and the handshake is a step of its own."""
    options = [f"--cafile={certificates.authority}", f"-s{size}", "-i0", *filter(None, [option])]
    pinged = probe(daemon.address.target, *options, count=3)
    assert (pinged.code, pinged.summary["answered"]) == (0, 3)
    for one in sorted(pinged.probes, key=lambda one: one["seq"]):
        assert (one["received"], f"tls:{one['remote']}") == (size, daemon.address.target)
        steps = ["first byte", "all bytes", *["end"] * (option == "--half-close")]
        if one["seq"] == 1 or option != "--keep":
            steps = ["connect", "TLS", *steps]
            (phase,) = [phase for phase in one["phases"] if phase["step"] == "TLS"]
            assert (phase["version"], phase["tcp"]["state"], phase["error"]) == (version, "ESTABLISHED", None)
            assert re.fullmatch(r"(TLS_AES|ECDHE)[\w-]+", phase["cipher"])
            known = one["certificate"]
            assert (known["subject"], known["issuer"]) == subjectAndIssuer(certificates.server)
            assert 29 < known["daysLeft"] < 30
        assert [phase["step"] for phase in one["phases"]] == steps
    count = 1 if option == "--keep" else 3
    peers = {one["local"] for one in pinged.probes}
    connections = eventually(lambda: len(found := daemon.connectionsFrom(peers)) == count and found)
    assert {(one["bytes"], one["reason"]) for one in connections} == {(str(3 // count * size), "done")}


def test_verboseShowsCertificate(daemon: Daemon, certificates: Certificates, version: str) -> None:
    """-v shows the version, the cipher, the certificate's names and how long it is valid, even if it isn't checked."""
    subject, issuer = map(re.escape, subjectAndIssuer(certificates.server))
    expected = (
        rf"\n    TLS +[\d.]+ ms  {re.escape(version)}, [\w-]+, certificate {subject}, issuer {issuer}, "
        r"29 days left, ESTABLISHED, rtt [\d.]+ ms, retransmits 0\n"
    )
    for trust in (f"--cafile={certificates.authority}", "--insecure"):
        ended = ping("-c1", "-v", trust, daemon.address.target, command=TIMED)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert re.search(expected, ended.stdout), ended.stdout


@pytest.mark.parametrize("option", ["", "--half-close"])
def test_demandedCertificateIsShown(tmp_path: Path, certificates: Certificates, version: str, option: str) -> None:
    """A client certificate that is demanded is shown; a missing or untrusted one is a failure of TLS."""
    options = (f"--tls-client-ca={certificates.authority}",)
    listen, environment = [listenTLS(certificates.server)], speaking(tmp_path, version)
    with Daemon.start(tmp_path, *options, listen=listen, environment=environment) as daemon:
        address = daemon.address.target
        trust = [f"--cafile={certificates.authority}", *filter(None, [option])]
        pinged = probe(address, *trust, f"--cert={certificates.client}", "-s100000")
        assert pinged.found == ("uppercased", None, 0)
        for shown in ([], [f"--cert={certificates.stranger}"]):
            pinged = probe(address, *trust, *shown)
            assert pinged.found == (None, "TLS", 6)
            name = address.removeprefix("tls:")
            assert pinged.error.startswith((f"{name}: TLS failed: ", f"TLS handshake with {name}: "))
            assert pinged.error.endswith("; the server may expect --cert") is (not shown)


@pytest.mark.parametrize(("fault", "why"), [*FAULTS, ("selfSigned", "self-signed certificate")])
def test_badCertificateIsReported(tmp_path: Path, certificates: Certificates, fault: str, why: str) -> None:
    """Each fault of a certificate is in the one line and in the phase; with --insecure it's shown only."""
    certificate = makeSelfSigned(tmp_path) if fault == "selfSigned" else faulty(certificates, fault)
    subject, issuer = subjectAndIssuer(certificate)
    left = "expired 1 day ago" if fault == "expired" else "29 days left"
    with Daemon.start(tmp_path, listen=[listenTLS(certificate)]) as daemon:
        address = daemon.address.target
        name = address.removeprefix("tls:")
        pinged = probe(address, f"--cafile={certificates.authority}", command=TIMED)
        assert pinged.found == (None, "TLS", 6)
        assert pinged.error == f"TLS handshake with {name}: {why}"
        assert list(pinged.phases) == ["connect", "TLS"]
        assert pinged.phases["TLS"]["error"] == why
        assert pinged.phases["TLS"]["seconds"] > 0
        assert pinged.probe["sent"] == 0
        known = pinged.probe["certificate"]
        assert (known["subject"], known["issuer"]) == (subject, issuer)
        ended = ping("-c1", "-v", f"--cafile={certificates.authority}", address)
        assert (ended.returncode, ended.stderr) == (6, f"echoup: TLS handshake with {name}: {why}\n")
        assert f"\nseq=1 TLS at {name}: {why}\n" in ended.stdout
        assert f"  certificate {subject}, issuer {issuer}, {left}, {why}\n" in ended.stdout
        ended = ping("-c1", "-v", "--insecure", address)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert f", certificate {subject}, issuer {issuer}, {left}, ESTABLISHED, " in ended.stdout


@pytest.mark.parametrize(("server", "why"), NO_TLS)
def test_plainServerFailsInTLS(server: str, why: str) -> None:
    """TLS with a server that doesn't speak it fails in that step."""
    with serving(server) as address:
        pinged = probe(f"tls:{address.target}", "--insecure")
        assert pinged.found == (None, "TLS", 6)
        # A reset may overtake the bytes in front of it.
        error = pinged.error.removesuffix("; the server may expect --proxy-protocol")
        assert error == f"TLS handshake with {address.target}: {why}"


def test_pinIsWhatOpenSSLPrints(daemon: Daemon, certificates: Certificates) -> None:
    """A pin that openssl printed is met by the server's certificate only; then `--insecure` changes nothing."""

    def fingerprint(file: str) -> str:
        command = [need("openssl"), "x509", "-in", file, "-noout", "-fingerprint", "-sha256"]
        printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
        return f"sha256:{printed.strip().partition('=')[2]}"

    right, wrong = fingerprint(certificates.server), fingerprint(certificates.client)
    pinged = probe(daemon.address.target, "--insecure", f"--pin={right}")
    assert pinged.found == ("uppercased", None, 0)
    pinged = probe(daemon.address.target, f"--cafile={certificates.authority}", f"--pin={wrong}")
    assert pinged.found == (None, "TLS", 6)
    presented = right.replace("sha256:", "").replace(":", "").lower()
    assert f": the pin is not met: the server's certificate has sha256:{presented}, its public key " in pinged.error


def test_silentHandshakeTimesOut() -> None:
    """A handshake that doesn't come in time is a time-out, in that step."""
    with serving("silent") as address:
        pinged = probe(f"tls:{address.target}", "--insecure", "-W2")
        assert pinged.found == (None, "TLS", 5)
        assert pinged.error == f"TLS handshake with {address.target}: timed out: nothing came back in 2 s"
        assert (pinged.phases["TLS"]["seconds"], pinged.phases["TLS"]["tcp"]["state"]) == (None, "ESTABLISHED")


UNASKED = [(), ("--half-close",), ("--keep",), ("-s100000",)]


@pytest.mark.parametrize("options", UNASKED)
def test_plainProbeOfTLSDaemonIsShort(daemon: Daemon, options: tuple[str, ...]) -> None:
    """Our daemon, asked without TLS where it speaks it, closes the connection without a byte, as OpenSSL does."""
    name = daemon.address.target.removeprefix("tls:")
    pinged = probe(name, *options)
    assert pinged.found == ("short", "first byte", 7)
    assert pinged.error == (
        f"{name}: the server closed the connection, 0 of {pinged.probe['sent']} bytes came back; "
        "the server may expect --tls or --proxy-protocol"
    )


def test_alertIsRecognized(tmp_path: Path, certificates: Certificates) -> None:
    """Other servers, such as GnuTLS', send an alert, which is recognized: the server speaks TLS."""
    server = [need("gnutls-serv", "gnutls-bin"), "--echo", "--quiet"]
    server += [f"--x509certfile={certificates.server}", f"--x509keyfile={certificates.server}"]
    with ExitStack() as opened:
        port = eventually(lambda: _begin(opened, server, tmp_path / "log"))
        target = f"127.0.0.1:{port}"
        for options in UNASKED:
            pinged = probe(target, *options)
            assert pinged.found == ("corrupted", "all bytes", 1)
            assert (pinged.probe["wrongAt"], pinged.probe["received"]) == (0, 7)
            assert pinged.error.startswith(
                f"{target}: corrupted: byte 0 of the reply is not the upper case of the one "
            )
            assert "the server speaks TLS and may expect --tls" in pinged.error
        pinged = probe(f"tls:{target}", f"--cafile={certificates.authority}")
        assert pinged.found == ("unchanged", "all bytes", 1)


def _begin(opened: ExitStack, server: list[str], log: Path) -> int:
    """Run gnutls-serv, which can't choose an address; return its port, or 0 if another program took it before.

    In that case it goes on without the port.
    """
    port = unusedPort()
    with ExitStack() as attempt:
        attempt.enter_context(running([*server, f"--port={port}"], Address(AF_INET, ("0.0.0.0", port)), log))  # noqa: S104
        if "already in use" in log.read_text():
            return 0
        opened.push(attempt.pop_all())
    return port


def unusedPort() -> int:
    """Return a port on which nothing listens, for a program that can't choose an address."""
    while True:
        with socket() as bound, suppress(OSError):
            port = randomPort()
            bound.bind(("0.0.0.0", port))  # noqa: S104  # as it will
            return port


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_proxyHeaderPrecedesHandshake(tmp_path: Path, certificates: Certificates, version: str) -> None:
    """The PROXY header is sent before the handshake."""
    listen = [listenTLS(certificates.server)]
    with Daemon.start(tmp_path, "--proxy-from=127.0.0.1", "--log-connections", listen=listen) as daemon:
        trust = f"--cafile={certificates.authority}"
        pinged = probe(daemon.address.target, trust, f"--proxy-protocol={version}", "--half-close")
        assert pinged.found == ("uppercased", None, 0)
        assert list(pinged.phases) == ["connect", "PROXY header", "TLS", "first byte", "all bytes", "end"]
        (connection,) = eventually(lambda: daemon.connections)
        assert connection["peer"] == connection["via"] == pinged.probe["local"]
        pinged = probe(daemon.address.target, trust)
        assert pinged.found == (None, "TLS", 6)
