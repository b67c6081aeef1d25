"""Other programs in front of echoup, behind it and as its peers: Debian's, configured as people configure them."""

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from socket import AF_UNIX
from tempfile import TemporaryFile

import pytest
from trustme import KeyType

from tests.support.addresses import Address, unused
from tests.support.authorities import TLS_1_2, TLS_1_3, Certificates
from tests.support.chance import randomBytes
from tests.support.commands import CONNECT, connect, listenTLS
from tests.support.daemon import Daemon, foreground
from tests.support.peers import need, running
from tests.support.proxies import CLIENT, haproxy
from tests.support.servers import serving
from tests.support.sizes import MIB
from tests.support.terminal import Terminal
from tests.support.waiting import eventually
from tests.support.ways import Way

SENDING = {
    "v1": "send-proxy",
    "v2": "send-proxy-v2",
    "v2 and TLVs": "send-proxy-v2-ssl-cn proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority,crc32c,"
    "unique-id",
}


@pytest.mark.usefixtures("reactor")
@pytest.mark.parametrize("sending", SENDING)
@pytest.mark.parametrize("backend", ["plain", "TLS"])
@pytest.mark.parametrize("frontend", ["plain", "TLS 1.2", "TLS 1.3"])
def test_haproxyInFrontIsExact(
    tmp_path: Path, certificates: Certificates, frontend: str, backend: str, sending: str
) -> None:
    """Through haproxy, with TLS before it, behind it, both or none, 1 MiB is exact, and the log has the client."""
    version = TLS_1_2 if frontend == "TLS 1.2" else TLS_1_3
    context = certificates.context(version, certificates.client) if "TLS" in frontend else None
    bind = f"ssl crt {certificates.server} ca-file {certificates.authority} verify optional" if context else ""
    listen = listenTLS(certificates.server) if backend == "TLS" else "127.0.0.1:0"
    data = randomBytes(MIB)
    with Daemon.start(tmp_path, "--proxy-from=127.0.0.1/32", "--log-connections", listen=[listen]) as daemon:
        before = daemon.descriptors
        verified = f"ssl verify required ca-file {certificates.authority} verifyhost localhost sni str(localhost)"
        server = f"{daemon.address.target.removeprefix('tls:')} {SENDING[sending]}"
        with haproxy(tmp_path, f"{server} {verified if backend == 'TLS' else ''}", bind) as address:
            for late in (False, True):
                assert Way(address, context).exchange(data, late) == data.upper()
            connections = eventually(lambda: len(daemon.connections) == 2 and daemon.connections)
        eventually(lambda: daemon.descriptors == before)
    secrets = {
        "tls": version.name.replace("_", "."),
        "tls_cn": "client",
        "tls_verified": "yes",
        "authority": "localhost",
    }
    for connection in connections:
        assert connection["peer"].startswith(f"{CLIENT}:")
        assert connection["via"].startswith("127.0.0.1:")
        assert (connection["bytes"], connection["reason"]) == (str(MIB), "done")
        if sending == "v2 and TLVs":
            assert connection["unique_id"] == connection["peer"]
            assert ("tls_cipher" in connection) == bool(context)
            expected = secrets if context else {"tls": "no"}
            assert {name: connection.get(name) for name in secrets} == {name: expected.get(name) for name in secrets}


