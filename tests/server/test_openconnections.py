"""What is counted and shown of connections while they are open."""

import socket
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred

from echoup.server.admission.gate import Gate
from echoup.server.connection import Connection
from echoup.server.connections import PAGE, Connections
from echoup.server.counts import Counts, Total
from echoup.server.platform.kernelqueues import unsentOn
from echoup.server.platform.twistedports import unsentBy
from echoup.server.reasons import EndReason
from echoup.server.settings import Limits
from echoup.server.stream.protocol import EchoUpFactory
from tests.support.doubles import Peer, ReactorTestCase
from tests.support.gates import RecordedProtocol
from tests.support.sizes import MUCH
from tests.support.sockets import connectedPair

FAMILIES = (socket.AF_INET, socket.AF_UNIX)


class OpenTestCase(ReactorTestCase):
    """A test with a registry, and a factory whose streams join it."""

    def setUp(self) -> None:
        """Make them."""
        super().setUp()
        self.build(Limits())
        self.handle, _ = (self.enterContext(end) for end in connectedPair(socket.AF_UNIX))

    def build(self, limits: Limits, idPrefix: str = "") -> None:
        """Make them anew."""
        gate = Gate(self.reactor, limits, counts=Counts(["here"]))
        self.limits = limits
        self.connections = Connections(self.reactor, limits, gate, idPrefix=idPrefix)
        self.factory = EchoUpFactory(self.reactor, connections=self.connections, listener="here")

    def connect(self, family: socket.AddressFamily = socket.AF_INET) -> tuple[Connection, Peer]:
        """Return a new connection, and its far end."""
        peer = self.peerOf(self.factory, family)
        return list(self.connections)[-1], peer

    def update(self) -> None:
        """Bring the counts up to date."""
        done = Deferred.fromCoroutine(self.connections.updateCounts())
        self.reactor.turn()
        self.successResultOf(done)

    def totals(self) -> tuple[int, int]:
        """Return the totals of bytes, received and sent."""
        return self.connections.counts[Total.RECEIVED], self.connections.counts[Total.SENT]


class TrafficTests(OpenTestCase):
    """The bytes of an open connection are counted as they move, each once."""

    def test_sweepCountsWhatHasMoved(self) -> None:
        """A sweep adds what was received and sent since the last one, and the end of a connection the rest."""
        _, peer = self.connect()
        found = [self.totals()]
        for _ in range(2):
            peer.offer(b"hello")
            self.reactor.advance(self.limits.tick, step=self.limits.tick)
            found.append(self.totals())
        peer.offer(b"!")
        peer.end()
        peer.receiveAll()
        self.reactor.until(lambda: not self.connections)
        assert [*found, self.totals()] == [(0, 0), (5, 5), (10, 10), (11, 11)]

    def test_heldBytesAreNotSent(self) -> None:
        """What this process still holds for the peer isn't sent; the kernel has exactly the rest."""
        for family in FAMILIES:
            self.build(Limits())
            connection, peer = self.connect(family)
            peer.offer(MUCH)
            self.update()
            received, sent = self.totals()
            assert received == connection.received
            assert 0 < sent < received
            far = peer.socket
            far.setblocking(True)  # the reactor rests, so the kernel gets nothing more
            assert far.recv(sent, socket.MSG_WAITALL) == MUCH[:sent].upper()
            far.setblocking(False)
            assert peer.take(1) is None

    def test_droppedBytesAreNeverSent(self) -> None:
        """What this process held when a connection was aborted, or reset, doesn't count as sent afterwards."""
        for family in FAMILIES:
            for end in ("abort", "reset"):
                before = self.totals()
                connection, peer = self.connect(family)
                peer.offer(MUCH)
                assert connection.protocol
                expected = before[1] + connection.received - unsentBy(connection.protocol.transport)
                if end == "abort":
                    connection.protocol.abort(EndReason.STALLED)
                else:
                    peer.reset()
                self.reactor.until(lambda: not self.connections)
                assert self.totals() == (before[0] + connection.received, expected)

    def test_totalsNeverFall(self) -> None:
        """What a TLS record adds to bytes that wait doesn't take back what was counted as sent."""
        connection, peer = self.connect()
        peer.offer(b"hello")
        self.update()
        connection.received += 1
        assert connection.protocol
        vars(connection.protocol.transport)["_tempDataLen"] = 23
        self.update()
        assert self.totals() == (6, 5)


class StateTests(OpenTestCase):
    """How many connections wait, and are paused, is known as of the last check."""

    def state(self) -> tuple[int, int]:
        """Return the numbers, after a check."""
        self.update()
        return self.connections.counts.waiting, self.connections.counts.paused

    def test_pausedConnectionsAreCounted(self) -> None:
        """One whose peer doesn't read is paused, until the peer has read."""
        for family in FAMILIES:
            self.connect(family)
            connection, peer = self.connect(family)
            found = [self.state()]
            sent = peer.offer(MUCH)
            found.append(self.state())
            peer.receive(sent)
            assert [*found, self.state()] == [(0, 0), (0, 1), (0, 0)]
            peer.offer(MUCH)
            assert connection.protocol
            connection.protocol.finish(EndReason.STOPPING)
            assert self.state() == (0, 0)  # it is ending

    def test_waitingConnectionsAreCounted(self) -> None:
        """One that has no place is waiting, until it has one."""
        self.build(Limits(maxConnections=1))
        _, inside = self.connect()
        self.connect()
        found = [self.state()]
        inside.end()
        self.reactor.until(lambda: len(self.connections) == 1)
        assert [*found, self.state()] == [(1, 0), (0, 0)]

    def test_lastSweepLeavesNothing(self) -> None:
        """When the last connection is gone, none waits or is paused."""
        _, peer = self.connect()
        peer.offer(MUCH)
        assert self.state() == (0, 1)
        peer.reset()
        self.reactor.advance(2 * self.limits.tick, step=self.limits.tick)
        assert (self.connections.counts.waiting, self.connections.counts.paused) == (0, 0)


