"""What the service of a single process shows of itself."""

import socket
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet.defer import Deferred

from echoup.server.counts import Total
from echoup.server.datagram.port import parseDatagramListener
from echoup.server.listening.certificate import ServerCertificate
from echoup.server.listening.listeners import parseListener
from echoup.server.overview import Check, Overview
from echoup.server.platform.kernelqueues import acceptQueue
from echoup.server.reasons import EndReason, Refusal
from echoup.server.service import EchoUpService
from echoup.server.settings import Limits, Plan
from tests.support.certificates import writeCertificates
from tests.support.doubles import Peer, ReactorTestCase, raised


class OverviewTestCase(ReactorTestCase):
    """A test with a folder, and a service."""

    def setUp(self) -> None:
        """Make the folder."""
        super().setUp()
        self.folder = self.enterContext(TemporaryDirectory())

    def start(
        self,
        *descriptions: str,
        limits: Limits = Limits(),  # noqa: B008  # it is frozen
        certificate: ServerCertificate | None = None,
        datagrams: tuple[str, ...] = (),
    ) -> None:
        """Start a service."""
        self.service = EchoUpService(
            self.reactor,
            Plan(
                listeners=tuple(parseListener(each, None, certificate) for each in descriptions),
                limits=limits,
                datagramListeners=tuple(map(parseDatagramListener, datagrams)),
            ),
        )
        self.service.startService()
        self.addCleanup(self.service._forgetPorts)
        self.addresses = [port.getHost() for port in self.service.ports]

    def knock(self, number: int = 0) -> Peer:
        """Return the far end of a new connection to one of the ports."""
        address = self.addresses[number]
        return self.peerAt((address.host, address.port))

    def overview(self) -> Overview:
        """Return the overview."""
        found: Deferred[Overview] = self.service.overview()
        self.reactor.turn()
        return self.successResultOf(found)

    def stop(self) -> None:
        """Stop the service."""
        stopped = self.service.stopService()
        self.reactor.advance(Plan.drainTimeout + 0.1)
        self.successResultOf(stopped)


