"""What comes before the stream is taken in exactly, in time, and leaves nothing behind."""

import contextlib
import itertools
import re
import socket
import ssl
import warnings
import weakref
from collections import Counter
from collections.abc import Collection, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from struct import pack
from tempfile import TemporaryDirectory
from typing import cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolFactory
from twisted.internet.tcp import Port, Server
from twisted.logger import LogEvent, capturedLogs, formatEvent
from zope.interface.verify import verifyObject

from echoup.addresses import Network, describeAddress
from echoup.clock import LOOKS
from echoup.proxyheader import SIGNATURE, encodeProxyHeader
from echoup.server.admission.gate import Gate
from echoup.server.connection import Connection, IConnectionProtocol, Stage
from echoup.server.connections import Connections
from echoup.server.listening.certificate import ServerCertificate
from echoup.server.reasons import EndReason, ProxyResult, TLSResult
from echoup.server.settings import Limits
from echoup.server.stream.arrival import Arrival, ArrivalFactory
from echoup.server.stream.protocol import EchoUp, EchoUpFactory
from echoup.tls.transport import RECORD, TLSTransport
from tests.support.certificates import VERSIONS, writeCertificates
from tests.support.doubles import Peer, ReactorTestCase, raised
from tests.support.gates import REFUSED, LatePeerLimit, held
from tests.support.properties import given, st
from tests.support.tlspeer import TLSPeer

TIMEOUT = 5.0
INSTANT = 2**-10
"""Seconds; in binary it is exact, and so are the sums with it."""

LIMITS = Limits(idleTimeout=100, stallTimeout=10, handshakeTimeout=TIMEOUT)
NETWORKS = (ip_network("127.0.0.0/8"),)

CLIENT = IPv4Address("TCP", "192.0.2.7", 40000)
SERVER = IPv4Address("TCP", "198.51.100.2", 443)
V1 = encodeProxyHeader(1, CLIENT, SERVER)
V2 = encodeProxyHeader(2, CLIENT, SERVER)
AUTHORITY = V2[:14] + pack("!H", 12 + 14) + V2[16:] + b"\x02\x00\x0bexample.org"
"""A header of version 2 that says which host the client asked for."""

ASKING = " server_name=localhost"
"""What the log says of our clients of TLS, which all ask for this name."""

NO_TLS = "wrong version number; the client does not seem to speak TLS"


def agreed(version: ssl.TLSVersion) -> str:
    """Return what the log says of our clients once they speak that version of TLS."""
    return f" tls_version={version.name.replace('_', '.')}{ASKING}"


class ArrivalTestCase(ReactorTestCase):
    """A test whose connections, whatever becomes of them, leave nothing behind."""

    def setUp(self) -> None:
        """Make certificates, and the streams that connections can become."""
        super().setUp()
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        writeCertificates(self.folder)
        self.certificate = ServerCertificate(f"{self.folder}/server.pem")
        self.events = cast("list[LogEvent]", self.enterContext(capturedLogs()))
        self.peers: list[Peer] = []
        self.connections = Connections(self.reactor, LIMITS, Gate(self.reactor, LIMITS))
        self.limit(LIMITS)
        self.addCleanup(self.checkNothingLeft)

    def limit(self, limits: Limits) -> None:
        """Begin anew, with these limits."""
        self.build(limits, Gate(self.reactor, limits))

    def build(self, limits: Limits, gate: Gate) -> None:
        """Begin anew, with this gate."""
        self.gate = gate
        self.connections.stopSweeping()
        self.connections = Connections(self.reactor, limits, gate, logConnections=True)
        self.streams = EchoUpFactory(self.reactor, connections=self.connections)

    def checkNothingLeft(self) -> None:
        """Let all peers go, and check that no connection, descriptor or timer is left, and none counted."""
        for peer in self.peers:
            peer.socket.close()
        self.reactor.until(lambda: not self.connections)
        self.gate.close()
        self.connections.stopSweeping()
        assert self.reactor.getDelayedCalls() == []
        assert held(self.gate) == (0, {})
        transports = [reader for reader in self.reactor._seen if isinstance(reader, Server)]
        assert [transport for transport in transports if hasattr(transport, "socket")] == []

    def arrivals(
        self, certificate: ServerCertificate | None = None, networks: Collection[Network] = NETWORKS
    ) -> ArrivalFactory:
        """Return the factory of connections that come from `networks`, unless these are empty, through a proxy."""
        return ArrivalFactory(self.streams, TIMEOUT, networks, certificate)

    def connect(
        self, certificate: ServerCertificate | None = None, networks: Collection[Network] = NETWORKS
    ) -> tuple[Peer, str]:
        """Return the far end of a new connection, and its address as the log has it."""
        self.peers.append(self.peerOf(self.arrivals(certificate, networks)))
        return self.peers[-1], "{}:{}".format(*self.peers[-1].socket.getsockname())

    def connectTLS(self, version: ssl.TLSVersion, client: Path | None = None) -> TLSPeer:
        """Return the far end of a new connection that comes without a proxy, and is to begin with TLS."""
        return self.overTLS(self.connect(self.certificate, ())[0], version, client)

    def overTLS(self, peer: Peer, version: ssl.TLSVersion, client: Path | None = None) -> TLSPeer:
        """Return a client of TLS `version`, with the certificate `client`, at the far end `peer`."""
        context = self.context()
        context.minimum_version = context.maximum_version = version
        if client:
            context.load_cert_chain(client)
        return TLSPeer(peer, context)

    def context(self) -> ssl.SSLContext:
        """Return the context of a client that trusts our certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.folder / "ca.pem")
        return context

    def others(self) -> Path:
        """Return a folder with the same certificates of an authority that isn't trusted."""
        folder = self.folder / "others"
        folder.mkdir()
        writeCertificates(folder)
        return folder

    def connection(self) -> Connection:
        """Return the only connection that there is."""
        (connection,) = self.connections
        return connection

    def protocol(self) -> IConnectionProtocol:
        """Return what serves the only connection."""
        protocol = self.connection().protocol
        assert protocol
        return protocol

    def stream(self) -> EchoUp:
        """Return what serves the only connection, which is a stream."""
        stream = self.protocol()
        assert isinstance(stream, EchoUp)
        return stream

    def lines(self) -> list[str]:
        """Return what was logged of connections, without the fields that all lines have in common."""
        lines = [str(formatEvent(event)) for event in self.events if event["log_namespace"].startswith("echoup")]
        return [re.sub(r"^connection id=\d+ listener= ", "connection ", line) for line in lines]

    def assertGone(self, line: str) -> None:
        """Check that the only connection goes away, and that `line` is what is logged of it."""
        self.reactor.until(lambda: not self.connections)
        assert self.lines() == [line]
        self.events.clear()

    def assertCut(self, peer: Peer, line: str) -> None:
        """Check that the only connection is aborted, and what is logged of it."""
        assert raised(ConnectionResetError, peer.receiveAll)
        self.assertGone(line)


