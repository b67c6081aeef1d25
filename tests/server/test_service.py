"""The service listens everywhere or nowhere, and stops without losing a connection."""

import gc
import os
import socket
import ssl
from collections.abc import Collection
from errno import ECONNREFUSED, EINPROGRESS
from ipaddress import ip_network
from pathlib import Path
from select import select
from tempfile import TemporaryDirectory

from twisted.internet.defer import Deferred
from twisted.internet.tcp import Port
from twisted.logger import capturedLogs, formatEvent
from zope.interface.verify import verifyObject

from echoup.addresses import Network
from echoup.server.listening.listeners import ListenError, parseListener
from echoup.server.overview import IMainService
from echoup.server.platform.socketoptions import stopHandshakes
from echoup.server.service import EchoUpService
from echoup.server.settings import Limits, Plan
from tests.support.certificates import writeCertificates
from tests.support.doubles import Peer, ReactorTestCase, raised
from tests.support.sizes import MUCH
from tests.support.tlspeer import TLSPeer

DRAIN = 10.0


class ServiceTestCase(ReactorTestCase):
    """A test with a service."""

    def build(
        self,
        *descriptions: str,
        limits: Limits = Limits(),  # noqa: B008  # it is frozen
        proxies: Collection[Network] = (),
    ) -> EchoUpService:
        """Return a service that isn't started."""
        listeners = tuple(map(parseListener, descriptions or ("127.0.0.1:0",)))
        service = EchoUpService(
            self.reactor, Plan(listeners=listeners, limits=limits, drainTimeout=DRAIN, proxies=tuple(proxies))
        )
        self.addCleanup(service._forgetPorts)
        return service

    def listening(self) -> list[Port]:
        """Return the ports that the reactor looks at."""
        return [reader for reader in self.reactor.getReaders() if isinstance(reader, Port)]


class StartTests(ServiceTestCase):
    """A start listens on every address, or fails and leaves nothing open."""

    def test_serviceIsTheOneOfAProcess(self) -> None:
        """It is what a daemon runs."""
        verifyObject(IMainService, self.build())

    def test_privilegedStartListens(self) -> None:
        """It listens while the process may still use the first 1024 ports, and says where."""
        service = self.build("127.0.0.1:0", "[::1]:0")
        with capturedLogs() as events:
            service.privilegedStartService()
        hosts = [port.getHost() for port in service.ports]
        assert [host.host for host in hosts] == ["127.0.0.1", "::1"]
        said = [str(formatEvent(event)) for event in events if event["log_namespace"].startswith("echoup")]
        assert said == [f"listening on 127.0.0.1:{hosts[0].port}", f"listening on [::1]:{hosts[1].port}"]
        service.startService()
        assert self.listening() == service.ports

    def test_startListensWithoutPrivilegedStart(self) -> None:
        """Without a privileged start it listens at its start."""
        service = self.build()
        service.startService()
        assert self.listening() == service.ports

    def test_takenAddressLeavesNothingOpen(self) -> None:
        """When the last of three addresses is taken, none of them is open, and the error says which it was."""
        taken = f"127.0.0.1:{self.occupy()}"
        service = self.build("127.0.0.1:0", "*:0", taken)
        error = raised(ListenError, service.privilegedStartService)
        assert str(error) == f"address already in use: cannot listen on {taken}"
        assert self.listening() == []
        assert service.ports == []
        assert self.reactor.getDelayedCalls() == []

    def test_partlyTakenPortLeavesNothingOpen(self) -> None:
        """When a port is taken on one of its addresses only, the other isn't left open."""
        assert raised(ListenError, self.build(str(self.occupy())).privilegedStartService)
        assert self.listening() == []

    def test_earlyUrgentBytesKeepTheirPlace(self) -> None:
        """Urgent bytes that come before a connection is accepted come back in their place."""
        service = self.build("127.0.0.1:0", "tcp:0:interface=127.0.0.1")
        service.startService()
        for port in service.ports:
            peer = self.peerAt((port.getHost().host, port.getHost().port))
            peer.socket.send(b"a", socket.MSG_OOB)
            peer.socket.send(b"b", socket.MSG_OOB)
            peer.socket.send(b"c")
            assert peer.receive(3) == b"ABC"

    def test_idleConnectionsEndFromTheStart(self) -> None:
        """From the start on it ends what is idle."""
        service = self.build(limits=Limits(idleTimeout=5))
        service.startService()
        host = service.ports[0].getHost()
        peer = self.peerAt((host.host, host.port))
        self.reactor.until(lambda: bool(service.connections))
        self.reactor.advance(6, step=1)
        assert peer.receiveAll() == b""

    def test_portsKeepToTheLimits(self) -> None:
        """Its ports keep to the limits."""
        service = self.build("127.0.0.1:0", "127.0.0.1:0", limits=Limits(maxConnections=1))
        service.startService()
        host = service.ports[0].getHost()
        self.peerAt((host.host, host.port))
        self.reactor.until(lambda: bool(service.connections))
        assert self.listening() == []


