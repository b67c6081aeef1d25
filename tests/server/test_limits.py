"""The limits, and the gate that keeps to them exactly."""

import itertools
import os
import resource
import socket

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.internet.tcp import Port
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echoup.server.limits import SELECT_MAXIMUM, Gate, Limits, MinuteLog
from tests.doubles import Peer, ReactorTestCase

TIMEOUTS = st.floats(0.001, 1e6)


class LimitsTests(ReactorTestCase):
    """`Limits` are values, and fit the reactor."""

    @settings(deadline=None)
    @given(TIMEOUTS, st.just(0.0) | TIMEOUTS)
    def test_tick(self, stallTimeout: float, idleTimeout: float) -> None:
        """Looking is rare enough to cost nothing and frequent enough to be in time."""
        tick = Limits(stallTimeout=stallTimeout, idleTimeout=idleTimeout).tick
        assert 0.05 <= tick <= 3, tick
        if tick > 0.05:
            assert tick <= min(stallTimeout, idleTimeout or stallTimeout) / 20

    def test_ticks(self) -> None:
        """A tick is a twentieth of the shortest timeout, within bounds."""
        assert Limits().tick == 3.0
        assert Limits(stallTimeout=20).tick == 1.0
        assert Limits(idleTimeout=10).tick == 0.5
        assert Limits(stallTimeout=0.1).tick == 0.05

    def test_select(self) -> None:
        """On the select reactor there is always a maximum, and it is one that select can take."""
        reactor = SelectReactor()
        for reader in reactor._internalReaders:
            self.addCleanup(reader.connectionLost, Failure(CONNECTION_DONE))
        for asked, kept in ((0, SELECT_MAXIMUM), (1024, SELECT_MAXIMUM), (SELECT_MAXIMUM, SELECT_MAXIMUM), (10, 10)):
            limits = Limits(maxConnections=asked, idleTimeout=7).within(reactor)
            assert limits == Limits(maxConnections=kept, idleTimeout=7)

    def test_otherReactors(self) -> None:
        """Other reactors keep any limits."""
        for limits in (Limits(maxConnections=0), Limits(maxConnections=100_000)):
            assert limits.within(self.reactor) == limits


class MinuteLogTests(SynchronousTestCase):
    """`MinuteLog` speaks once a minute at the most."""

    def setUp(self) -> None:
        """Make a log whose words are in `said`."""
        self.clock = Clock()
        self.said: list[int] = []
        self.log = MinuteLog(self.clock, self.said.append)

    def test_first(self) -> None:
        """The first event is said at once."""
        self.log.count()
        assert self.said == [1]

    def test_flood(self) -> None:
        """What comes within the minute is said as a number, at its end."""
        for _ in range(1000):
            self.log.count()
        self.clock.advance(59.9)
        self.log.count()
        assert self.said == [1]
        self.clock.advance(0.1)
        assert self.said == [1, 1000]

    def test_quietMinute(self) -> None:
        """After a minute without an event the next one is said at once again."""
        self.log.count()
        self.clock.advance(60)
        self.log.count()
        assert self.said == [1, 1]

    def test_stop(self) -> None:
        """In the end it says what is unsaid, and leaves no timer."""
        for _ in range(3):
            self.log.count()
        self.log.stop()
        assert self.said == [1, 2]
        assert self.clock.getDelayedCalls() == []

    def test_stopped(self) -> None:
        """After that it is silent for good, whether or not it had anything to say before."""
        for before in (0, 1, 2):
            clock, said = Clock(), list[int]()
            log = MinuteLog(clock, said.append)
            for _ in range(before):
                log.count()
            log.stop()
            log.count()
            assert sum(said) == before
            assert clock.getDelayedCalls() == []

    @settings(deadline=None)
    @given(st.lists(st.floats(0, 100), max_size=50))
    def test_anyTimes(self, pauses: list[float]) -> None:
        """However the events come, each is counted once, and a minute passes between two words."""
        clock, said = Clock(), list[tuple[float, int]]()
        log = MinuteLog(clock, lambda count: said.append((clock.seconds(), count)))
        for pause in pauses:
            clock.advance(pause)
            log.count()
        clock.advance(60)
        assert sum(count for _, count in said) == len(pauses)
        for (before, _), (after, _) in itertools.pairwise(said):
            assert after >= before + 60