@pytest.mark.parametrize("header", ["v1", "v2"])
@pytest.mark.parametrize("listen", ["plain", "TLS"])
def test_haproxysHealthChecksPass(
    tmp_path: Path, certificates: Certificates, reactor: str, listen: str, header: str
) -> None:
    """Health checks by haproxy, which are LOCAL and close at once, pass, and leave no descriptor or traceback."""
    description = listenTLS(certificates.server) if listen == "TLS" else "127.0.0.1:0"
    with Daemon.start(tmp_path, "--proxy-from=127.0.0.1", "--log-connections", listen=[description]) as daemon:
        before = daemon.descriptors
        server = f"{daemon.address.target.removeprefix('tls:')} {'ssl verify none' if listen == 'TLS' else ''}"
        checks = f"check check-send-proxy inter 300ms fall 100 {SENDING[header]}"
        with haproxy(tmp_path, f"{server} {checks}") as address:
            if reactor == "uvloop":
                time.sleep(2)  # there a connection that is reset at once need not begin, so the log needn't show any
            else:
                eventually(lambda: len(daemon.connections) >= 5)
            assert address.echo(b"hello") == b"HELLO"
        eventually(lambda: daemon.descriptors == before)
    assert [one["peer"].split(":")[0] for one in daemon.connections if one["bytes"] == "5"] == [CLIENT]
    others = [connection for connection in daemon.connections if connection["bytes"] == "0"]
    assert {connection["peer"].split(":")[0] for connection in others} <= {"127.0.0.1"}
    assert not {"header", "handshake"} & {connection["reason"] for connection in others}
    assert "DOWN" not in (tmp_path / "haproxy.log").read_text()


