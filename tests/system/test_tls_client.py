"""`echoup connect` over TLS, with a PROXY header, and over UDP: the report of each fault of a path."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.addresses import unused
from tests.support.authorities import Certificates
from tests.support.commands import CONNECT, connect, listenTLS
from tests.support.daemon import Daemon
from tests.support.ending import ending
from tests.support.servers import answering, serving
from tests.support.sizes import MIB
from tests.support.terminal import Terminal
from tests.support.tls import speaking
from tests.support.tlsfaults import FAULTS, NO_TLS, faulty, makeSelfSigned
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Daemon]:
    """A daemon with good TLS."""
    with Daemon.start(tmp_path_factory.mktemp("daemon"), listen=[listenTLS(certificates.server)]) as daemon:
        yield daemon


@pytest.mark.portable
def test_everyFormOfTLSWorks(daemon: Daemon, certificates: Certificates) -> None:
    """Every form that asks for TLS gets a MiB back, exactly, from a server whose certificate is good."""
    host, port = daemon.address.address
    trust = f"--cafile={certificates.authority}"
    data = b"hello\n" * (MIB // 6)
    for options in (
        ("--tls", trust, f"localhost:{port}"),
        (trust, f"tls:{host}:{port}"),
        (trust, f"tls:host={host}:port={port}"),
        (f"tls:localhost:{port}:trustRoots={certificates.authority}",),
        ("--insecure", f"tls:{host}:{port}"),
    ):
        *others, target = options
        ended = connect(target, data, *others)
        assert (ended.returncode, ended.stderr, ended.stdout) == (0, b"", data.upper())


def test_selfSignedIsRefused(tmp_path: Path, certificates: Certificates) -> None:
    """A self-signed certificate is refused, unless it is trusted itself, or any is."""
    itself = makeSelfSigned(tmp_path)
    with Daemon.start(tmp_path, listen=[listenTLS(itself)]) as daemon:
        address = daemon.address.target
        name = address.removeprefix("tls:")
        for trust in ((), (f"--cafile={certificates.authority}",)):
            ended = connect(address, b"hello", *trust)
            message = f"echoup: TLS handshake with {name}: self-signed certificate\n"
            assert (ended.returncode, ended.stderr.decode()) == (6, message)
        for trust in ((f"--cafile={itself}",), ("--insecure",)):
            ended = connect(address, b"hello", *trust)
            assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"HELLO", b"")


@pytest.mark.parametrize(("fault", "why"), FAULTS)
def test_badCertificateIsReported(tmp_path: Path, certificates: Certificates, fault: str, why: str) -> None:
    """Each fault of a certificate is one line, with the exit code for TLS; the cure for each cures it."""
    certificate = faulty(certificates, fault)
    cures = {
        "expired": ["--insecure"],
        "misnamed": [f"--cafile={certificates.authority}", "--server-name=elsewhere.example"],
        "stranger": [f"--cafile={certificates.other}"],
    }
    with Daemon.start(tmp_path, listen=[listenTLS(certificate)]) as daemon:
        address = daemon.address.target
        ended = connect(address, b"hello", f"--cafile={certificates.authority}")
        message = f"echoup: TLS handshake with {address.removeprefix('tls:')}: {why}\n"
        assert (ended.returncode, ended.stdout, ended.stderr.decode()) == (6, b"", message)
        ended = connect(address, b"hello", *cures[fault])
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"HELLO", b"")


@pytest.mark.parametrize(("server", "why"), NO_TLS)
def test_plainServerFailsInTLS(server: str, why: str) -> None:
    """TLS with a server that doesn't speak it fails with the exit code for TLS, and one line."""
    with serving(server) as address:
        ended = connect(f"tls:{address.target}", b"hello", "--insecure", "--timeout=30")
        message = f"echoup: TLS handshake with {address.target}: {why}\n"
        # A reset may overtake the bytes in front of it.
        error = ended.stderr.decode().replace("; the server may expect --proxy-protocol", "")
        assert (ended.returncode, ended.stdout, error) == (6, b"", message)