class Guest(Protocol):
    """A connection that asks the gate."""

    factory: "House"
    transport: ITCPTransport

    def connectionMade(self) -> None:
        """Enter."""
        self.factory.guests.add(self)
        self.factory.gate.enter(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Leave."""
        self.factory.guests.remove(self)
        self.factory.gate.leave(None)


class House(Factory[Guest]):
    """Knows those whom the gate let in."""

    protocol = Guest
    noisy = False

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.guests: set[Guest] = set()


class GateTests(ReactorTestCase):
    """`Gate` stops real ports exactly at the limit."""

    def open(self, limits: Limits, count: int = 1) -> None:
        """Open a house with `count` ports."""
        self.gate = Gate(self.reactor, limits)
        self.house = House(self.gate)
        self.ports: list[Port] = []
        for _ in range(count):
            port = self.reactor.listenTCP(0, self.house, interface="127.0.0.1")
            assert isinstance(port, Port)
            self.gate.guard(port)
            self.ports.append(port)

    def knock(self, count: int) -> list[Peer]:
        """Let `count` clients connect, at the ports in turn."""
        addresses = [(port.getHost().host, port.getHost().port) for port in self.ports]
        return [self.peerAt(addresses[i % len(addresses)]) for i in range(count)]

    def settle(self) -> None:
        """Let in and out whoever can; the kernel may take its time."""
        for _ in range(10):
            self.reactor.iterate(0.002)

    def test_exactly(self) -> None:
        """Two ports together let in as many as the limit says, and as many again when those have left."""
        self.open(Limits(maxConnections=10), count=2)
        self.knock(25)
        for expected in (10, 10, 5, 0):
            self.settle()
            assert len(self.house.guests) == expected
            for guest in list(self.house.guests):
                guest.transport.loseConnection()

    def test_stopsReading(self) -> None:
        """At the limit no port is looked at, below it every one is."""
        self.open(Limits(maxConnections=2), count=2)
        peers = self.knock(1)
        self.settle()
        assert set(self.ports) <= set(self.reactor.getReaders())
        peers += self.knock(1)
        self.settle()
        assert set(self.ports) & set(self.reactor.getReaders()) == set()
        peers[0].socket.close()
        self.settle()
        assert set(self.ports) <= set(self.reactor.getReaders())

    def test_more(self) -> None:
        """A limit above what is accepted in a row is kept as exactly."""
        self.open(Limits(maxConnections=150))
        self.ports[0].socket.listen(200)
        self.knock(160)
        self.settle()
        assert len(self.house.guests) == 150

    def test_noLimit(self) -> None:
        """Without a limit all come in."""
        self.open(Limits(maxConnections=0))
        self.knock(40)
        self.settle()
        assert len(self.house.guests) == 40
        assert self.ports[0] in self.reactor.getReaders()

    def test_abandon(self) -> None:
        """Ports that are abandoned aren't looked at again."""
        self.open(Limits(maxConnections=1))
        peers = self.knock(1)
        self.settle()
        self.gate.abandon()
        peers[0].socket.close()
        self.settle()
        assert len(self.house.guests) == 0
        assert self.ports[0] not in self.reactor.getReaders()

    def test_noDescriptors(self) -> None:
        """Clients that the process has no descriptor for cost one line a minute; then it recovers."""
        self.open(Limits())
        self.knock(1)
        self.settle()
        far = [socket.socket() for _ in range(5)]
        free = os.dup(0)
        os.close(free)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        with capturedLogs() as events:
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
            for client in far:
                self.addCleanup(client.close)
                client.connect((self.ports[0].getHost().host, self.ports[0].getHost().port))
                self.settle()
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        said = [formatEvent(event) for event in events]
        assert said == ["refused 1 connections: no file descriptors left"]
        assert len(self.house.guests) == 1
        self.knock(3)
        self.settle()
        assert len(self.house.guests) == 4


class PeersTests(SynchronousTestCase):
    """`Gate` counts each peer for itself."""

    def test_perPeer(self) -> None:
        """A peer at its limit is to be turned away until one of its connections has left, and no other peer is."""
        gate = Gate(Clock(), Limits(maxConnectionsPerPeer=2))
        answers = [gate.enter(peer) for peer in ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2")]
        assert answers == [True, True, False, True]
        gate.leave("192.0.2.1")
        assert not gate.enter("192.0.2.1")
        gate.leave("192.0.2.1")
        gate.leave("192.0.2.1")
        assert gate.enter("192.0.2.1")

    def test_withoutAddress(self) -> None:
        """Peers without an address have no limit of their own."""
        gate = Gate(Clock(), Limits(maxConnectionsPerPeer=1))
        assert [gate.enter(None) for _ in range(3)] == [True] * 3
        gate.leave(None)

    def test_noLimit(self) -> None:
        """Unless there is a limit to each peer, one may have all connections."""
        gate = Gate(Clock(), Limits(maxConnections=0))
        assert all(gate.enter("192.0.2.1") for _ in range(5000))

    def test_oneLineAMinute(self) -> None:
        """However many are turned away, there is a line a minute."""
        clock = Clock()
        gate = Gate(clock, Limits(maxConnectionsPerPeer=1))
        with capturedLogs() as events:
            for _ in range(1001):
                gate.enter("192.0.2.1")
            clock.advance(60)
        assert [formatEvent(event) for event in events] == [
            "refused 1 connections over --max-connections-per-peer",
            "refused 999 connections over --max-connections-per-peer",
        ]

    @settings(deadline=None)
    @given(st.lists(st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1"])), st.integers(1, 3))
    def test_anyOrder(self, visits: list[str], maximum: int) -> None:
        """Whoever comes and leaves, in the end everyone has all of their room again."""
        gate = Gate(Clock(), Limits(maxConnectionsPerPeer=maximum))
        answers = [gate.enter(peer) for peer in visits]
        assert answers == [visits[:i].count(peer) < maximum for i, peer in enumerate(visits)]
        for peer in visits:
            gate.leave(peer)
        for peer in set(visits):
            assert [gate.enter(peer) for _ in range(maximum + 1)] == [True] * maximum + [False]