class ArrivalFactoryTests(ArrivalTestCase):
    """`ArrivalFactory` knows what a connection has to begin with."""

    def test_factoryAndArrivalProvideTheirInterfaces(self) -> None:
        """It is a factory, and what it builds serves a connection, and is half-closeable."""
        verifyObject(IProtocolFactory, self.arrivals())
        self.connect()
        for interface in (IConnectionProtocol, IHalfCloseableProtocol):
            verifyObject(interface, self.protocol())

    def test_portsAreNotLogged(self) -> None:
        """That a port with it opens or closes is nothing that it logs."""
        assert not self.arrivals().noisy

    def test_plainConnectionIsAStreamAtOnce(self) -> None:
        """A connection with nothing before its stream is a stream at once."""
        protocol = self.arrivals(networks=()).buildProtocol(CLIENT)
        assert isinstance(protocol, EchoUp)
        assert protocol.connection.peer == CLIENT

    def test_certificateMakesArrivals(self) -> None:
        """With a certificate every connection begins with TLS."""
        for address in (CLIENT, UNIXAddress(None)):
            assert isinstance(self.arrivals(self.certificate, ()).buildProtocol(address), Arrival)

    def test_onlyProxiesBeginWithAHeader(self) -> None:
        """A connection begins with a header if and only if it comes from one of the proxies' networks."""
        arrivals = self.arrivals(networks=[ip_network(text) for text in ("10.0.0.0/8", "192.0.2.1", "fe80::/10")])
        proxies = ("10.1.2.3", "::ffff:10.1.2.3", "192.0.2.1", "::ffff:c000:201", "fe80::1", "fe80::1%lo")
        others = ("11.0.0.1", "::ffff:11.0.0.1", "192.0.2.2", "::a01:203", "::1", "2001:db8::1")
        for hosts, kind in ((proxies, Arrival), (others, EchoUp)):
            for host in hosts:
                address = (IPv6Address if ":" in host else IPv4Address)("TCP", host, 40000)
                assert isinstance(arrivals.buildProtocol(address), kind), host

    def test_ipv6NetworksHaveNoIPv4Clients(self) -> None:
        """A client of IPv4 is in no network of IPv6, whatever kind of socket accepts it: not even in `::/0`."""
        arrivals = self.arrivals(networks=[ip_network("::/0")])
        for address, kind in (
            (IPv6Address("TCP", "2001:db8::1", 1), Arrival),
            (IPv6Address("TCP", "::ffff:192.0.2.1", 1), EchoUp),
            (IPv4Address("TCP", "192.0.2.1", 1), EchoUp),
        ):
            assert isinstance(arrivals.buildProtocol(address), kind), address

    def test_unixSocketIsInNoNetwork(self) -> None:
        """A Unix socket is in no network."""
        self.peers.append(self.peerOf(self.arrivals(networks=[ip_network("::/0")]), socket.AF_UNIX))
        assert isinstance(self.protocol(), EchoUp)

    def test_headerFromElsewhereIsData(self) -> None:
        """A header from outside the networks is data like any other."""
        peer, name = self.connect(networks=[ip_network("10.0.0.0/8")])
        peer.offer(V1)
        peer.end()
        assert peer.receiveAll() == V1.upper()
        self.assertGone(f"connection peer={name} bytes={len(V1)} seconds=0.000 reason=done")