def test_plainDaemonIsRecognized(tmp_path: Path) -> None:
    """Our own daemon without TLS is recognized: it answers with our own bytes in upper case."""
    with Daemon.start(tmp_path) as daemon:
        host, port = daemon.address.address
        ended = connect(f"tls:localhost:{port}", b"hello", "--insecure", "-4")
        name, why = f"localhost:{port} ({host}:{port})", "unexpected message; the server does not seem to speak TLS"
        assert (ended.returncode, ended.stderr.decode()) == (6, f"echoup: TLS handshake with {name}: {why}\n")


def test_alertIsNoEcho(daemon: Daemon) -> None:
    """Without TLS, a server that speaks it sends an alert, and that is no echo."""
    name = daemon.address.target.removeprefix("tls:")
    ended = connect(name, b"hello\n", "--timeout=30")
    assert ended.returncode in (1, 7)
    assert ended.stderr.startswith(f"echoup: {name}: ".encode())
    assert ended.stderr.count(b"\n") == 1


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_demandedCertificateIsShown(tmp_path: Path, certificates: Certificates, version: str) -> None:
    """A demanded client certificate that is missing or untrusted is a failure of TLS, in 1.2 and in 1.3."""
    options = (f"--tls-client-ca={certificates.authority}",)
    listen, environment = [listenTLS(certificates.server)], speaking(tmp_path, version)
    with Daemon.start(tmp_path, *options, listen=listen, environment=environment) as daemon:
        address = daemon.address.target
        name = address.removeprefix("tls:")
        trust = f"--cafile={certificates.authority}"
        ended = connect(address, b"hello", trust, f"--cert={certificates.client}")
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"HELLO", b"")
        for data in (b"hello", b"x" * MIB, b""):
            for shown in ((), (f"--cert={certificates.stranger}",)):
                ended = connect(address, data, trust, *shown)
                assert (ended.returncode, ended.stdout) == (6, b""), ended.stderr
                message = ended.stderr.decode()
                assert message.startswith((f"echoup: {name}: TLS failed: ", f"echoup: TLS handshake with {name}: "))
                assert message.count("\n") == 1


def test_silentHandshakeTimesOut(figure: Callable[[str], None]) -> None:
    """A handshake that never comes ends at the timeout, with its exit code; with a longer timeout it waits longer."""
    with serving("silent") as address:
        command = [*CONNECT, "--timeout=600", f"tls:{address.target}"]
        with ending(subprocess.Popen(command, stdin=subprocess.DEVNULL)) as patient:
            began = time.monotonic()
            ended = connect(f"tls:{address.target}", b"hello", "--timeout=1")
            took = time.monotonic() - began
            assert patient.poll() is None
        message = f"echoup: TLS handshake with {address.target}: timed out: nothing came back in 1 s\n"
        assert (ended.returncode, ended.stderr.decode()) == (5, message)
        assert took >= 1
        figure(f"gave up on a handshake after {took:.1f} s, with a timeout of 1 s")


def test_faultBeforeTLSKeepsExitCode() -> None:
    """A fault before TLS has the same exit code as without TLS."""
    for target, code, message in (
        ("tls:no.such.name.invalid:1", 3, "cannot resolve no.such.name.invalid: no address found"),
        ("tls:127.0.0.1:1", 4, "cannot connect to 127.0.0.1:1: Connection refused"),
    ):
        ended = connect(target, b"hello")
        assert (ended.returncode, ended.stderr.decode()) == (code, f"echoup: {message}\n")


