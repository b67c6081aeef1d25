"""The registry knows the open connections, counts and logs those that ended, and looks after all in slices."""

import socket
from uuid import uuid4

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, capturedLogs, eventAsJSON, eventFromJSON, formatEvent

from echoup.clock import BEAT
from echoup.server.admission.gate import Gate
from echoup.server.connection import Admission, Connection, IConnectionProtocol
from echoup.server.connections import SLICE, Connections
from echoup.server.counts import DURATIONS, SIZES, Counts, Total
from echoup.server.platform.socketoptions import stopHandshakes
from echoup.server.reasons import EndReason, Refusal
from echoup.server.settings import Limits
from echoup.server.stream.protocol import EchoUpFactory
from tests.support.doubles import Peer, ReactorTestCase, raised
from tests.support.gates import REFUSED, RecordedProtocol

LIMITS = Limits(idleTimeout=100, stallTimeout=10)


class ConnectionsTestCase(ReactorTestCase):
    """A test with a registry, and a factory whose streams join it."""

    def setUp(self) -> None:
        """Make them."""
        super().setUp()
        self.build()

    def build(self, limits: Limits = LIMITS, logConnections: bool = True) -> None:
        """Make them anew."""
        gate = Gate(self.reactor, limits, counts=Counts(["here", "there"]))
        self.connections = Connections(self.reactor, limits, gate, logConnections)
        self.counts = gate.counts.listeners["here"]
        self.factory = EchoUpFactory(self.reactor, connections=self.connections, listener="here")

    def connect(self, family: socket.AddressFamily = socket.AF_INET) -> Peer:
        """Return the far end of a new connection."""
        return self.peerOf(self.factory, family)

    def end(self, peer: Peer) -> None:
        """Let `peer` end its connection."""
        before = len(self.connections)
        peer.end()
        peer.receiveAll()
        self.reactor.until(lambda: len(self.connections) < before)