class HeaderTests(ArrivalTestCase):
    """From a proxy, a connection begins with the header, and what follows is the client's."""

    def test_headerByteByByteMakesAStream(self) -> None:
        """The header may come byte by byte; the last one makes a stream of the client's."""
        for header, details in ((V1, ""), (V2, ""), (AUTHORITY, " authority=example.org")):
            peer, name = self.connect()
            for byte in header:
                assert isinstance(self.protocol(), Arrival)
                assert (describeAddress(self.connection().peer), self.connection().source) == (name, None)
                peer.offer(bytes([byte]))
            assert (self.connection().peer, self.connection().source) == (CLIENT, CLIENT.host)
            peer.offer(b"hello")
            assert peer.receive(5) == b"HELLO"
            self.reactor.advance(2.5, step=2.5)
            peer.end()
            assert peer.receiveAll() == b""
            line = f"connection peer=192.0.2.7:40000 bytes=5 seconds=2.500 reason=done via={name}{details}"
            self.assertGone(line)

    def test_mappedClientIsOneOfIPv4(self) -> None:
        """A client that a header of IPv6 names by its IPv4-mapped address counts, and is logged, as one of IPv4."""
        block = ip_address("::ffff:192.0.2.7").packed * 2 + (40000).to_bytes(2) * 2
        v2 = SIGNATURE + b"\x21\x21" + len(block).to_bytes(2) + block
        for header in (b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.8 40000 8081\r\n", v2):
            peer, name = self.connect()
            peer.offer(header)
            assert (self.connection().peer, self.connection().source) == (CLIENT, CLIENT.host)
            peer.end()
            self.assertGone(f"connection peer=192.0.2.7:40000 bytes=0 seconds=0.000 reason=done via={name}")

    def test_headerDataAndEndInOneSegment(self) -> None:
        """The header, the first bytes and the end may all come at once."""
        for header in (V1, V2):
            peer, name = self.connect()
            peer.socket.send(header + b"hello")
            peer.end()
            assert peer.receiveAll() == b"HELLO"
            self.assertGone(f"connection peer=192.0.2.7:40000 bytes=5 seconds=0.000 reason=done via={name}")

    @given(st.sampled_from([V1, V2, AUTHORITY]), st.binary(), st.lists(st.integers(0, 100)))
    def test_headerAndDataInAnyPieces(self, header: bytes, data: bytes, cuts: list[int]) -> None:
        """However header and data are cut into pieces, the data comes back, and only that."""
        peer, _ = self.connect()
        stream = header + data
        places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        for start, end in itertools.pairwise(places):
            peer.offer(stream[start:end])
        peer.end()
        assert peer.receiveAll() == data.upper()
        self.reactor.until(lambda: not self.connections)

    def test_secondHeaderIsData(self) -> None:
        """A second header is data: it isn't the proxy that sent it."""
        peer, _ = self.connect()
        peer.offer(V1 + V2)
        assert peer.receive(len(V2)) == V2.upper()

    def test_unknownClientIsTheProxy(self) -> None:
        """A header that doesn't name the client is the proxy's own."""
        for header in (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ::1 ::1 1 2\r\n", SIGNATURE + b"\x20\x00\x00\x00"):
            peer, name = self.connect()
            peer.offer(header + b"hello")
            assert self.connection().source == "127.0.0.1"
            assert peer.receive(5) == b"HELLO"
            peer.end()
            self.assertGone(f"connection peer={name} bytes=5 seconds=0.000 reason=done via={name}")

    def test_unixClientHasNoSource(self) -> None:
        """A client that came to its proxy through a Unix socket has no address that a limit could count for."""
        peer, name = self.connect()
        peer.offer(encodeProxyHeader(2, UNIXAddress(b"/run/a\nb"), UNIXAddress(b"/run/c")))
        assert self.connection().source is None
        peer.end()
        line = rf"connection peer=unix:/run/a\nb bytes=0 seconds=0.000 reason=done via={name}"
        self.assertGone(line)

    def test_badHeaderIsAbortedAndQuoted(self) -> None:
        """What is no header is aborted at once, and quoted in the log so that it can't be taken for anything else."""
        mistakes = {
            b"GET / HTTP/1.1\r\n": r"b'GET / HTTP/1.1\r\n' does not begin a PROXY protocol header",
            b'\x1b[31m" error="\n': r"b'\x1b[31m\" error=\"\n' does not begin a PROXY protocol header",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 66000\r\n": "'66000' is not a port number from 0 to 65535",
            V2[:12] + b"\x31": "version and command are 0x31, not 0x20 or 0x21",
        }
        for data, words in mistakes.items():
            peer, name = self.connect()
            peer.socket.send(data)
            self.assertCut(peer, f'connection peer={name} bytes=0 seconds=0.000 reason=header error="{words}"')

    def test_nothingStaysOfTheArrival(self) -> None:
        """Nothing of the arrival stays between the transport and the stream, and nothing else of it either."""
        peer, _ = self.connect()
        arrival = self.protocol()
        assert isinstance(arrival, Arrival)
        transport, kept = arrival.transport, weakref.ref(arrival)
        del arrival
        peer.offer(V1)
        assert transport.protocol is self.stream()
        assert self.stream().transport is transport
        assert kept() is None


class TLSTests(ArrivalTestCase):
    """The handshake makes a stream of the connection, or ends it, in every version of TLS."""

    def test_handshakeMakesAStream(self) -> None:
        """After the handshake it is a stream, with TLS in between and nothing else."""
        for version in VERSIONS:
            peer = self.connectTLS(version)
            assert isinstance(self.protocol(), Arrival)
            peer.shakeHands()
            below = self.stream().transport
            assert isinstance(below, TLSTransport)
            assert below.transport.protocol is below
            peer.offer(b"hello")
            assert peer.receive(5) == b"HELLO"
            peer.end()
            assert peer.receiveAll() == b""
            name = "{}:{}".format(*peer.peer.socket.getsockname())
            self.assertGone(f"connection peer={name} bytes=5 seconds=0.000 reason=done{agreed(version)}")

    def test_headerComesBeforeTLS(self) -> None:
        """Through a proxy, the header is in clear, and may come with the first of the handshake."""
        for version in VERSIONS:
            for size in (len(AUTHORITY), 2**16, 1):
                peer, name = self.connect(self.certificate)
                client = self.overTLS(peer, version)
                first = AUTHORITY + client.flight()
                for start in range(0, len(first), size):
                    peer.offer(first[start : start + size])
                client.shakeHands()
                assert self.connection().peer == CLIENT
                client.offer(b"hello")
                assert client.receive(5) == b"HELLO"
                client.end()
                assert client.receiveAll() == b""
                line = "connection peer=192.0.2.7:40000 bytes=5 seconds=0.000 reason=done"
                self.assertGone(f"{line} via={name} authority=example.org{agreed(version)}")

    def test_stageIsWhatItWaitsFor(self) -> None:
        """The stage of a connection tells what it waits for, until it echoes; one that is aborted is ending."""
        self.limit(Limits(maxConnections=1))
        peer, _ = self.connect(self.certificate)
        waiting, _ = self.connect(self.certificate)
        found = [connection.stage for connection in self.connections]
        peer.offer(V1)
        found.append(next(iter(self.connections)).stage)
        client = self.overTLS(peer, ssl.TLSVersion.TLSv1_3)
        client.shakeHands()
        client.offer()
        found.append(next(iter(self.connections)).stage)
        client.peer.reset()
        waiting.socket.send(b"no header")
        self.reactor.until(lambda: [each.stage for each in self.connections] == [Stage.ENDING])
        assert found == [Stage.HEADER, Stage.WAITING, Stage.HANDSHAKE, Stage.ECHOING]

    def test_dataWithTheLastOfTheHandshake(self) -> None:
        """Data and the end may come together with the last of the handshake."""
        for version in VERSIONS:
            peer = self.connectTLS(version)
            peer.peer.offer(peer.flight())
            last = peer.flight()
            if version == ssl.TLSVersion.TLSv1_3:  # before, the server has the last word
                peer.tls.write(b"hello")
            with contextlib.suppress(ssl.SSLError):
                peer.tls.unwrap()
            peer.peer.socket.send(last + peer.seal())
            peer.peer.end()
            received = peer.receiveAll() if version == ssl.TLSVersion.TLSv1_3 else b""
            assert received == b"HELLO" * (version == ssl.TLSVersion.TLSv1_3)
            self.reactor.until(lambda: not self.connections)

    def assertUntrusted(self, peer: TLSPeer, words: str, alert: str) -> None:
        """Check that there is no TLS with `peer`, which gets an alert, and what is logged of it."""
        name = "{}:{}".format(*peer.peer.socket.getsockname())

        def talk() -> None:
            peer.shakeHands()
            peer.receiveAll()  # only here, with TLS 1.3, a client hears of what was wrong with its certificate

        error = raised(ssl.SSLError, talk)
        assert error is not None
        assert error.reason == alert
        assert isinstance(self.protocol(), Arrival)
        peer.peer.end()
        self.assertGone(f'connection peer={name} bytes=0 seconds=0.000 reason=tls{ASKING} error="{words}"')

    def test_clientCertificateIsDemanded(self) -> None:
        """With an authority for clients, those that it has signed are served, and all others are told why not."""
        self.certificate = ServerCertificate(f"{self.folder}/server.pem", clientCA=f"{self.folder}/ca.pem")
        others = self.others()
        alerts = "SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV13_ALERT_CERTIFICATE_REQUIRED"
        for version, alert in zip(VERSIONS, alerts, strict=True):
            peer = self.connectTLS(version, self.folder / "client.pem")
            peer.shakeHands()
            peer.offer(b"hello")
            assert peer.receive(5) == b"HELLO"
            peer.peer.socket.close()
            self.reactor.until(lambda: not self.connections)
            self.events.clear()
            self.assertUntrusted(self.connectTLS(version), "peer did not return a certificate", alert)
            stranger = self.connectTLS(version, others / "client.pem")
            self.assertUntrusted(stranger, "unable to get local issuer certificate", "TLSV1_ALERT_UNKNOWN_CA")

    def test_clientThatDistrustsIsAFailure(self) -> None:
        """A client that doesn't trust us is a failure of TLS, too."""
        self.certificate = ServerCertificate(f"{self.others()}/server.pem")
        for version in VERSIONS:
            peer = self.connectTLS(version)
            name = "{}:{}".format(*peer.peer.socket.getsockname())
            assert raised(ssl.SSLCertVerificationError, peer.shakeHands)
            peer.peer.end()
            line = f'connection peer={name} bytes=0 seconds=0.000 reason=tls{ASKING} error="tlsv1 alert unknown ca"'
            self.assertGone(line)

    def test_oldVersionIsRefused(self) -> None:
        """A client that speaks no version from 1.2 on is told so."""
        context = self.context()
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that is what the test is about
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        peer = TLSPeer(self.connect(self.certificate, ())[0], context)
        self.assertUntrusted(peer, "unsupported protocol", "TLSV1_ALERT_PROTOCOL_VERSION")

    def test_otherProtocolsAreNotAnswered(self) -> None:
        """What isn't TLS isn't answered as if it were anything else, and is over at once if the peer ends, too."""
        for data, words in (
            (b"GET / HTTP/1.1\r\n\r\n", "http request"),
            (b"hello, is anybody there?", NO_TLS),
            (V1, NO_TLS),
            (b"\x15\x03\x01\x00\x02\x01\x00", "unexpected message"),  # a close_notify
            (b"\x16\x03\x01\x00\x04\x0e\x00\x00\x00", "unexpected message"),
        ):
            peer, name = self.connect(self.certificate, ())
            peer.offer(data * 100)
            peer.end()
            assert b"hello" not in peer.receiveAll().lower()
            self.assertGone(f'connection peer={name} bytes=0 seconds=0.000 reason=tls error="{words}"')

    def test_failureAfterAHeaderNamesTheClient(self) -> None:
        """When there is no TLS after a header, the log has the client and both reasons."""
        peer, name = self.connect(self.certificate)
        peer.offer(AUTHORITY + b"hello, is anybody there?")
        peer.end()
        line = "connection peer=192.0.2.7:40000 bytes=0 seconds=0.000 reason=tls"
        self.assertGone(f'{line} via={name} authority=example.org error="{NO_TLS}"')

    def test_peerThatStaysIsAbortedAtTheDeadline(self) -> None:
        """A peer that doesn't end when there is no TLS is aborted at the deadline, whatever it sends until then."""
        peer, name = self.connect(self.certificate, ())
        peer.offer(b"hello, is anybody there?")
        self.reactor.advance(TIMEOUT - INSTANT, step=1)
        peer.offer(b"hello" * 1000)
        self.reactor.turn()
        assert isinstance(self.protocol(), Arrival)
        self.reactor.advance(INSTANT)
        line = f'connection peer={name} bytes=0 seconds=5.000 reason=tls error="{NO_TLS}"'
        self.assertGone(line)


class FactTests(ArrivalTestCase):
    """The record of a connection has what the handshake tells, each as one word without quotation marks."""

    def detailsOf(self, context: ssl.SSLContext, name: str | None) -> dict[str, str]:
        """Return the details of a connection after the handshake of a client that asks for `name`."""
        peer = TLSPeer(self.connect(self.certificate, ())[0], context, name=name)
        peer.shakeHands()
        self.reactor.until(lambda: isinstance(self.protocol(), EchoUp))
        details = dict(self.connection().details)
        peer.peer.socket.close()
        self.reactor.until(lambda: not self.connections)
        return details

    def test_versionAndServerNameAreNoted(self) -> None:
        """The version and the server name are noted; without a name the version alone."""
        context = self.context()
        context.check_hostname = False
        for version in VERSIONS:
            context.minimum_version = context.maximum_version = version
            said = version.name.replace("_", ".")
            assert self.detailsOf(context, "other.example") == {"tls_version": said, "server_name": "other.example"}
            assert self.detailsOf(context, "127.0.0.1") == {"tls_version": said}

    def test_serverNameMayBeAnything(self) -> None:
        """A server name may be any bytes: the server goes on with the handshake, and the name is noted as one word."""
        for version in VERSIONS:
            peer, name = self.connect(self.certificate, ())
            client = self.overTLS(peer, version)
            peer.offer(client.flight().replace(b"localhost", b'l\xff "=\nx\xc3\xbc'))
            assert peer.receive(1) == b"\x16"  # and no alert
            peer.reset()
            line = rf"connection peer={name} bytes=0 seconds=0.000 reason=lost server_name=l\xff\x20\x22\x3d\nxü"
            self.assertGone(line)

    def test_longServerNameIsCut(self) -> None:
        """A server name that is longer than a host's, with which the handshake fails, is cut."""
        hello = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0"
        hello += pack("!HHHHBH", 309, 0, 305, 303, 0, 300) + b"a" * 300
        message = b"\1" + len(hello).to_bytes(3) + hello
        peer, _ = self.connect(self.certificate, ())
        peer.offer(b"\x16\3\1" + len(message).to_bytes(2) + message)
        self.reactor.until(lambda: bool(self.connection().details))
        assert dict(self.connection().details)["server_name"] == "a" * 255 + "..."

    def test_subjectOfTheClientIsNoted(self) -> None:
        """The subject of a client's certificate is noted, for one without a subject its alternative names."""
        self.certificate = ServerCertificate(f"{self.folder}/server.pem", clientCA=f"{self.folder}/ca.pem")
        context = self.context()
        context.load_cert_chain(self.folder / "client.pem")
        subject = self.detailsOf(context, "localhost")["client_subject"]
        assert subject.startswith("OU=Testing cert #")

    def test_errorHasNoQuotationMarks(self) -> None:
        """An error is a text for quotation marks, without them."""
        for certificate, networks in ((self.certificate, ()), (None, NETWORKS)):
            peer, _ = self.connect(certificate, networks)
            connection = self.connection()
            peer.offer(b'"hello" there')
            peer.socket.close()
            self.reactor.until(lambda: not self.connections)
            expected = NO_TLS if certificate else r"b'\"hello\" there' does not begin a PROXY protocol header"
            assert dict(connection.details) == {"error": expected}

    def test_nothingStaysOfTheArrival(self) -> None:
        """Nothing of the arrival stays after the handshake, not even the bytes with which it began."""
        peer = self.connectTLS(ssl.TLSVersion.TLSv1_3)
        kept = weakref.ref(self.protocol())
        peer.shakeHands()
        self.reactor.until(lambda: isinstance(self.protocol(), EchoUp))
        assert kept() is None

    def test_beginningIsBounded(self) -> None:
        """Of a handshake, at most as much as a record carries is kept, however much comes."""
        peer, _ = self.connect(self.certificate, ())
        arrival = self.protocol()
        assert isinstance(arrival, Arrival)
        peer.offer(b"\x16\3\1\x40\0\1\1\0\0" + bytes(2**17))
        assert len(arrival._hello) == RECORD


class CountTests(ArrivalTestCase):
    """Each header that a connection must begin with, and each handshake that has begun, is counted once."""

    def assertCounted(self, *results: TLSResult | ProxyResult) -> None:
        """Let the connections go, and check that these results were counted."""
        for peer in self.peers:
            peer.socket.close()
        self.reactor.until(lambda: not self.connections)
        counts = {result: self.connections.counts[result] for result in (*TLSResult, *ProxyResult)}
        assert {result: number for result, number in counts.items() if number} == Counter(results)
        self.gate.close()
        self.limit(LIMITS)

    def test_handshakeIsCountedByItsVersion(self) -> None:
        """A handshake that makes a stream is counted with its version, also when the stream is cut."""
        for version, result in zip(VERSIONS, (TLSResult.TLS_1_2, TLSResult.TLS_1_3), strict=True):
            peer = self.connectTLS(version)
            peer.shakeHands()
            self.reactor.until(lambda: isinstance(self.protocol(), EchoUp))
            self.protocol().abort(EndReason.STALLED)
            self.assertCounted(result)

    def test_failedHandshakeIsCountedOnce(self) -> None:
        """A handshake that has failed stays one when its peer is aborted later."""
        peer, _ = self.connect(self.certificate, ())
        peer.offer(b"hello, is anybody there?")
        assert len(self.connections) == 1
        self.reactor.advance(TIMEOUT, step=1)
        assert len(self.connections) == 0
        self.assertCounted(TLSResult.FAILED)

    def test_lateHandshakeIsATimeout(self) -> None:
        """A handshake that isn't complete at the deadline is a timeout."""
        for flights in (0, 1):
            peer = self.connectTLS(VERSIONS[1])
            for _ in range(flights):
                peer.peer.offer(peer.flight())
            self.reactor.advance(TIMEOUT, step=1)
            self.assertCounted(TLSResult.TIMEOUT)

    def test_lostHandshakeIsALoss(self) -> None:
        """A handshake whose peer ends or resets the connection, or that the end of the daemon cuts, is a loss."""

        def stop() -> None:
            self.protocol().abort(EndReason.STOPPING)

        for flights in (0, 1):
            for act in (Peer.end, Peer.reset, lambda _: stop()):
                peer = self.connectTLS(VERSIONS[1])
                for _ in range(flights):
                    peer.peer.offer(peer.flight())
                act(peer.peer)
                self.assertCounted(TLSResult.LOST)

    def test_headerIsCountedByItsVersion(self) -> None:
        """A header is counted with its version, apart from the handshake after it."""
        for header, result in (
            (V1, ProxyResult.VERSION_1),
            (V2, ProxyResult.VERSION_2),
            (AUTHORITY, ProxyResult.VERSION_2),
        ):
            peer, _ = self.connect()
            for byte in header:
                peer.offer(bytes([byte]))
            self.assertCounted(result)
            peer, _ = self.connect(self.certificate)
            peer.offer(header)
            self.reactor.advance(TIMEOUT, step=1)
            self.assertCounted(result, TLSResult.TIMEOUT)

    def test_unusableHeaderIsCounted(self) -> None:
        """A header that is invalid, late or lost is counted as that, and the handshake after it isn't begun."""

        def wait(_: Peer) -> None:
            self.reactor.advance(TIMEOUT, step=1)

        for data, act, result in (
            (b"hello", wait, ProxyResult.INVALID),
            (V1[:-1], wait, ProxyResult.TIMEOUT),
            (b"", wait, ProxyResult.TIMEOUT),
            (V2[:-1], Peer.end, ProxyResult.LOST),
            (b"", Peer.reset, ProxyResult.LOST),
            (b"", lambda _: self.protocol().abort(EndReason.STOPPING), ProxyResult.LOST),
        ):
            peer, _ = self.connect(self.certificate)
            peer.offer(data)
            act(peer)
            self.assertCounted(result)

    def test_clientOverItsLimitHadAHeader(self) -> None:
        """A client that its header brings over its limit is counted by the header; no handshake has begun."""
        self.limit(Limits(maxConnectionsPerPeer=1))
        for _ in range(2):
            self.connect(self.certificate)[0].socket.send(V1)
        self.reactor.until(lambda: len(self.connections) == 1)
        self.assertCounted(ProxyResult.VERSION_1, ProxyResult.VERSION_1, TLSResult.LOST)

    def test_headerIsNotAwaitedWithoutAPlace(self) -> None:
        """A connection that is refused while it waits for a place counts as no header, and as no handshake."""
        self.limit(Limits(maxConnections=1))
        for _ in range(2):
            self.connect(self.certificate)
        assert [connection.stage for connection in self.connections] == [Stage.HEADER, Stage.WAITING]
        self.gate.close()
        self.reactor.until(lambda: len(self.connections) == 1)
        self.assertCounted(ProxyResult.LOST)


class TimeoutTests(ArrivalTestCase):
    """What comes before the stream has to be there in time."""

    def assertTimesOut(self, peer: Peer, name: str, details: str = "", passed: float = 0.0) -> None:
        """Check that `peer` is aborted when the time is over, and not before; `passed` seconds of it are over."""
        self.reactor.advance(TIMEOUT - INSTANT - passed, step=TIMEOUT)
        assert isinstance(self.protocol(), Arrival)
        self.reactor.advance(INSTANT)
        self.assertCut(peer, f"connection peer={name} bytes=0 seconds=5.000 reason=handshake{details}")

    def test_missingHeaderTimesOut(self) -> None:
        """A header that is missing, or isn't complete, is waited for so long."""
        for data in (b"", V1[:-1], V2[:-1]):
            peer, name = self.connect()
            peer.offer(data)
            self.assertTimesOut(peer, name)

    def test_unfinishedHandshakeTimesOut(self) -> None:
        """A handshake that doesn't begin, or stops at any point, is waited for so long."""
        for version in VERSIONS:
            for flights in (0, 1, 2):
                peer = self.connectTLS(version)
                for last in range(flights):
                    peer.peer.offer(peer.flight()[: -1 if last else None])
                name = "{}:{}".format(*peer.peer.socket.getsockname())
                self.assertTimesOut(peer.peer, name, ASKING if flights else "")

    def test_headerAndHandshakeShareTheTimeout(self) -> None:
        """The header and the handshake after it have that time together, however busy the peer is."""
        peer, name = self.connect(self.certificate)
        hello = self.overTLS(peer, ssl.TLSVersion.TLSv1_3).flight()
        for start in range(len(V1)):
            peer.offer(V1[start : start + 1])
            self.reactor.advance(2**-5, step=1)
        for start in range(64):
            peer.offer(hello[start : start + 1])
            self.reactor.advance(2**-5, step=1)
        passed = (len(V1) + 64) * 2**-5
        self.assertTimesOut(peer, CLIENT_NAME, f" via={name}", passed)

    def test_eachHasAllOfItsTime(self) -> None:
        """Arrivals share a timer, but each has its own deadline, whether others are served, gone or aborted before."""
        factory = self.arrivals()
        for _ in range(5):
            self.peers.append(self.peerOf(factory))
            self.reactor.advance(0.5, step=1)
        assert len(self.connections.clock.getDelayedCalls()) == 2  # the other one is the sweep's
        served, gone, *_ = self.peers
        served.offer(V1 + b"hello")
        assert served.receive(5) == b"HELLO"
        gone.reset()
        self.reactor.until(lambda: len(self.connections) == 4)
        self.reactor.advance(TIMEOUT - 1.5 - INSTANT, step=TIMEOUT)
        for left in (4, 3, 2):
            assert len(self.connections) == left
            self.reactor.advance(INSTANT)
            assert len(self.connections) == left - 1
            self.reactor.advance(0.5 - INSTANT, step=1)
        served.end()
        assert served.receiveAll() == b""

    def test_allThatAreDueAreAbortedTogether(self) -> None:
        """Arrivals whose time is over after a long turn do not wait for each other, however many there are."""
        factory = self.arrivals()
        for _ in range(20):
            self.peers.append(self.peerOf(factory))
            self.reactor.advance(INSTANT, step=1)
        self.reactor.advance(TIMEOUT - 21 * INSTANT, step=TIMEOUT)
        assert len(self.connections) == 20
        self.reactor.advance(21 * INSTANT, step=1)  # a turn in which the times of all are over
        self.reactor.turn(3 * LOOKS)
        assert len(self.connections) == 0

    def test_streamHasNoHandshakeTimeout(self) -> None:
        """A connection that is in time has no deadline any more."""
        for certificate in (None, self.certificate):
            peer, _ = self.connect(certificate)
            self.reactor.advance(TIMEOUT - INSTANT, step=TIMEOUT)
            peer.offer(V1)
            if certificate:
                self.overTLS(peer, ssl.TLSVersion.TLSv1_3).shakeHands()
            self.connections.stopSweeping()
            assert isinstance(self.protocol(), EchoUp)
            assert self.reactor.getDelayedCalls() == []
            self.reactor.advance(2 * TIMEOUT, step=1)
            assert self.connection().reason is None
            peer.socket.close()
            self.reactor.until(lambda: not self.connections)


class LostTests(ArrivalTestCase):
    """A peer that goes before there is a stream is gone."""

    def states(self) -> Iterator[tuple[Peer, str]]:
        """Let a new connection come to each point before the stream, and yield its far end and what the log says."""
        for data in (b"", V1[:-1]):
            peer, name = self.connect()
            peer.offer(data)
            yield peer, f"connection peer={name} bytes=0 seconds=0.000 reason=lost"
        peer, name = self.connect(self.certificate)
        peer.offer(V1)
        yield peer, f"connection peer={CLIENT_NAME} bytes=0 seconds=0.000 reason=lost via={name}"
        for version in VERSIONS:
            for size in (0, 50, 2**16):
                tls = self.connectTLS(version)
                tls.peer.offer(tls.flight()[:size])
                name = "{}:{}".format(*tls.peer.socket.getsockname())
                asking = ASKING if size == 2**16 else ""
                yield tls.peer, f"connection peer={name} bytes=0 seconds=0.000 reason=lost{asking}"

    def test_earlyEndIsALoss(self) -> None:
        """The peer's end alone is enough: there is nothing to wait for."""
        for peer, line in self.states():
            peer.end()
            peer.receiveAll()
            self.assertGone(line)

    def test_earlyResetIsALoss(self) -> None:
        """A reset is nothing else."""
        for peer, line in self.states():
            peer.reset()
            self.assertGone(line)


class StopTests(ArrivalTestCase):
    """A stop leaves what isn't a stream yet the time that it has, and no more."""

    def test_quietArrivalIsServedDuringAStop(self) -> None:
        """An arrival on which nothing comes for a while isn't ended, and is served when something comes."""
        peer, _ = self.connect()
        peer.offer(V1[:20])
        self.reactor.advance(4.9)
        Deferred.fromCoroutine(self.connections.beginStop())
        self.reactor.advance(0.05)
        peer.offer(V1[20:] + b"hello")
        assert peer.receive(5) == b"HELLO"

    def test_finishAbortsAnArrival(self) -> None:
        """When everything has to end, it is aborted."""
        peer, name = self.connect(self.certificate, ())
        self.protocol().finish(EndReason.STOPPING)
        self.assertCut(peer, f"connection peer={name} bytes=0 seconds=0.000 reason=stopping")


class WaitingTests(ArrivalTestCase):
    """An arrival without a place waits for one, and has all of the time afterwards."""

    def test_timeoutBeginsWithThePlace(self) -> None:
        """Its time begins when there is a place; what it has sent until then is not lost."""
        self.limit(Limits(maxConnections=1))
        inside, _ = self.connect()
        header, _ = self.connect()
        header.offer(V1 + b"hello")
        secure = self.connectTLS(VERSIONS[1])
        self.reactor.advance(TIMEOUT - INSTANT, step=TIMEOUT)
        assert len(self.connections) == 3
        self.reactor.advance(INSTANT, step=INSTANT)
        assert raised(ConnectionResetError, inside.receiveAll)
        assert header.receive(5) == b"HELLO"
        header.end()
        assert header.receiveAll() == b""
        self.reactor.advance(TIMEOUT - INSTANT, step=TIMEOUT)
        secure.shakeHands()
        secure.offer(b"hello")
        assert secure.receive(5) == b"HELLO"

    def test_waitForTheAnswerLosesNothing(self) -> None:
        """While another process is asked whether the client is over its limit, nothing is lost."""
        peers = LatePeerLimit()
        limits = Limits(maxConnectionsPerPeer=1)
        self.build(limits, Gate(self.reactor, limits, peers=peers))
        for isAdmitted in (True, False):
            peer, _ = self.connect()
            peer.offer(V1 + b"hello")
            ((source, answer),) = peers.asked
            peers.asked.clear()
            assert source == CLIENT.host
            peer.offer(b"more")
            assert isinstance(self.protocol(), Arrival)
            answer.callback(isAdmitted)
            if isAdmitted:
                assert peer.receive(9) == b"HELLOMORE"
                peer.end()
                assert peer.receiveAll() == b""
            else:
                assert raised(ConnectionResetError, peer.receiveAll)
            self.reactor.until(lambda: not self.connections)
        assert peers.left == [CLIENT.host]
        self.connections.stopSweeping()
        assert self.reactor.getDelayedCalls() == []


class LimitTests(ArrivalTestCase):
    """Connections count from the beginning, and for their peer as soon as that is known."""

    def listen(self, limits: Limits, certificate: ServerCertificate | None, networks: Collection[Network]) -> None:
        """Listen at a port, within `limits`."""
        self.limit(limits)
        port = self.reactor.listenTCP(0, self.arrivals(certificate, networks), interface="127.0.0.1")
        assert isinstance(port, Port)
        self.port = port
        self.gate.guard(port, self.connections.counts.listeners[""])

    def knock(self, count: int) -> list[Peer]:
        """Return the far ends of `count` connections to the port, which the reactor hasn't seen yet."""
        host = self.port.getHost()
        peers = [self.peerAt((host.host, host.port)) for _ in range(count)]
        self.peers += peers
        return peers

    def assertInside(self, count: int) -> None:
        """Check that `count` are inside, and that the port is read if and only if there is room for more."""

        def isInside() -> bool:
            assert len(self.connections) <= 3
            return len(self.connections) == count

        self.reactor.until(isInside)
        self.reactor.turn()
        assert isInside()
        assert (self.port in self.reactor.getReaders()) == (count < 3)

    def test_headerHoldsAPlace(self) -> None:
        """A connection that owes a header has a place, keeps it as a stream, and leaves it to the next."""
        self.listen(Limits(maxConnections=3), None, NETWORKS)
        peers = self.knock(5)
        self.assertInside(3)
        for peer in peers:
            peer.socket.send(V1)
        self.assertInside(3)
        assert {type(connection.protocol) for connection in self.connections} == {EchoUp}
        for left, peer in zip((3, 3, 2, 1, 0), peers, strict=True):
            peer.end()
            self.assertInside(left)

    def test_handshakeHoldsAPlace(self) -> None:
        """So does one that owes a handshake."""
        self.listen(Limits(maxConnections=3), self.certificate, ())
        for version in VERSIONS:
            clients = [self.overTLS(peer, version) for peer in self.knock(5)]
            self.assertInside(3)
            for client in clients[:3]:
                client.shakeHands()
            self.assertInside(3)
            clients[0].offer(b"hello")
            assert clients[0].receive(5) == b"HELLO"
            for left, client in zip((3, 3, 2, 1, 0), clients, strict=True):
                client.peer.socket.close()
                self.assertInside(left)

    def test_peerOverItsLimitIsRefusedBeforeTLS(self) -> None:
        """A direct connection that is over the limit of its address is refused before the handshake."""
        self.limit(Limits(maxConnectionsPerPeer=1))
        inside = self.connectTLS(ssl.TLSVersion.TLSv1_3)
        outside, name = self.connect(self.certificate, ())
        outside.socket.send(b"hello")
        assert raised(ConnectionResetError, outside.receiveAll)
        inside.shakeHands()
        assert isinstance(self.protocol(), EchoUp)
        assert self.connection().reason is None
        assert self.lines() == [REFUSED, f"connection peer={name} bytes=0 seconds=0.000 reason=refused"]

    def test_clientOverItsLimitIsRefusedAfterTheHeader(self) -> None:
        """A client behind a proxy is counted for its own address once that is known, and before the handshake."""
        for certificate in (None, self.certificate):
            self.limit(Limits(maxConnectionsPerPeer=1))
            pairs = [self.connect(certificate) for _ in range(3)]
            self.reactor.turn()
            assert len(self.connections) == 3
            inside, outside, other = (peer for peer, _ in pairs)
            inside.offer(V1)
            first = V1 + self.overTLS(outside, ssl.TLSVersion.TLSv1_3).flight()
            outside.socket.send(first)
            assert raised(ConnectionResetError, outside.receiveAll)
            other.offer(V1.replace(b"192.0.2.7", b"192.0.2.8"))
            assert {connection.source for connection in self.connections} == {"192.0.2.7", "192.0.2.8"}
            line = f"connection peer=192.0.2.7:40000 bytes=0 seconds=0.000 reason=refused via={pairs[1][1]}"
            assert self.lines() == [REFUSED.replace("127.0.0.1", "192.0.2.7"), line]
            self.gate.close()
            for peer in (inside, other):
                peer.socket.close()
            self.reactor.until(lambda: not self.connections)
            self.events.clear()

    def test_proxyCountsForItself(self) -> None:
        """What the proxy sends for itself counts for its own address, and what it sends for others doesn't."""
        self.limit(Limits(maxConnectionsPerPeer=1))
        (own, _), (other, _), (second, name) = (self.connect() for _ in range(3))
        own.offer(b"PROXY UNKNOWN\r\n")
        other.offer(V1)
        assert {connection.source for connection in self.connections} == {"127.0.0.1", CLIENT.host, None}
        second.socket.send(b"PROXY UNKNOWN\r\n")
        assert raised(ConnectionResetError, second.receiveAll)
        line = f"connection peer={name} bytes=0 seconds=0.000 reason=refused via={name}"
        assert self.lines() == [REFUSED, line]

    def test_refusalLeavesTheOthersAlone(self) -> None:
        """A connection that is inside stays when the handshake is done, also while another one is refused."""
        for version in VERSIONS:
            self.listen(Limits(maxConnectionsPerPeer=1), self.certificate, ())
            inside = self.overTLS(self.knock(1)[0], version)
            inside.peer.offer(inside.flight())
            last = inside.flight()
            self.knock(1)
            inside.peer.socket.send(last)  # the reactor comes to it after the port, and before the other is gone
            self.reactor.until(lambda: self.lines()[:1] == [REFUSED])
            inside.shakeHands()
            inside.offer(b"hello")
            assert inside.receive(5) == b"HELLO"
            inside.peer.socket.close()
            self.reactor.until(lambda: not self.connections)
            self.gate.close()
            self.events.clear()


CLIENT_NAME = "192.0.2.7:40000"