class ShownTests(OpenTestCase):
    """What is shown of each connection."""

    def shown(self, cursor: str = "", peer: str = "") -> tuple[list[dict[str, Any]], str]:
        """Return a page of connections, and the next cursor."""
        done = Deferred.fromCoroutine(self.connections.after(cursor, peer))
        self.assertNoResult(done)
        self.reactor.turn(1)
        return self.successResultOf(done)

    def only(self) -> dict[str, Any]:
        """Return what is shown of the only connection."""
        ((connection,), cursor) = self.shown()
        assert cursor == ""
        return connection

    def test_allMembersAreShown(self) -> None:
        """All that is known of a connection is there."""
        _, peer = self.connect()
        peer.offer(b"hello")
        self.reactor.advance(1.5, step=1.5)
        assert self.only() == {
            "id": "1",
            "listener": "here",
            "peer": "{}:{}".format(*peer.socket.getsockname()),
            "via": None,
            "state": "echoing",
            "age": 1.5,
            "received": 5,
            "sent": 5,
            "unsent": 0,
            "tls": None,
            "reason": None,
        }

    def test_unsentBytesAreThoseOfBothBuffers(self) -> None:
        """The bytes that wait for the peer, here or in the kernel, are there; those that it hasn't read aren't."""
        connection, peer = self.connect()
        peer.offer(MUCH)
        assert connection.protocol
        transport = connection.protocol.transport
        shown = self.only()
        assert shown["state"] == "paused"
        held = unsentBy(transport)
        assert shown["received"] - shown["sent"] == held
        assert shown["unsent"] - held == unsentOn(transport.getHandle()) > 0

    def test_endingOneHasAReason(self) -> None:
        """One that is ending says why."""
        connection, peer = self.connect()
        peer.offer(MUCH)
        assert connection.protocol
        connection.protocol.finish(EndReason.STOPPING)
        shown = self.only()
        assert (shown["state"], shown["reason"]) == ("ending", "stopping")

    def test_waitingOneIsShown(self) -> None:
        """One that waits for a place is there."""
        self.build(Limits(maxConnections=1))
        for _ in range(2):
            self.connect()
        assert [each["state"] for each in self.shown()[0]] == ["echoing", "waiting"]

    def test_tlsAndProxyAreShown(self) -> None:
        """The TLS of a connection, and the proxy through which it came, are there."""
        connection, _ = self.connect()
        connection.note(via="192.0.2.1:555", tls="TLSv1.2")
        assert self.only()["tls"] is None  # that one ends at the proxy
        connection.note(tls_version="TLSv1.3", server_name="example.org", client_subject="CN=x")
        shown = self.only()
        assert shown["via"] == "192.0.2.1:555"
        assert shown["tls"] == {"version": "TLSv1.3", "server_name": "example.org", "subject": "CN=x"}

    def test_tlsWithoutNamesIsShown(self) -> None:
        """Names that the client didn't give are null."""
        connection, _ = self.connect()
        connection.note(tls_version="TLSv1.2")
        assert self.only()["tls"] == {"version": "TLSv1.2", "server_name": None, "subject": None}

    def test_pagesHaveEachOnce(self) -> None:
        """The pages have each connection once, in the order of their numbers, also if some end between them."""
        self.build(Limits(maxConnections=0), idPrefix="3.")
        count = 2 * PAGE + 5
        for _ in range(count):
            self.join()
        found: list[str] = []
        sizes: list[int] = []
        cursor = ""
        while not sizes or cursor:
            page, cursor = self.shown(cursor)
            sizes.append(len(page))
            found += [each["id"] for each in page]
            if len(sizes) == 1:
                for connection in list(self.connections)[PAGE - 2 : PAGE + 2]:  # the cursor's as well
                    self.connections.remove(connection)
        expected = [*range(1, PAGE + 1), *range(PAGE + 3, count + 1)]
        assert found == [f"3.{number}" for number in expected]
        assert sizes == [PAGE, PAGE, 3]

    def test_noTurnHasMorePagesThanOne(self) -> None:
        """Several clients that ask for pages at once get them in turn, so that the connections don't wait for all."""
        pages = [Deferred.fromCoroutine(self.connections.after("", "")) for _ in range(3)]
        for ready in range(1, 4):
            self.reactor.turn(1)
            assert sum(page.called for page in pages) == ready

    def join(self, host: str = "192.0.2.1") -> Connection:
        """Let a connection without a network join."""
        protocol, record = RecordedProtocol(), self.connections.make("here", IPv4Address("TCP", host, 1))
        protocol.transport.getHandle = lambda: self.handle
        self.connections.serve(record, protocol)
        return record

    def test_onlyThePeersAreShown(self) -> None:
        """Those from an address, or through it, are found; a page may have none of them, and others follow."""
        self.build(Limits(maxConnections=0))
        for _ in range(PAGE):
            self.join()
        direct, proxied = self.join("192.0.2.7"), self.join()
        proxied.note(via="192.0.2.7:1")
        page, cursor = self.shown(peer="192.0.2.7:1")
        assert (page, cursor) == ([], str(PAGE))
        page, cursor = self.shown(cursor, "192.0.2.7:1")
        assert ([each["id"] for each in page], cursor) == ([str(direct.id), str(proxied.id)], "")