class OverviewTests(OverviewTestCase):
    """The overview tells what the process does."""

    def test_countsAreThoseOfThisMoment(self) -> None:
        """What open connections have received is in it, by listener."""
        self.start("127.0.0.1:0", "tcp:0:interface=127.0.0.1")
        self.knock(1).offer(b"hello")
        counts = self.overview().counts
        assert [counts.listeners[each][Total.RECEIVED] for each in ("127.0.0.1:0", "tcp:0:interface=127.0.0.1")] == [
            0,
            5,
        ]
        assert (counts[Total.OPENED], counts[Total.SENT]) == (1, 5)

    def test_queuesAreThoseOfTheKernel(self) -> None:
        """Clients that aren't accepted yet are in the queue of their listener; of a Unix socket nothing is known."""
        path = f"unix:{self.folder}/socket"
        self.start("tcp:0:interface=127.0.0.1:backlog=9", path, limits=Limits(maxConnections=1))
        self.knock()
        self.reactor.until(lambda: len(self.service.connections) == 1)
        for _ in range(2):
            self.knock()
        tcp, unix = self.overview().listeners
        assert (tcp.queue, tcp.queueLimit) == (2, 9)
        assert (unix.queue, unix.queueLimit) == (None, None)
        assert tcp.addresses == (f"127.0.0.1:{self.addresses[0].port}",)
        assert (unix.description, unix.addresses) == (path, (path,))

    def test_allAddressesOfAListenerAreShown(self) -> None:
        """A listener at several addresses has them all, and the sum of their queues."""
        self.start("*:0", limits=Limits(maxConnections=1))
        self.knock()
        self.reactor.until(lambda: len(self.service.connections) == 1)
        for number in (0, 1, 1):
            self.knock(number)
        (view,) = self.overview().listeners
        assert len(view.addresses) == len(self.addresses) == 2
        limits = [found[1] for port in self.service.ports if (found := acceptQueue(port.socket))]
        assert (view.queue, view.queueLimit) == (3, sum(limits))

    def test_certificateIsShown(self) -> None:
        """A listener with TLS has its certificate, and its addresses as the log has them."""
        writeCertificates(Path(self.folder))
        certificate = ServerCertificate(f"{self.folder}/server.pem")
        self.start("tls:127.0.0.1:0", certificate=certificate)
        (view,) = self.overview().listeners
        assert view.certificate is certificate
        assert view.addresses == (f"tls:127.0.0.1:{self.addresses[0].port}",)

    def test_datagramsAreShown(self) -> None:
        """What a UDP listener has counted is in it."""
        self.start("127.0.0.1:0", datagrams=("127.0.0.1:0",))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"hello", (self.addresses[1].host, self.addresses[1].port))
            self.reactor.turn()
            assert client.recv(100, socket.MSG_DONTWAIT) == b"HELLO"
        (view,) = self.overview().datagramListeners
        assert (view.description, view.addresses) == ("udp:127.0.0.1:0", (f"udp:127.0.0.1:{self.addresses[1].port}",))
        assert (view.received, view.answered, view.receivedBytes, view.sentBytes) == (1, 1, 5, 5)
        assert set(view.dropped.values()) == {0}

    def test_stoppedServiceStillHasCounts(self) -> None:
        """After a stop the listeners are there without their queues, and nothing waits."""
        self.start("127.0.0.1:0", datagrams=("127.0.0.1:0",))
        self.knock()
        self.reactor.until(lambda: len(self.service.connections) == 1)
        self.service.connections.counts.setOpen(waiting=1, paused=1)
        self.stop()
        overview = self.overview()
        (view,) = overview.listeners
        assert view.addresses == (f"127.0.0.1:{self.addresses[0].port}",)
        assert (view.queue, view.queueLimit) == (None, None)
        assert overview.counts[Total.OPENED] == sum(overview.counts[reason] for reason in EndReason) == 1
        assert (overview.counts.waiting, overview.counts.paused) == (0, 0)
        assert len(overview.datagramListeners) == 1

    def test_connectionsAreShown(self) -> None:
        """The open connections are listed."""
        self.start("127.0.0.1:0")
        peer = self.knock()
        self.reactor.until(lambda: len(self.service.connections) == 1)
        found = self.service.connectionsAfter("", "{}:{}".format(*peer.socket.getsockname()))
        self.reactor.turn()
        ((connection,), cursor, silent) = self.successResultOf(found)
        assert (connection["id"], connection["listener"], cursor, silent) == ("1", "127.0.0.1:0", "", 0)


class CheckTests(OverviewTestCase):
    """The checks tell what keeps the process from being ready."""

    def check(self, name: str) -> str:
        """Return the problem of a check."""
        (problem,) = (check.problem for check in self.service.checks() if check.name == name)
        return problem

    def test_idleServiceIsReady(self) -> None:
        """A service with room, and without certificates, has no problem."""
        self.start("127.0.0.1:0")
        assert [*self.service.checks()] == [Check("full"), Check("certificates")]

    def test_fullForAWhileIsAProblem(self) -> None:
        """All places taken for three seconds is a problem, until one is free."""
        self.start("127.0.0.1:0", limits=Limits(maxConnections=1))
        peer = self.knock()
        self.reactor.advance(2.5)
        assert self.check("full") == ""
        self.reactor.advance(1.5)
        assert self.check("full")
        peer.socket.close()
        self.reactor.advance(1)
        assert self.check("full") == ""
        self.stop()
        assert self.reactor.getDelayedCalls() == []

    def test_expiredCertificateIsAProblem(self) -> None:
        """A certificate that isn't valid is a problem."""
        writeCertificates(Path(self.folder))
        self.start("tls:127.0.0.1:0", certificate=ServerCertificate(f"{self.folder}/expired.pem"))
        assert self.check("certificates") == f"{self.folder}/expired.pem expired on 2001-01-01"


class RefusalTests(OverviewTestCase):
    """Each refusal is counted for its listener."""

    def test_refusalOverThePeersLimitIsCounted(self) -> None:
        """A connection over the limit of its peer is counted as refused for that, and as opened and ended."""
        self.start("127.0.0.1:0", limits=Limits(maxConnectionsPerPeer=1))
        self.knock()
        outside = self.knock()
        assert raised(ConnectionResetError, outside.receiveAll)
        counts = self.overview().counts.listeners["127.0.0.1:0"]
        assert [counts[each] for each in (Total.OPENED, EndReason.REFUSED, *Refusal)] == [2, 1, 1, 0, 0]
        assert counts.open == 1
