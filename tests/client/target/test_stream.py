"""The connection to a target, and how it fails."""

import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from struct import pack
from tempfile import TemporaryDirectory
from typing import cast

from trustme import CA
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.connect import resolve
from echoup.client.connect.trace import Trace
from echoup.client.datagram import DatagramClient
from echoup.client.exchange import Exchange
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient
from echoup.client.target.parse import Target, parseTarget
from echoup.client.target.security import Security
from echoup.client.target.stream import StreamTarget
from echoup.tls.certificateinfo import fingerprints
from echoup.tls.transport import TLSTransport
from echoup.verdict import Reply
from tests.support.certificates import NAME, VERSIONS, serverContext, writeCertificates
from tests.support.doubles import Peer, ReactorTestCase, raised
from tests.support.names import Names
from tests.support.serverprotocols import Mirror, Resetter, Server, Silence, tlsServer
from tests.support.sockets import reset, unheard
from tests.support.targets import OfflineReactor, connect

TCP_SAVE_SYN, TCP_SAVED_SYN = 27, 28
"""Linux keeps the headers of the SYN for the server (linux/tcp.h); Python 3.11 doesn't know it."""


class ConnectTestCase(ReactorTestCase):
    """A test with names, and with real connections."""

    def setUp(self) -> None:
        """Know some names."""
        super().setUp()
        Names({name: [name] for name in ("127.0.0.1", "127.0.0.2")}).install(self)

    def know(self, name: str, *hosts: str) -> None:
        """Let `name` have the addresses `hosts`."""
        Names({name: list(hosts)}).install(self)

    def listen(self) -> tuple[socket.socket, int]:
        """Return a socket that listens on 127.0.0.1, and its port."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        return listening, listening.getsockname()[1]

    def connect(self, target: str | Target) -> "Deferred[EchoUpClient | DatagramClient]":
        """Return the outcome of connecting to the target."""
        connecting = connect(self.reactor, target)
        self.reactor.advance(1)
        self.reactor.until(lambda: bool(connecting.called))
        return connecting

    def client(self, target: str | Target) -> EchoUpClient:
        """Return a connected client."""
        return cast("EchoUpClient", self.successResultOf(self.connect(target)))

    def accept(self, listening: socket.socket) -> Peer:
        """Return the far end of the connection that waits at `listening`."""
        far = listening.accept()[0]
        self.addCleanup(far.close)
        return Peer(self.reactor, far)

    def assertFails(self, target: str | Target, code: ExitCode, message: str) -> None:
        """Check that connecting to the target fails with `message`."""
        error = self.failureResultOf(self.connect(target), PathError).value
        assert (error.code, str(error)) == (code, message)


class ConnectTests(ConnectTestCase):
    """`StreamTarget.connect` connects, or reports in one line what failed, where and why."""

    def assertConnects(self, target: str | Target, listening: socket.socket) -> Peer:
        """Check that a connection to the target arrives at `listening`, and return its far end."""
        Exchange(self.client(target)).send(b"hello")
        peer = self.accept(listening)
        assert peer.receive(5) == b"hello"
        return peer

    def test_addressConnects(self) -> None:
        """An address is connected to."""
        listening, port = self.listen()
        self.assertConnects(f"127.0.0.1:{port}", listening)

    def test_tcpEndpointConnects(self) -> None:
        """A TCP endpoint is connected to."""
        listening, port = self.listen()
        self.assertConnects(f"tcp:127.0.0.1:{port}", listening)

    def test_unixEndpointConnects(self) -> None:
        """A Unix endpoint is connected to."""
        path = f"{self.enterContext(TemporaryDirectory())}/socket"
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen()
            self.assertConnects(f"unix:{path}", listening)

    def test_abstractSocketConnects(self) -> None:
        """An abstract Unix socket is connected to, and named as ss(8) does."""
        name = f"echoup {os.getpid()} é"
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"\0{name}")
            listening.listen()
            self.assertConnects(f"unix:@{name}", listening)
            assert self.client(f"unix:@{name}").remote == f"unix:@{name}".replace(" ", r"\x20")
        self.assertFails(f"unix:@{name}", ExitCode.UNREACHABLE, f"cannot connect to unix:@{name}: Connection refused")

    def test_bindAddressIsUsed(self) -> None:
        """The connection comes from the address that was given."""
        listening, port = self.listen()
        target = StreamTarget("", "127.0.0.1", port, bindAddress="127.0.0.2")
        assert self.assertConnects(target, listening).socket.getpeername()[0] == "127.0.0.2"

    def test_bindPortIsUsed(self) -> None:
        """The connection comes from the port that was given, with and without an address."""
        for address in (None, "127.0.0.2"):
            listening, port = self.listen()
            with socket.socket() as free:
                free.bind(("", 0))
                number = free.getsockname()[1]
            target = StreamTarget("", "127.0.0.1", port, bindAddress=address, bindPort=number)
            assert self.assertConnects(target, listening).socket.getpeername() == (address or "127.0.0.1", number)

    def test_tosIsInTheFirstPacket(self) -> None:
        """The TOS byte that was given is already in the SYN."""
        # The traffic class of IPv6 begins in the middle of a byte (RFC 8200, 3).
        for family, host, shift in ((socket.AF_INET, "127.0.0.1", 0), (socket.AF_INET6, "::1", 4)):
            with socket.create_server((host, 0), family=family) as listening:
                listening.setsockopt(socket.IPPROTO_TCP, TCP_SAVE_SYN, 1)
                self.know(host, host)
                target = StreamTarget("", host, listening.getsockname()[1], tos=0xB8)
                peer = self.assertConnects(target, listening)
                header = peer.socket.getsockopt(socket.IPPROTO_TCP, TCP_SAVED_SYN, 128)
                assert int.from_bytes(header[:2]) >> shift & 0xFF == 0xB8

    def test_nextAddressIsTried(self) -> None:
        """Where the first address of a name refuses, the next one is tried."""
        listening, port = self.listen()
        self.know("both", "127.0.0.2", "127.0.0.1")
        self.assertConnects(f"both:{port}", listening)

    def test_refusalIsReported(self) -> None:
        """A refusal is reported with the address and the system's words."""
        with unheard() as port:
            for description in (f"127.0.0.1:{port}", f"tcp:127.0.0.1:{port}"):
                message = f"cannot connect to 127.0.0.1:{port}: Connection refused"
                self.assertFails(description, ExitCode.UNREACHABLE, message)

    def test_resetIsToldAsWhenItComesLater(self) -> None:
        """A connection that is reset before it is seen has the exit code of one that is reset a moment later."""
        listening, port = self.listen()
        listening.settimeout(10)
        server = f"127.0.0.1:{port}"
        plain = StreamTarget("", "127.0.0.1", port)
        secure = replace(plain, security=Security(insecure=True))
        why = "the server reset the connection before it was used"
        for target, code, message in (
            (plain, ExitCode.SHORT, f"{server}: {why}"),
            (secure, ExitCode.TLS_FAILED, f"TLS handshake with {server}: {why}"),
        ):
            connecting = connect(self.reactor, target, 10)
            self.reactor.runUntilCurrent()
            reset(listening.accept()[0])
            self.reactor.turn()
            error = self.failureResultOf(connecting, PathError).value
            assert (error.code, str(error)) == (code, message)

    def test_missingSocketIsReported(self) -> None:
        """A Unix socket that doesn't exist is reported."""
        message = "cannot connect to unix:/nonexistent/socket: No such file or directory"
        self.assertFails("unix:/nonexistent/socket", ExitCode.UNREACHABLE, message)

    def test_unknownNameIsUnresolved(self) -> None:
        """A name without an address is reported by that name, in whichever form it was written."""
        for description in ("nowhere.invalid", "tcp:nowhere.invalid:80"):
            self.assertFails(description, ExitCode.UNRESOLVED, "cannot resolve nowhere.invalid: no address found")

    def test_impossibleAddressIsMistake(self) -> None:
        """A text that can't be an address is refused at once, as the user's mistake."""
        for description in (
            "tcp:127.0.0.1:65536",
            "tcp:127.0.0.1:-1",
            "tcp:a..b:80",
            f"tcp:{'a' * 64}:80",
            "[fe80::1%a..b]:80",
            f"unix:/{'long' * 50}",
        ):
            if not raised(ValueError, parseTarget, description):
                connecting = connect(self.reactor, description)
                self.reactor.advance(1)
                assert self.flushLoggedErrors() == [], description
                error = self.failureResultOf(connecting, PathError).value
                assert error.code in (ExitCode.USAGE, ExitCode.UNRESOLVED), description