def test_mistakeIsOneLine(certificates: Certificates, tmp_path: Path) -> None:
    """Files that can't be used, and options that contradict each other, are mistakes of usage, in one line.

    The tests of tests/client check the words of all others.
    """
    missing = tmp_path / "missing.pem"
    for options, why in (
        (["tls:127.0.0.1:1", f"--cafile={missing}"], f"{missing}: No such file or directory"),
        (["tls:127.0.0.1:1", f"--cert={certificates.client}", f"--key={certificates.stranger}"], "the key does not"),
        (["127.0.0.1:1", "--insecure"], "need --tls"),
    ):
        target, *others = options
        ended = connect(target, b"hello", *others)
        assert (ended.returncode, ended.stdout, ended.stderr.count(b"\n")) == (2, b"", 1), ended.stderr
        assert why in ended.stderr.decode()


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("isTLS", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_proxyHeaderIsTaken(tmp_path: Path, certificates: Certificates, host: str, isTLS: bool, version: str) -> None:
    """A daemon that demands the header takes it, over TCP and TLS, IPv4 and IPv6; without it there is no echo."""
    quoted = host.replace(":", r"\:")
    plain = f"[{host}]:0" if ":" in host else f"{host}:0"
    listen = f"ssl:0:interface={quoted}:privateKey={certificates.server}" if isTLS else plain
    with Daemon.start(tmp_path, f"--proxy-from={host}", "--log-connections", listen=[listen]) as daemon:
        trust = [f"--cafile={certificates.authority}"] if isTLS else []
        ended = connect(daemon.address.target, b"hello", *trust, f"--proxy-protocol={version}")
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"HELLO", b"")
        connection = eventually(lambda: daemon.connections)[0]
        assert connection["peer"] == connection["via"]
        assert connection["bytes"] == "5"
        ended = connect(daemon.address.target, b"hello", *trust, "--timeout=30")
        assert (ended.returncode, ended.stdout) == (6 if isTLS else 7, b"")
        assert ended.stderr.count(b"\n") == 1
        eventually(lambda: [one["reason"] for one in daemon.connections] == ["done", "header"])


@pytest.mark.slow
def test_datagramFaultsAreReported() -> None:
    """Over UDP, an answer, a closed port, silence and wrong answers each have their exit code, and one line."""
    with answering(bytes.upper) as target:
        ended = connect(target, b"hello" * 1000, "--timeout=30")
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"HELLO" * 1000, b"")
    closed = f"udp:{unused().target}"
    ended = connect(closed, b"hello", "--timeout=30")
    assert (ended.returncode, ended.stderr.decode()) == (4, f"echoup: {closed}: Connection refused\n")
    with answering(None) as target:
        ended = connect(target, b"hello", "--timeout=1")
        why = "the datagram or its reply was lost, or nothing answers there; UDP cannot tell which"
        message = f"no reply to datagram 1 within 1 s: {why}"
        assert (ended.returncode, ended.stderr.decode()) == (5, f"echoup: {target}: {message}\n")
    for wrong, code, message in (
        (bytes.lower, 1, "unchanged: the bytes came back as they were sent, so something in between answered"),
        (
            lambda data: data[:-1].upper() + b"?",
            1,
            'corrupted: byte 4 of the reply is not the upper case of the one sent: expected "O", got "?"',
        ),
        (lambda data: data[:-1].upper(), 7, "the reply to datagram 1 has 4 of 5 bytes"),
    ):
        with answering(wrong) as target:
            ended = connect(target, b"hello", "--timeout=30")
            assert (ended.returncode, ended.stderr.decode()) == (code, f"echoup: {target}: {message}\n")
            name = target.replace("127.0.0.1", "localhost")
            ended = connect(name, b"hello", "--timeout=30", "-4")
            address = target.removeprefix("udp:")
            assert (ended.returncode, ended.stderr.decode()) == (code, f"echoup: {name} ({address}): {message}\n")


def test_promptOverTLS(daemon: Daemon, certificates: Certificates) -> None:
    """On a terminal it converses over TLS as it does without."""
    options = [f"--cafile={certificates.authority}", daemon.address.target]
    with Terminal(*CONNECT, *options) as terminal:
        terminal.shows(">>:")
        terminal.type("hello\r")
        terminal.shows(">>: hello\nHELLO\n>>:")
        terminal.type("héllo wörld\r")
        terminal.shows(">>: héllo wörld\nHéLLO WöRLD\n>>:")
        terminal.type("\x04")
        assert terminal.exits() == 0
        assert terminal.isCooked


def test_promptNeedsTrust(daemon: Daemon) -> None:
    """On a terminal, an untrusted certificate is reported in one line, before any prompt."""
    with Terminal(*CONNECT, daemon.address.target) as terminal:
        assert terminal.exits() == 6
        name = daemon.address.target.removeprefix("tls:")
        assert terminal.text == f"echoup: TLS handshake with {name}: unable to get local issuer certificate"
        assert terminal.isCooked