class StopTests(ServiceTestCase):
    """A stop accepts what is in the queues, serves what is in flight, and is over at the deadline."""

    def setUp(self) -> None:
        """Start a service."""
        super().setUp()
        pid = os.getpid()  # another process that listens has another address, so what is closed stays closed
        self.own = f"127.3.{pid >> 8 & 255}.{pid & 255}:0"
        self.service = self.build(self.own)
        self.service.startService()
        host = self.service.ports[0].getHost()
        self.address = (host.host, host.port)

    def connect(self) -> Peer:
        """Return a peer that the service has accepted."""
        before = len(self.service.connections)
        peer = self.peerAt(self.address)
        self.reactor.until(lambda: len(self.service.connections) > before)
        return peer

    def stop(self) -> "Deferred[None]":
        """Begin to stop."""
        self.began = self.reactor.seconds()
        self.stopped = self.service.stopService()
        return self.stopped

    def assertStops(self, earliest: float, latest: float) -> None:
        """Check that the stop is over at some time within bounds, in seconds from its beginning, for good."""
        while not self.stopped.called and self.reactor.seconds() < self.began + latest:
            self.reactor.advance(0.05)
        assert self.successResultOf(self.stopped) is None
        assert self.reactor.seconds() - self.began >= earliest
        assert len(self.service.connections) == 0
        assert self.reactor.getDelayedCalls() == []
        assert self.listening() == []
        assert raised(ConnectionRefusedError, socket.create_connection, self.address)

    def test_stopWithoutConnectionsTakesTheLastCall(self) -> None:
        """Without connections a stop takes as long as it waits for handshakes under way."""
        self.stop()
        self.assertStops(0.1, 0.3)

    def test_queueIsServedAndHandshakesStop(self) -> None:
        """Clients in the kernel's queue are served; one that comes during the stop waits, and is then refused."""
        early = [self.peerAt(self.address) for _ in range(20)]
        self.stop()
        with socket.socket() as late:
            late.setblocking(False)
            assert late.connect_ex(self.address) == EINPROGRESS
            for peer in early:
                peer.socket.send(b"hello")
                peer.end()
            self.reactor.advance(0.05)
            assert select([], [late], [], 0.1)[1] == []
            self.reactor.advance(0.1)
            assert [peer.receiveAll() for peer in early] == [b"HELLO"] * 20
            self.assertStops(0.1, 0.5)
            assert select([], [late], [], 30)[1] == [late]
            assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == ECONNREFUSED

    def test_connectionMayReceiveDuringTheStop(self) -> None:
        """A connection that inherits from its port that it must not receive still receives."""
        peer = self.connect()
        (connection,) = self.service.connections
        assert connection.protocol
        stopHandshakes(connection.protocol.transport.getHandle())
        peer.socket.send(b"hello")
        self.reactor.advance(0.1)
        assert connection.received == 0
        self.stop()
        self.reactor.advance(0.1)
        self.reactor.until(lambda: connection.received == 5)  # the kernel sends it again
        assert peer.receive(5) == b"HELLO"
        peer.end()
        self.assertStops(0.1, 1)

    def test_quietConnectionsEndSoon(self) -> None:
        """Connections on which nothing moves are ended soon, and cleanly."""
        peers = [self.connect() for _ in range(3)]
        peers[0].offer(b"hello")
        self.stop()
        self.reactor.advance(0.7)
        assert [peer.receiveAll() for peer in peers] == [b"HELLO", b"", b""]
        for peer in peers:
            peer.end()
        self.assertStops(0.5, 1)

    def test_stopFreezesWhatThereIs(self) -> None:
        """A stop leaves what there is out of garbage collections, which would hold up every connection."""
        self.connect()
        self.stop()
        assert gc.get_freeze_count() > 0

    def test_dataInFlightIsEchoed(self) -> None:
        """What is in flight is echoed to the last byte."""
        peer = self.connect()
        sent = peer.offer(MUCH)
        self.stop()
        received = b""
        for _ in range(20):
            received += peer.receive(sent // 20)
            self.reactor.advance(0.1)
        received += peer.receive(sent - len(received))
        assert received == MUCH[:sent].upper()
        self.reactor.advance(0.7)
        assert peer.receiveAll() == b""
        peer.end()
        self.assertStops(2, 3)

    def test_busyConnectionEndsBeforeTheDeadline(self) -> None:
        """A connection that stays busy is ended before the deadline, with all that it is owed."""
        peer = self.connect()
        self.stop()
        answers: list[bytes] = []
        while not answers or answers[-1]:
            peer.offer(b"hello")
            answers.append(peer.receive(5))
            self.reactor.advance(0.1)
        assert answers[:-1] == [b"HELLO"] * (len(answers) - 1)
        peer.end()
        self.assertStops(DRAIN * 0.8, DRAIN * 0.9)

    def test_peerThatTakesNothingIsAbortedAtTheDeadline(self) -> None:
        """A peer that takes nothing is aborted at the deadline, not before."""
        peer = self.connect()
        peer.offer(MUCH)
        self.stop()
        self.assertStops(DRAIN, DRAIN + 0.1)
        assert raised(ConnectionResetError, peer.receiveAll)

    def test_peerThatDoesNotEndIsDroppedAtTheDeadline(self) -> None:
        """A peer that doesn't end its side is dropped at the deadline, with all that it is owed."""
        peer = self.connect()
        peer.offer(b"hello")
        self.stop()
        self.assertStops(DRAIN, DRAIN + 0.1)
        assert peer.receiveAll() == b"HELLO"

    def test_abortDrainEndsTheStop(self) -> None:
        """A drain that is aborted is over at once, with connections open."""
        peer = self.connect()
        peer.offer(MUCH)
        self.stop()
        self.reactor.advance(1)
        self.service.abortDrain()
        self.assertStops(1, 1.2)

    def test_abortDrainAtOnce(self) -> None:
        """It may be aborted before the ports are closed."""
        self.connect()
        self.stop()
        self.service.abortDrain()
        self.assertStops(0, 0.1)

    def test_stopAtTheMaximumServesTheQueue(self) -> None:
        """At the maximum of connections a stop serves the kernel's queue as soon as there is room."""
        self.stop()
        self.assertStops(0, 1)
        self.service = self.build(self.own, limits=Limits(maxConnections=1))
        self.service.startService()
        host = self.service.ports[0].getHost()
        self.address = (host.host, host.port)
        inside = self.connect()
        waiting = self.peerAt(self.address)
        waiting.socket.send(b"hello")
        waiting.end()
        self.stop()
        self.reactor.advance(0.2)
        inside.end()
        self.reactor.advance(0.2)
        assert waiting.receiveAll() == b"HELLO"
        self.assertStops(0.2, 1)


HEADER = b"PROXY TCP4 192.0.2.7 198.51.100.2 40000 443\r\n"


class ArrivalsTestCase(ServiceTestCase):
    """A test with certificates."""

    def setUp(self) -> None:
        """Make them."""
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        super().setUp()
        writeCertificates(self.folder)
        self.tls = f"ssl:0:privateKey={self.folder}/server.pem:interface=127.0.0.1"

    def start(
        self,
        *descriptions: str,
        limits: Limits = Limits(),  # noqa: B008  # it is frozen
        proxies: Collection[Network] = (),
    ) -> None:
        """Start a service."""
        self.service = self.build(*descriptions, limits=limits, proxies=proxies)
        self.service.startService()
        self.addresses = [(port.getHost().host, port.getHost().port) for port in self.service.ports]

    def connectTLS(self, peer: Peer) -> TLSPeer:
        """Return a client that has shaken hands, at the far end `peer`; it trusts any certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client = TLSPeer(peer, context)
        client.shakeHands()
        return client


class ArrivalsTests(ArrivalsTestCase):
    """Connections may begin with TLS, a PROXY header or both, as the listener and the proxies' networks have it."""

    def test_addressesWithTLSAreNamed(self) -> None:
        """It says of each address whether it speaks TLS, and does."""
        with capturedLogs() as events:
            self.start("127.0.0.1:0", self.tls)
        plain, secure = self.addresses
        said = [str(formatEvent(event)) for event in events if event["log_namespace"].startswith("echoup")]
        assert said == [f"listening on 127.0.0.1:{plain[1]}", f"listening on tls:127.0.0.1:{secure[1]}"]
        for client in (self.peerAt(plain), self.connectTLS(self.peerAt(secure))):
            client.offer(b"hello")
            assert client.receive(5) == b"HELLO"

    def test_proxiesBeginWithAHeader(self) -> None:
        """From the proxies' networks, and only there, a connection begins with a header, also where TLS follows."""
        self.start("127.0.0.1:0", self.tls, proxies=[ip_network("127.0.0.1")])
        plain, secure = self.addresses
        for address in (plain, secure):
            peer = self.peerAt(address)
            peer.offer(HEADER)
            client = peer if address == plain else self.connectTLS(peer)
            client.offer(b"hello")
            assert client.receive(5) == b"HELLO"
        assert {connection.source for connection in self.service.connections} == {"192.0.2.7"}
        with socket.create_connection(plain, source_address=("127.0.0.2", 0)) as far:
            peer = Peer(self.reactor, far)
            peer.offer(HEADER)
            assert peer.receive(len(HEADER)) == HEADER.upper()

    def test_handshakeTimeoutIsKept(self) -> None:
        """What comes before the stream has the handshake timeout."""
        self.start("127.0.0.1:0", self.tls, limits=Limits(handshakeTimeout=2), proxies=[ip_network("127.0.0.1")])
        peers = [self.peerAt(address) for address in self.addresses]
        peers[1].offer(HEADER)
        self.reactor.until(lambda: len(self.service.connections) == 2)
        self.reactor.advance(1.9)
        assert len(self.service.connections) == 2
        self.reactor.advance(0.1)
        assert len(self.service.connections) == 0

    def test_arrivalsCountForTheMaximum(self) -> None:
        """A connection that isn't a stream yet has a place."""
        self.start(self.tls, self.tls, limits=Limits(maxConnections=2))
        peers = [self.peerAt(self.addresses[i % 2]) for i in range(4)]
        self.reactor.until(lambda: self.listening() == [])
        assert len(self.service.connections) == 2
        peers[0].socket.close()
        self.connectTLS(peers[2])
        assert self.listening() == []

    def test_stopServesArrivalsInTime(self) -> None:
        """A stop serves arrivals that are done in time, and waits no longer for the others."""
        self.start("127.0.0.1:0", self.tls, proxies=[ip_network("127.0.0.1")])
        plain, secure = self.addresses
        quiet = [self.peerAt(address) for address in (plain, plain, secure)]
        for peer in quiet[1:]:
            peer.offer(HEADER[: -1 if peer is quiet[1] else None])
        early, late = self.peerAt(secure), self.peerAt(plain)
        early.offer(HEADER)
        stopped = self.service.stopService()
        self.reactor.advance(0.2)
        client = self.connectTLS(early)
        late.offer(HEADER)
        self.reactor.advance(0.2)
        for there in (client, late):
            there.offer(b"hello")
            assert there.receive(5) == b"HELLO"
            there.end()
            assert there.receiveAll() == b""
        self.reactor.advance(5)
        for peer in quiet:
            assert raised(ConnectionResetError, peer.receiveAll)
        assert self.successResultOf(stopped) is None
        assert self.reactor.getDelayedCalls() == []


class ReloadTests(ArrivalsTestCase):
    """Certificates can be read again, while everything goes on."""

    def setUp(self) -> None:
        """Start a service with two certificates."""
        super().setUp()
        other = Path(self.folder, "own.pem")
        other.write_bytes(Path(self.folder, "server.pem").read_bytes())
        self.descriptions = [self.tls, self.tls.replace("server.pem", "own.pem")]
        self.start("127.0.0.1:0", *self.descriptions)

    def reload(self) -> list[str]:
        """Reload, and return what is said."""
        with capturedLogs() as events:
            self.service.reload()
        return [f"{event['log_level'].name}: {formatEvent(event)}" for event in events]

    def shown(self, number: int) -> bytes | None:
        """Return the certificate that a new connection is shown at a listener."""
        return self.connectTLS(self.peerAt(self.addresses[number])).tls.getpeercert(binary_form=True)

    def test_newConnectionsGetTheNewCertificate(self) -> None:
        """New connections get the new certificate, open ones stay as they are, and there is a line for each."""
        client = self.connectTLS(self.peerAt(self.addresses[1]))
        before = self.shown(1)
        writeCertificates(self.folder)
        assert self.shown(1) == before
        assert self.reload() == [
            f"info: reloaded the certificate in {self.folder}/{name}.pem" for name in ("server", "own")
        ]
        assert self.shown(1) != before
        client.offer(b"hello")
        assert client.receive(5) == b"HELLO"

    def test_unreadableCertificateIsKept(self) -> None:
        """One that can't be read is kept, with a line that is an error; the others are still read."""
        before = self.shown(1), self.shown(2)
        writeCertificates(self.folder)
        path = Path(self.folder, "own.pem")
        path.unlink()
        reason = f"{path}: No such file or directory"
        assert self.reload() == [
            f"info: reloaded the certificate in {self.folder}/server.pem",
            f"error: cannot reload the certificate in {path}; the old one stays in use: {reason}",
        ]
        assert self.shown(2) == before[1]
        path.write_bytes(Path(self.folder, "server.pem").read_bytes())
        assert self.reload() == [
            f"info: reloaded the certificate in {self.folder}/{name}.pem" for name in ("server", "own")
        ]
        assert self.shown(2) == self.shown(1) != before[0]

    def test_withoutCertificateNothingIsRead(self) -> None:
        """Without a certificate there is nothing to read, and nothing to say."""
        self.service = self.build("127.0.0.1:0", f"unix:{self.folder}/other")
        self.service.startService()
        assert self.reload() == []