class ProxyProtocolTests(ConnectTestCase):
    """The PROXY header, if there is one, is the first that the server receives."""

    def assertFirst(self, target: StreamTarget, listening: socket.socket, makeHeader: Callable[[int], bytes]) -> None:
        """Check that the header of our port comes first, and that the connection is the client's afterwards."""
        client = self.client(target)
        exchange = Exchange(client, untilEnd=True)
        exchange.send(b"hello")
        exchange.end()
        peer = self.accept(listening)
        source = peer.socket.getpeername()
        assert peer.receiveAll() == makeHeader(source[1] if source else 0) + b"hello"
        peer.offer(b"HELLO")
        peer.end()
        self.reactor.until(lambda: bool(client.closed.called))
        client.check(exchange.reply)

    def test_version1IsLine(self) -> None:
        """Version 1 is a line of text."""
        listening, port = self.listen()
        target = StreamTarget("", "127.0.0.1", port, proxyProtocol=1)
        line = "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n".format
        self.assertFirst(target, listening, lambda source: line(source, port).encode())

    def test_version2IsBinary(self) -> None:
        """Version 2 is binary."""
        listening, port = self.listen()
        target = StreamTarget("", "127.0.0.1", port, proxyProtocol=2)
        start = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\1\x7f\0\0\1"
        self.assertFirst(target, listening, lambda source: start + pack("!HH", source, port))

    def test_unixPathNeedsVersion2(self) -> None:
        """Of a Unix socket version 1 says UNKNOWN, and version 2 the path."""
        path = f"{self.enterContext(TemporaryDirectory())}/socket"
        ends = bytes(108) + path.encode().ljust(108, b"\0")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen()
            target = StreamTarget("", path=path)
            self.assertFirst(replace(target, proxyProtocol=1), listening, lambda _: b"PROXY UNKNOWN\r\n")
            binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8" + ends
            self.assertFirst(replace(target, proxyProtocol=2), listening, lambda _: binary)

    def test_headerPrecedesTLS(self) -> None:
        """The header is in clear, before the TLS handshake."""
        listening, port = self.listen()
        connect(self.reactor, StreamTarget("", "127.0.0.1", port, Security(insecure=True), proxyProtocol=1))
        self.reactor.advance(1)
        peer = self.accept(listening)
        line = f"PROXY TCP4 127.0.0.1 127.0.0.1 {peer.socket.getpeername()[1]} {port}\r\n".encode()
        assert peer.receive(len(line) + 2) == line + b"\x16\x03"