def talk(command: Sequence[str], data: bytes) -> bytes:
    """Run `command` with `data` as its input, all of which is there when it begins, and return its output."""
    with TemporaryFile() as source:
        source.write(data)
        source.seek(0)
        ended = subprocess.run(command, stdin=source, capture_output=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout


def opensslClient(certificates: Certificates, address: Address, *options: str) -> list[str]:
    """Return the command of `openssl s_client` in the mode that waits for a late reply."""
    command: list[str] = [need("openssl"), "s_client", "-quiet", "-connect", address.target[4:]]
    return [
        *command,
        "-CAfile",
        certificates.authority,
        "-verify_return_error",
        "-verify_hostname",
        "localhost",
        *options,
    ]


@pytest.mark.usefixtures("reactor")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_opensslClientGetsTheEcho(tmp_path: Path, certificates: Certificates, version: str) -> None:
    """`openssl s_client` gets 1 MiB back although it never ends its side, and exits 0 when the daemon ends its own."""
    data = randomBytes(MIB)
    listen = [listenTLS(certificates.server)]
    with Daemon.start(tmp_path, "--idle-timeout=2", "--log-connections", listen=listen) as daemon:
        before = daemon.descriptors
        assert talk(opensslClient(certificates, daemon.address, version), data) == data.upper()
        eventually(lambda: daemon.descriptors == before)
        eventually(lambda: [connection["reason"] for connection in daemon.connections] == ["idle"])


@pytest.mark.usefixtures("reactor")
def test_tls11IsRefused(tmp_path: Path, certificates: Certificates) -> None:
    """A client that speaks TLS 1.1 is refused, and the log says why."""
    with Daemon.start(tmp_path, "--log-connections", listen=[listenTLS(certificates.server)]) as daemon:
        command = opensslClient(certificates, daemon.address, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
        ended = subprocess.run(command, input=b"hello", capture_output=True, timeout=60, check=False)
        assert ended.returncode == 1
        assert b"alert protocol version" in ended.stderr
        eventually(lambda: daemon.connections)
        assert (daemon.connections[0]["reason"], daemon.connections[0]["error"]) == ("tls", '"unsupported protocol"')


@pytest.mark.usefixtures("reactor")
@pytest.mark.parametrize("kind", [KeyType.ECDSA, KeyType.RSA])
def test_weakCiphersAreRefused(tmp_path: Path, certificates: Certificates, kind: KeyType) -> None:
    """In TLS 1.2 a cipher without authenticated encryption is refused, and the others are served."""
    certificate = certificates.issue(kind.name, "localhost", keyType=kind)
    listen = [f"ssl:0:interface=127.0.0.1:privateKey={certificate}"]
    with Daemon.start(tmp_path, "--idle-timeout=2", "--log-connections", listen=listen) as daemon:
        command = [*opensslClient(certificates, daemon.address, "-tls1_2"), "-cipher"]
        for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"):
            assert talk([*command, f"ECDHE-{kind.name}-{cipher}"], b"hello") == b"HELLO"
        weak = f"ECDHE-{kind.name}-AES128-SHA256"
        ended = subprocess.run([*command, weak], input=b"hello", capture_output=True, timeout=60, check=False)
        assert (ended.returncode, b"alert handshake failure" in ended.stderr) == (1, True), ended.stderr
        eventually(lambda: len(daemon.connections) == 4)
        assert (daemon.connections[3]["reason"], daemon.connections[3]["error"]) == ("tls", '"no shared cipher"')


@pytest.mark.usefixtures("reactor")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_clientsWithoutTheRightCertificateAreRefused(tmp_path: Path, certificates: Certificates, version: str) -> None:
    """With --tls-client-ca only clients with a certificate of that authority are served; alerts tell the others why."""
    options = ["--idle-timeout=2", "--log-connections", f"--tls-client-ca={certificates.authority}"]
    with Daemon.start(tmp_path, *options, listen=[listenTLS(certificates.server)]) as daemon:
        command = opensslClient(certificates, daemon.address, version)
        assert talk([*command, "-cert", certificates.client], b"hello") == b"HELLO"
        for shown, alert in (
            ([], b"alert handshake failure" if version == "-tls1_2" else b"alert certificate required"),
            (["-cert", certificates.stranger], b"alert unknown ca"),
        ):
            ended = subprocess.run([*command, *shown], input=b"hello", capture_output=True, timeout=60, check=False)
            assert (ended.stdout, alert in ended.stderr) == (b"", True), ended.stderr
        eventually(lambda: len(daemon.connections) == 3)
        assert [(connection["reason"], connection.get("error")) for connection in daemon.connections] == [
            ("idle", None),
            ("tls", '"peer did not return a certificate"'),
            ("tls", '"unable to get local issuer certificate"'),
        ]


@pytest.fixture
def daemon(tmp_path: Path, certificates: Certificates, reactor: str) -> Iterator[Daemon]:
    """A daemon on TCP, TLS and a Unix socket."""
    listen = ["127.0.0.1:0", listenTLS(certificates.server), f"unix:{tmp_path}/socket"]
    with Daemon.start(tmp_path, "--log-connections", listen=listen) as daemon:
        yield daemon


@pytest.mark.parametrize("transport", ["TCP", "TLS", "UNIX"])
def test_socatGetsTheEcho(daemon: Daemon, certificates: Certificates, transport: str) -> None:
    """socat, which ends its side and reads on, gets 1 MiB back."""
    tcp, tls, unix = (address.target for address in daemon.addresses)
    address = {
        "TCP": f"TCP:{tcp}",
        "TLS": f"OPENSSL:{tls[4:]},cafile={certificates.authority},commonname=localhost",
        "UNIX": f"UNIX-CONNECT:{unix[5:]}",
    }[transport]
    data = randomBytes(MIB)
    assert talk([need("socat"), "-t", "30", "-", address], data) == data.upper()


@pytest.mark.parametrize("transport", ["TCP", "TLS", "UNIX"])
def test_ncatGetsTheEcho(daemon: Daemon, certificates: Certificates, transport: str) -> None:
    """ncat, which ends its side with a FIN alone in TLS, too, gets 1 MiB back."""
    tcp, tls, unix = daemon.addresses
    options = {
        "TCP": tcp.target.split(":"),
        "TLS": [
            "--ssl-verify",
            "--ssl-trustfile",
            certificates.authority,
            "--ssl-servername",
            "localhost",
            *tls.target[4:].split(":"),
        ],
        "UNIX": ["--unixsock", unix.address],
    }[transport]
    data = randomBytes(MIB)
    assert talk([need("ncat"), *options], data) == data.upper()


def trusting(certificates: Certificates) -> list[str]:
    """Return the options that make our client trust a server."""
    return ["--tls", f"--cafile={certificates.authority}", "--server-name=localhost"]


def connectTLS(address: Address, certificates: Certificates, data: bytes) -> "subprocess.CompletedProcess[bytes]":
    """Run our client with `data`."""
    return connect(address.target, data, *trusting(certificates))


STUNNEL = """
foreground = yes
pid =
[echoup]
accept = {accept}
connect = {connect}
"""


@contextmanager
def stunnel(folder: Path, connect: str, *options: str) -> Iterator[Address]:
    """Run stunnel in front of `connect`, and yield its address."""
    address = unused()
    configuration = folder / "stunnel.conf"
    configuration.write_text(STUNNEL.format(accept=address.target, connect=connect) + "\n".join(options) + "\n")
    with running([need("stunnel", "stunnel4"), str(configuration)], address, folder / "stunnel.log"):
        yield address


def test_stunnelAsTheClientIsExact(daemon: Daemon, tmp_path: Path, certificates: Certificates) -> None:
    """Through a stunnel that adds TLS to our plain client, 1 MiB is exact."""
    data = randomBytes(MIB)
    verifying = ("client = yes", f"CAfile = {certificates.authority}", "verifyChain = yes", "checkHost = localhost")
    with stunnel(tmp_path, daemon.addresses[1].target[4:], *verifying) as address:
        ended = connect(address.target, data)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, data.upper(), b"")


@pytest.mark.usefixtures("reactor")
def test_stunnelInFrontIsExact(tmp_path: Path, certificates: Certificates) -> None:
    """Through a stunnel that ends TLS in front of the daemon and sends a PROXY header, 1 MiB is exact."""
    data = randomBytes(MIB)
    with Daemon.start(tmp_path, "--proxy-from=127.0.0.0/8", "--log-connections") as daemon:
        options = (f"cert = {certificates.server}", "protocol = proxy")
        with stunnel(tmp_path, daemon.address.target, *options) as address:
            ended = connectTLS(address, certificates, data)
            assert (ended.returncode, ended.stdout, ended.stderr) == (0, data.upper(), b"")
            assert (
                Way(replace(address, source=CLIENT), certificates.context()).exchange(data, late=True) == data.upper()
            )
        connections = eventually(lambda: len(daemon.connections) == 2 and daemon.connections)
        assert connections[1]["peer"].startswith(f"{CLIENT}:")
        assert connections[1]["via"].startswith("127.")


@pytest.mark.usefixtures("reactor")
@pytest.mark.parametrize("fdname", [(), ("--fdname=echo",)])
@pytest.mark.parametrize("kind", ["INET", "UNIX", "abstract"])
def test_socketActivatedDaemonServes(tmp_path: Path, kind: str, fdname: tuple[str, ...]) -> None:
    """A daemon that the first client starts on systemd's socket, by number or name, serves that client and the next."""
    domain = "INET" if kind == "INET" else "UNIX"
    address = unused() if domain == "INET" else Address(AF_UNIX, f"{tmp_path}/socket")
    if kind == "abstract":
        address = Address(AF_UNIX, f"\0{tmp_path}")
    which = "name=echo" if fdname else "index=0"
    activate = [need("systemd-socket-activate", "systemd"), f"--listen={address.target.removeprefix('unix:')}", *fdname]
    command = [*activate, *foreground(), "echoup", f"--listen=systemd:domain={domain}:{which}"]
    log = tmp_path / "log"
    with running(command, address, log) as process:
        assert address.echo(b"hello") == b"HELLO"
        assert address.echo(b"again") == b"AGAIN"
        daemon = Daemon(process, log)
        assert daemon.address == address
        assert daemon.stop() == 128 + signal.SIGTERM
        assert "Traceback" not in log.read_text()
    assert kind != "UNIX" or Path(address.address).is_socket()


@pytest.mark.parametrize("workers", [1, 2])
def test_abstractSocketIsReached(tmp_path: Path, reactor: str, workers: int) -> None:
    """The daemon's abstract socket has the same name for socat, our client and the log; no second daemon gets it."""
    address = Address(AF_UNIX, f"\0{tmp_path}/{reactor}/{workers}")
    name = address.target.removeprefix("unix:@")
    data = randomBytes(MIB)
    with Daemon.start(tmp_path, f"--workers={workers}", listen=[address.target]) as daemon:
        assert daemon.address == address
        assert talk([need("socat"), "-t", "30", "-", f"ABSTRACT-CONNECT:{name}"], data) == data.upper()
        ended = connect(address.target, data)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, data.upper(), b"")
        second = subprocess.run(
            [*foreground(), "echoup", f"--listen={address.target}"], capture_output=True, timeout=60, check=False
        )
        assert second.returncode == 1
        assert second.stderr.decode() == f"twistd echoup: address already in use: cannot listen on {address.target}\n"
        assert daemon.stop() == 128 + signal.SIGTERM
    with Daemon.start(tmp_path, listen=[address.target]) as daemon:
        assert address.echo(b"hello") == b"HELLO"
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_abstractSocketOfSocatIsReached(tmp_path: Path) -> None:
    """Our client reaches an abstract socket of socat's, with `tr` behind it."""
    address = Address(AF_UNIX, f"\0{tmp_path}")
    command = [need("socat"), "-t30", f"ABSTRACT-LISTEN:{tmp_path},fork", "SYSTEM:tr a-z A-Z"]
    data = randomBytes(MIB)
    with running(command, address, tmp_path / "log"):
        ended = connect(address.target, data)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, data.upper(), b"")