class EndedTests(ConnectionsTestCase):
    """A connection that ended is counted, and logged if that is wanted."""

    def session(self) -> list[LogEvent]:
        """Return the events of a session of 2.5 seconds that echoes five bytes."""
        with capturedLogs() as events:
            peer = self.connect()
            peer.offer(b"hello")
            self.reactor.advance(2.5, step=2.5)
            self.end(peer)
        host, port = peer.socket.getsockname()
        self.name = f"{host}:{port}"
        return list(events)

    def test_openConnectionsAreKnown(self) -> None:
        """Those that are open are in it, until they are gone."""
        peers = [self.connect() for _ in range(3)]
        assert [connection.id for connection in sorted(self.connections, key=lambda each: each.id)] == [1, 2, 3]
        self.end(peers[1])
        assert {connection.id for connection in self.connections} == {1, 3}

    def test_countedByListenerAndReason(self) -> None:
        """Each is counted for its listener, from its beginning to its end, with its reason and its bytes."""
        peers = [self.connect() for _ in range(3)]
        assert (self.counts[Total.OPENED], self.counts.open) == (3, 3)
        peers[0].offer(b"hello")
        self.end(peers[0])
        self.end(peers[1])
        peers[2].reset()
        self.reactor.until(lambda: not self.connections)
        assert (self.counts[EndReason.DONE], self.counts[EndReason.LOST]) == (2, 1)
        assert [self.counts[total] for total in Total] == [3, 3, 5, 5]
        assert self.counts.open == 0
        assert self.connections.counts.listeners["there"][Total.OPENED] == 0

    def test_histogramsCountDurationAndSize(self) -> None:
        """The duration of each, and the bytes received on it, are in the histograms."""
        self.session()
        counts, seconds = self.connections.counts.durations
        assert (counts[DURATIONS.index(10)], sum(counts), seconds) == (1, 1, 2.5)
        counts, size = self.connections.counts.sizes
        assert (counts[SIZES.index(64)], sum(counts), size) == (1, 1, 5)

    def test_onlyAStreamIsServed(self) -> None:
        """A connection that ends before its stream has begun isn't counted as served."""
        record = self.connections.make("here", IPv4Address("TCP", "192.0.2.1", 1))
        self.connections.serve(record, RecordedProtocol())
        self.connections.remove(record)
        assert (self.counts[EndReason.LOST], self.counts[Total.SERVED], self.counts.open) == (1, 0, 0)

    def test_recordHoldsNoProtocolAfterTheEnd(self) -> None:
        """A record of a connection that is gone keeps nothing of it alive."""
        peer = self.connect()
        (record,) = self.connections
        self.end(peer)
        assert record.protocol is None
        assert record.held is None

    def test_oneLineHasAllFields(self) -> None:
        """As a connection ends there is one event, with its fields."""
        (event,) = self.session()
        line = f"connection id=1 listener=here peer={self.name} bytes=5 seconds=2.500 reason=done"
        assert formatEvent(event) == line
        members = ("id", "listener", "peer", "bytes", "seconds", "reason")
        assert [event[name] for name in members] == ["1", "here", self.name, 5, 2.5, "done"]

    def test_detailsEndTheLine(self) -> None:
        """What else is known of a connection is at the end of the line, and a field of the event by its own name."""
        peer = self.connect()
        (connection,) = self.connections
        connection.peer = IPv6Address("TCP", "2001:db8::7", 40000)
        connection.note(via="192.0.2.1:8081", authority="example.org")
        connection.note(error=r"it said {no}\"")
        with capturedLogs() as events:
            self.end(peer)
        line = "connection id=1 listener=here peer=[2001:db8::7]:40000 bytes=0 seconds=0.000 reason=done"
        line += r' via=192.0.2.1:8081 authority=example.org error="it said {no}\""'
        assert [formatEvent(event) for event in events] == [line]
        assert (events[0]["via"], events[0]["authority"]) == ("192.0.2.1:8081", "example.org")
        assert events[0]["error"] == r"it said {no}\""

    def test_lineOutlivesThePipeOfAWorker(self) -> None:
        """The supervisor, which gets the event as JSON, writes the same line."""
        (event,) = self.session()
        assert formatEvent(eventFromJSON(eventAsJSON(event))) == formatEvent(event)

    def test_idAndListenerAreOneWordEach(self) -> None:
        """The id has the prefix of its process, and a listener whose path has blanks is escaped."""
        self.connections = Connections(
            self.reactor,
            LIMITS,
            Gate(self.reactor, LIMITS, counts=Counts(["unix:/a b=\udcff"])),
            logConnections=True,
            idPrefix="3.",
        )
        self.factory = EchoUpFactory(self.reactor, connections=self.connections, listener="unix:/a b=\udcff")
        (event,) = self.session()
        assert str(formatEvent(event)).startswith(r"connection id=3.1 listener=unix:/a\x20b\x3d\xff peer=")

    def test_withoutLogConnectionsNothingIsLogged(self) -> None:
        """Unless it is told to, it logs nothing."""
        self.build(logConnections=False)
        assert self.session() == []

    def test_refusedConnectionsCostOneLine(self) -> None:
        """Of those over the limit of their peer there is one line for all; none of them stays or was served."""
        self.build(Limits(maxConnectionsPerPeer=1), logConnections=False)
        inside = self.connect()
        with capturedLogs() as events:
            for _ in range(2):
                assert raised(ConnectionResetError, self.connect().receiveAll)
        assert [formatEvent(event) for event in events] == [REFUSED]
        assert len(self.connections) == 1
        inside.offer(b"hello")
        assert inside.receive(5) == b"HELLO"
        assert (self.counts[EndReason.REFUSED], self.counts[Refusal.PEER], self.counts[Total.SERVED]) == (2, 2, 0)
        assert sum(self.connections.counts.durations[0]) == 0

    def test_refusedConnectionIsLogged(self) -> None:
        """With a line for each connection, one that is refused has its own."""
        self.build(Limits(maxConnectionsPerPeer=1))
        self.connect()
        with capturedLogs() as events:
            peer = self.connect()
            assert raised(ConnectionResetError, peer.receiveAll)
        assert formatEvent(events[0]) == REFUSED
        name = "{}:{}".format(*peer.socket.getsockname())
        line = f"connection id=2 listener=here peer={name} bytes=0 seconds=0.000 reason=refused"
        assert [formatEvent(event) for event in events[1:]] == [line]

    def test_sweepLeavesARefusedConnectionAlone(self) -> None:
        """A connection that is refused and not yet gone when a sweep comes stays refused, and the sweep goes on."""
        self.build(Limits(maxConnectionsPerPeer=1, stallTimeout=10))
        self.connect()
        refused = self.connect()
        self.successResultOf(Deferred.fromCoroutine(self.connections.checkProgress()))
        assert raised(ConnectionResetError, refused.receiveAll)
        assert self.counts[EndReason.REFUSED] == 1

    def test_sweepOutlivesAnError(self) -> None:
        """An error while one connection is checked is logged, and the next sweep still comes."""
        self.connect()
        (connection,) = self.connections
        self.patch(connection.protocol, "checkProgress", lambda *_: 1 / 0)
        self.reactor.advance(3 * LIMITS.tick, step=LIMITS.tick)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 3

    def test_unixPeersHaveNoLimit(self) -> None:
        """The limit of a peer is one for addresses: peers on a Unix socket have none."""
        self.build(Limits(maxConnectionsPerPeer=1))
        for _ in range(2):
            self.connect(socket.AF_UNIX)
        self.reactor.turn()
        assert len(self.connections) == 2

    def test_unixNameForgesNoLine(self) -> None:
        """The name that a peer gave its Unix socket puts neither a second line nor a control character in the log."""
        name = f"\0echoup-{uuid4()}"
        self.reactor.listenUNIX(name, self.factory)
        with socket.socket(socket.AF_UNIX) as far, capturedLogs() as events:
            far.bind(f"{name}\nconnection id=1 peer=fake\x1b[2J")
            far.connect(name)
            self.reactor.until(lambda: bool(self.connections))
            far.shutdown(socket.SHUT_WR)
            self.reactor.until(lambda: not self.connections)
        lines = [str(formatEvent(event)) for event in events if "peer" in event]
        assert [line.isprintable() for line in lines] == [True], lines