class TLSTests(ConnectTestCase):
    """A client of a TLS target speaks TLS, with servers that it trusts only."""

    def setUp(self) -> None:
        """Write the certificates."""
        super().setUp()
        self.directory = Path(self.enterContext(TemporaryDirectory()))
        writeCertificates(self.directory)
        self.security = Security(str(self.directory / "ca.pem"))
        self.asked: list[str | None] = []
        self.refused: list[Failure] = []

    def context(self, name: str = "server") -> ssl.SSLContext:
        """Return the context of a server that has the named certificate and takes any, or none."""
        context = serverContext(self.directory, name)
        context.sni_callback = lambda _, name, __: self.asked.append(name)
        return context

    def serve(self, context: ssl.SSLContext) -> int:
        """Let a server that answers in upper case listen on 127.0.0.1, and return its port."""

        def build() -> TLSTransport:
            self.server = tlsServer(context, self.refused)
            return self.server

        return self.listenWith(build)

    def listenWith(self, build: Callable[[], Protocol]) -> int:
        """Let `build` make the protocol of each connection, and return the port on 127.0.0.1."""
        port = self.reactor.listenTCP(0, Factory.forProtocol(build), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def assertTalks(self, target: StreamTarget) -> None:
        """Check that an exchange with the target is right."""
        client = self.client(target)
        exchange = Exchange(client, untilEnd=True)
        exchange.send(b"hello")
        exchange.end()
        self.reactor.until(lambda: bool(client.closed.called))
        client.check(exchange.reply)
        assert exchange.reply.received == 5

    def test_tlsEndpointTalks(self) -> None:
        """Twisted's TLS endpoint strings name TLS targets."""
        port, ca = self.serve(self.context()), self.security.cafile
        for text in (f"tls:127.0.0.1:{port}:trustRoots={ca}", f"tls:trustRoots={ca}:host=127.0.0.1:port={port}"):
            self.assertTalks(cast("StreamTarget", parseTarget(text)))
        assert self.asked == [None, None]

    def test_hostNameIsExpected(self) -> None:
        """The host's name is asked for and expected in the certificate, or another that is given."""
        port = self.serve(self.context())
        self.know(NAME, "127.0.0.1")
        self.assertTalks(StreamTarget("", NAME, port, self.security))
        self.know("localhost.example", "127.0.0.1")
        target = StreamTarget("", "localhost.example", port, self.security)
        self.assertTalks(replace(target, security=replace(self.security, serverName=NAME)))
        assert self.asked == [NAME, NAME]
        self.assertFails(
            target,
            ExitCode.TLS_FAILED,
            f"TLS handshake with localhost.example:{port} (127.0.0.1:{port}): "
            "Hostname mismatch, certificate is not valid for 'localhost.example'",
        )

    def test_wayToHostIsNotExpected(self) -> None:
        """What only finds the host is neither asked for nor expected: a dot at the end, its case, a form of numbers."""
        port = self.serve(self.context())
        for host in (f"{NAME}.", NAME.upper(), "127.1"):
            self.know(host, "127.0.0.1")
            self.assertTalks(StreamTarget("", host, port, self.security))
        self.assertTalks(StreamTarget("", "::ffff:127.0.0.1", port, self.security))
        self.assertTalks(StreamTarget("", "127.0.0.1", port, replace(self.security, serverName=f"{NAME}.")))
        assert self.asked == [NAME, NAME, None, None, NAME]

    def test_interfaceIsNotExpected(self) -> None:
        """The interface of an address is no part of the address in the certificate, and no name is asked for."""
        factory = Factory.forProtocol(lambda: tlsServer(self.context(), self.refused))
        port = self.reactor.listenTCP(0, factory, interface="::1")
        self.addCleanup(port.stopListening)
        self.assertTalks(StreamTarget("", "::1%1", port.getHost().port, self.security))
        assert self.asked == [None]

    def test_nameInAnyScriptIsExpectedInASCII(self) -> None:
        """A name in another script is asked for, and expected, as IDNA 2008 encodes it."""
        port = self.serve(self.context())
        self.know("xn--fa-hia.example", "127.0.0.1")
        for target in (
            StreamTarget("", "faß.example", port, self.security),
            StreamTarget("", "127.0.0.1", port, replace(self.security, serverName="faß.example")),
        ):
            error = self.failureResultOf(self.connect(target), PathError).value
            assert str(error).endswith("certificate is not valid for 'xn--fa-hia.example'")
        assert self.asked == ["xn--fa-hia.example"] * 2

    def test_unixSocketMayBeTLS(self) -> None:
        """A Unix socket can speak TLS too; it has no name that could be expected."""
        path = f"{self.directory}/socket"
        port = self.reactor.listenUNIX(path, Factory.forProtocol(lambda: TLSTransport(self.context(), Server)))
        self.addCleanup(port.stopListening)
        for security in (Security(insecure=True), replace(self.security, serverName=NAME)):
            self.assertTalks(StreamTarget("", path=path, security=security))
        assert self.asked == [None, NAME]

    def test_ownCertificateIsShown(self) -> None:
        """Our own certificate is shown."""
        port = self.serve(self.context())
        security = replace(self.security, cert=str(self.directory / "client.pem"))
        self.assertTalks(StreamTarget("", "127.0.0.1", port, security))
        certificate = self.server.tls.getpeercert()
        assert certificate is not None
        assert certificate["subjectAltName"] == (("DNS", "client.example"),)

    def test_untrustedCertificateIsReported(self) -> None:
        """An untrusted certificate is reported, to the server as well; then the connection is closed."""
        port = self.serve(self.context("expired"))
        message = f"TLS handshake with 127.0.0.1:{port}: certificate has expired"
        self.assertFails(StreamTarget("", "127.0.0.1", port, self.security), ExitCode.TLS_FAILED, message)
        self.reactor.until(lambda: bool(self.server.closed.called))
        (failure,) = self.refused
        assert "alert certificate expired" in str(failure.value)

    def test_missingOwnCertificateFailsLater(self) -> None:
        """With TLS 1.3 a server that demands a certificate refuses after the client's handshake."""
        context = self.context()
        context.verify_mode = ssl.CERT_REQUIRED
        target = StreamTarget("", "127.0.0.1", self.serve(context), self.security)
        client = self.client(target)
        self.reactor.until(lambda: bool(client.closed.called))
        error = raised(PathError, client.check, Reply())
        assert error is not None
        assert (error.code, str(error)) == (
            ExitCode.TLS_FAILED,
            f"{target}: TLS failed: tlsv13 alert certificate required; the server may expect --cert",
        )

    def failHandshake(self, target: StreamTarget) -> tuple[PathError, EchoUpClient, Trace]:
        """Return the error of connecting to `target`, the client, and the trace."""
        client, trace = EchoUpClient(self.reactor), Trace(self.reactor.seconds)
        connecting = Deferred.fromCoroutine(target.connectClient(self.reactor, client, 10, trace))
        self.reactor.until(lambda: bool(connecting.called))
        return self.failureResultOf(connecting, PathError).value, client, trace

    def test_pinIsMetByCertificateOrKey(self) -> None:
        """A pin is met by the fingerprint of the certificate or of its public key, and counts beside the authority."""
        port = self.serve(self.context())
        pins = fingerprints(ssl.PEM_cert_to_DER_cert((self.directory / "server.crt").read_text()))
        for pin in pins:
            for security in (self.security, Security(insecure=True)):
                self.assertTalks(StreamTarget("", "127.0.0.1", port, replace(security, pin=pin)))
            message = f"TLS handshake with 127.0.0.1:{port}: self-signed certificate in certificate chain"
            self.assertFails(StreamTarget("", "127.0.0.1", port, Security(pin=pin)), ExitCode.TLS_FAILED, message)

    def test_otherCertificateMissesPin(self) -> None:
        """With another certificate the handshake fails, which names what was presented; the connection is dropped."""
        port = self.serve(self.context())
        der = ssl.PEM_cert_to_DER_cert((self.directory / "server.crt").read_text())
        whole, publicKey = fingerprints(der)
        why = f"the pin is not met: the server's certificate has {whole}, its public key {publicKey}"
        for security in (self.security, Security(insecure=True)):
            target = StreamTarget("", "127.0.0.1", port, replace(security, pin=f"sha256:{'0' * 64}"))
            error, client, trace = self.failHandshake(target)
            assert (error.code, str(error)) == (ExitCode.TLS_FAILED, f"TLS handshake with 127.0.0.1:{port}: {why}")
            assert (trace.certificate, trace.phases[-1].error) == (der, why)
            assert client.closed.called
            self.reactor.until(lambda: bool(self.server.closed.called))

    def test_refusedCertificateIsRecorded(self) -> None:
        """The trace has the certificate that was presented, also if it is refused; in TLS 1.2 and 1.3."""
        der = ssl.PEM_cert_to_DER_cert((self.directory / "expired.crt").read_text())
        for version in VERSIONS:
            context = self.context("expired")
            context.maximum_version = version
            target = StreamTarget("", "127.0.0.1", self.serve(context), self.security)
            _, _, trace = self.failHandshake(target)
            assert trace.certificate == der

    def test_demandedCertificateIsSuggested(self) -> None:
        """If the server asked for a certificate and got none, the error names `--cert`; not if it got a wrong one."""
        for version in VERSIONS:
            context = serverContext(self.directory)
            context.maximum_version = version
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.directory / "ca.pem")
            port = self.serve(context)
            error = self.refusal(StreamTarget("", "127.0.0.1", port, self.security))
            assert error.endswith("; the server may expect --cert")
            wrong = replace(self.security, cert=str(self.directory / "stranger.pem"))
            stranger = CA().issue_cert("client.example")
            stranger.private_key_and_cert_chain_pem.write_to_path(str(self.directory / "stranger.pem"))
            assert "may expect" not in self.refusal(StreamTarget("", "127.0.0.1", port, wrong))

    def refusal(self, target: StreamTarget) -> str:
        """Return the error of a server that refuses in the handshake or, in TLS 1.3, after it."""
        connecting = self.connect(target)
        if isinstance(connecting.result, Failure):
            return str(self.failureResultOf(connecting, PathError).value)
        client = cast("EchoUpClient", self.successResultOf(connecting))
        self.reactor.until(lambda: bool(client.closed.called))
        return str(raised(PathError, client.check, Reply()))

    def assertHandshakeFails(self, build: type[Server], message: str) -> None:
        """Check how the handshake fails with a server that doesn't speak TLS."""
        port = self.listenWith(build)
        target = StreamTarget("", "127.0.0.1", port, self.security)
        self.assertFails(target, ExitCode.TLS_FAILED, f"TLS handshake with 127.0.0.1:{port}: {message}")

    def test_plainServerIsRecognized(self) -> None:
        """A server that doesn't speak TLS is reported as such."""
        for build, error in ((Shouter, "wrong version number"), (Mirror, "unexpected message")):
            self.assertHandshakeFails(build, f"{error}; the server does not seem to speak TLS")

    def test_closedDuringHandshake(self) -> None:
        """A connection that the server closes or resets ends the handshake."""
        for build in (Leaver, Resetter):
            why = "the server closed the connection; the server may expect --proxy-protocol"
            self.assertHandshakeFails(build, why)

    def test_headerIsSuggestedToServerThatExpectsIt(self) -> None:
        """A server that closes without a byte may expect a header; not if it got one, or if something came."""
        port = self.listenWith(Leaver)
        for target, isSuggested in (
            (StreamTarget("", "127.0.0.1", port, self.security), True),
            (StreamTarget("", "127.0.0.1", port, self.security, proxyProtocol=1), False),
        ):
            error = self.failureResultOf(self.connect(target), PathError).value
            assert str(error).endswith("; the server may expect --proxy-protocol") is isSuggested

    def test_silentHandshakeTimesOut(self) -> None:
        """A silent server is given up after the time for resolving, connecting and the handshake, and is dropped."""
        server = Silence()
        port = self.listenWith(lambda: server)
        self.patch(resolve, "lookUp", lambda *_: deferLater(self.reactor, 6, lambda: ["127.0.0.1"]))
        connecting = connect(self.reactor, StreamTarget("", "there", port, self.security), 10)
        self.reactor.advance(7)
        self.reactor.until(lambda: bool(server.taken))
        self.reactor.advance(2.5)
        self.assertNoResult(connecting)
        self.reactor.advance(1)
        error = self.failureResultOf(connecting, PathError).value
        name = f"there:{port} (127.0.0.1:{port})"
        assert (error.code, str(error)) == (
            ExitCode.TIMED_OUT,
            f"TLS handshake with {name}: timed out: nothing came back in 10 s",
        )
        self.reactor.until(lambda: server.gone)

    def test_unusableSecurityIsMistake(self) -> None:
        """A file or a name that can't be used is the user's mistake, and no connection is tried."""
        for security, message in (
            (Security("/nonexistent"), "/nonexistent: No such file or directory"),
            (Security(serverName=".a"), "'.a' is not a host name"),
        ):
            target = StreamTarget("", "192.0.2.1", 1, security)
            self.assertFails(target, ExitCode.USAGE, f"cannot speak TLS with 192.0.2.1:1: {message}")