def listenSocat(address: Address, certificates: Certificates) -> list[str]:
    """Return the command of a socat that serves TLS, with `tr` behind it."""
    host, port = address.address
    options = f"bind={host},cert={certificates.server},verify=0,reuseaddr,fork"
    return [need("socat"), "-t30", f"OPENSSL-LISTEN:{port},{options}", "SYSTEM:tr a-z A-Z"]


def test_socatAsTheServerIsExact(tmp_path: Path, certificates: Certificates) -> None:
    """Our client gets 1 MiB in upper case from a socat that serves TLS, with `tr` behind it."""
    address, data = unused(), randomBytes(MIB)
    with running(listenSocat(address, certificates), address, tmp_path / "log"):
        ended = connectTLS(address, certificates, data)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, data.upper(), b"")


def test_stunnelBeforeATutorialsServerIsExact(tmp_path: Path, certificates: Certificates) -> None:
    """Our client gets 1 MiB in upper case from a stunnel in front of the sequential server of a socket tutorial."""
    data = randomBytes(MIB)
    with (
        serving("tutorial") as tutorial,
        stunnel(tmp_path, tutorial.target, f"cert = {certificates.server}") as address,
    ):
        ended = connectTLS(address, certificates, data)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, data.upper(), b"")


def test_ncatAsTheServerConverses(tmp_path: Path, certificates: Certificates) -> None:
    """Our client converses with ncat, which ends the program behind it when the client ends its side."""
    address = unused()
    host, port = address.address
    program = ["--ssl-cert", certificates.server, "--ssl-key", certificates.server, "-c", "sed -u s/hello/HELLO/"]
    with (
        running([need("ncat"), "-lk", *program, host, str(port)], address, tmp_path / "log"),
        Terminal(*CONNECT, *trusting(certificates), f"tls:{address.target}") as terminal,
    ):
        terminal.shows(">>:")
        terminal.type("hello\r")
        terminal.shows(">>: hello\nHELLO\n>>:")
        terminal.type("\x04")
        assert terminal.exits() == 0


def test_opensslServerIsCorrupted(tmp_path: Path, certificates: Certificates) -> None:
    """Our client judges the reply of `openssl s_server -rev`, which reverses lines, as corrupted."""
    address = unused()
    command = [need("openssl"), "s_server", "-rev", "-accept", address.target, "-cert", certificates.server]
    with running(command, address, tmp_path / "log"):
        ended = connectTLS(address, certificates, b"hello\n")
        message = "corrupted: byte 0 of the reply is not the upper case of the one sent; it begins with"
        assert (ended.returncode, ended.stderr.decode()) == (
            1,
            f'echoup: {address.target}: {message} "olleh\\n", expected "HELLO\\n"\n',
        )