class RecordTests(ConnectionsTestCase):
    """A record says who the peer is."""

    def test_mappedPeerIsOneOfIPv4(self) -> None:
        """The peer that a socket for both families names by its IPv4-mapped address is the IPv4 client that it is."""
        for isProxied, source in ((False, "192.0.2.1"), (True, None)):
            record = self.connections.make("here", IPv6Address("TCP", "::ffff:192.0.2.1", 5), isProxied)
            assert (record.peer, record.source) == (IPv4Address("TCP", "192.0.2.1", 5), source)


class SliceTests(ConnectionsTestCase):
    """What is done to all connections takes several turns of the reactor."""

    def fill(self, count: int) -> list[RecordedProtocol]:
        """Let `count` connections without a network join, and return their protocols."""
        protocols = []
        for _ in range(count):
            protocols.append(RecordedProtocol())
            record = self.connections.make("here", IPv4Address("TCP", "192.0.2.1", 1))
            self.connections.serve(record, protocols[-1])
        return protocols

    def finishAll(self) -> "Deferred[None]":
        """Begin to finish all."""

        def finish(_: Connection, protocol: IConnectionProtocol) -> None:
            protocol.finish(EndReason.STOPPING)

        return Deferred.fromCoroutine(self.connections.forEach(finish))

    def test_noTurnTakesMoreThanOneSlice(self) -> None:
        """In one turn there is one slice, and in the end each connection was acted on once."""
        self.build(Limits(maxConnections=0))
        protocols = self.fill(10 * SLICE + 1)
        done, counts = self.finishAll(), []
        for _ in range(10):
            counts.append(sum("finished" in protocol.fate for protocol in protocols))
            assert not done.called
            self.reactor.turn(1)
        assert counts == [SLICE * number for number in range(1, 11)]
        self.successResultOf(done)
        assert {protocol.fate for protocol in protocols} == {"begunfinished:stopping"}

    def test_connectionThatIsGoneIsLeftOut(self) -> None:
        """A connection that is gone when its slice comes is not acted on."""
        self.build(Limits(maxConnections=0))
        protocols = self.fill(2 * SLICE)
        done = self.finishAll()
        records = {connection.protocol: connection for connection in self.connections}
        unfinished = [protocol for protocol in protocols if protocol.fate == "begun"]
        self.connections.remove(records[unfinished[0]])
        self.reactor.turn(2)
        self.successResultOf(done)
        assert [protocol for protocol in protocols if protocol.fate == "begun"] == unfinished[:1]

    def test_stopReachesWhatWaits(self) -> None:
        """A connection that waits for the gate is left out by a sweep, and is acted on by a stop."""
        self.build(Limits(maxConnections=2))
        protocols = self.fill(3)
        self.successResultOf(Deferred.fromCoroutine(self.connections.checkProgress()))
        assert [protocol.checks for protocol in protocols] == [1, 1, 0]
        self.successResultOf(self.finishAll())
        assert [protocol.fate for protocol in protocols] == ["begunfinished:stopping"] * 2 + ["finished:stopping"]

    def test_connectionThatWaitsMayReceive(self) -> None:
        """At a stop a connection that waits gets its packets, too, which it needs when there is a place."""
        self.build(Limits(maxConnections=1))
        inside, waiting = self.connect(), self.connect()
        (record,) = (each for each in self.connections if each.admission is Admission.WAITING)
        assert record.protocol
        stopHandshakes(record.protocol.transport.getHandle())
        waiting.socket.send(b"hello")
        self.successResultOf(Deferred.fromCoroutine(self.connections.beginStop()))
        self.end(inside)
        assert waiting.receive(5) == b"HELLO"  # the kernel sends it again

    def test_stopInTheMiddleOfASweep(self) -> None:
        """A stop that begins while a sweep takes its slices leaves one timer, which ends with the last connection."""
        peers = [self.connect(socket.AF_UNIX) for _ in range(SLICE + 1)]
        while self.connections._sweeping.call:  # None: it is under way
            self.reactor.clock.advance(BEAT)
            self.reactor.turn(1)
        stopped = Deferred.fromCoroutine(self.connections.beginStop())
        self.reactor.turn()
        self.successResultOf(stopped)
        assert len(self.connections.clock.getDelayedCalls()) == 1
        for peer in peers:
            peer.socket.close()
        self.reactor.advance(0.2)
        assert len(self.connections) == 0
        assert self.reactor.getDelayedCalls() == []

    def test_sweepEndsWithTheLastConnection(self) -> None:
        """The timer runs while there is a connection, and again for the next one."""
        for _ in range(2):
            self.end(self.connect())
            self.reactor.advance(LIMITS.tick * 2, step=LIMITS.tick)
            assert self.reactor.getDelayedCalls() == []