class Shouter(Server):
    """A server that answers with text."""

    def dataReceived(self, data: bytes) -> None:
        """Answer."""
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


class Leaver(Server):
    """A server that closes when something comes."""

    def dataReceived(self, data: bytes) -> None:
        """Close."""
        self.transport.loseConnection()


class TimeoutTests(SynchronousTestCase):
    """Connecting takes no longer than the timeout."""

    def setUp(self) -> None:
        """Know a name."""
        Names({"there": ["192.0.2.1"]}).install(self)

    def test_unansweredConnectTimesOut(self) -> None:
        """A connection that isn't answered in time is reported."""
        for description, name in (
            ("there:80", "there:80 (192.0.2.1:80)"),
            ("tcp:192.0.2.1:80", "192.0.2.1:80"),
            ("unix:/run/echoup", "unix:/run/echoup"),
        ):
            reactor = OfflineReactor()
            connecting = connect(reactor, description, 2.5)
            reactor.advance(2.4)
            self.assertNoResult(connecting)
            reactor.advance(0.1)
            error = self.failureResultOf(connecting, PathError).value
            assert error.code == ExitCode.TIMED_OUT
            assert str(error) == f"cannot connect to {name}: timed out after 2.5 s"

    def test_timeoutListsTriedAddresses(self) -> None:
        """Of several addresses, those that were tried in that time are listed."""
        reactor = OfflineReactor()
        Names({"there": ["192.0.2.1", "192.0.2.2", "192.0.2.3"]}).install(self)
        connecting = connect(reactor, "there:80", 0.4)
        for _ in range(4):
            reactor.advance(0.1)
        error = self.failureResultOf(connecting, PathError).value
        message = "cannot connect to there:80 (192.0.2.1:80, 192.0.2.2:80): timed out after 0.4 s"
        assert (error.code, str(error)) == (ExitCode.TIMED_OUT, message)

    def test_endpointsOwnTimeout(self) -> None:
        """An endpoint string may have a shorter timeout of its own."""
        reactor = OfflineReactor()
        connecting = connect(reactor, "tcp:192.0.2.1:80:timeout=1")
        reactor.advance(0.9)
        self.assertNoResult(connecting)
        reactor.advance(0.1)
        error = self.failureResultOf(connecting, PathError).value
        assert error.code == ExitCode.TIMED_OUT
        assert str(error) == "cannot connect to 192.0.2.1:80: timed out"

    def test_connectorHasNoTimeout(self) -> None:
        """The connector has no timeout of its own, neither Twisted's 30 seconds nor one that a pause brings nearer."""
        for description in ("there:80", "tcp:192.0.2.1:80", "unix:/run/echoup"):
            reactor = OfflineReactor()
            self.assertNoResult(connect(reactor, description, 60))
            ((_, _, _, timeout, _),) = reactor.tcpClients or [(0, 0, *reactor.unixClients[0][1:3], 0)]
            assert timeout is None, description

    def test_tlsEndpointsOwnTimeout(self) -> None:
        """A TLS endpoint's own timeout limits the connecting too."""
        reactor = OfflineReactor()
        connecting = connect(reactor, "tls:there:443:timeout=3", 60)
        reactor.advance(2.9)
        self.assertNoResult(connecting)
        reactor.advance(0.1)
        error = self.failureResultOf(connecting, PathError).value
        assert str(error) == "cannot connect to there:443 (192.0.2.1:443): timed out"
