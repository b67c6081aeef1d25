"""The gate keeps to the limits exactly, and whoever has to wait for a place loses nothing."""

import socket

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.tcp import Port
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echoup.server.admission.gate import Gate, LocalSlots, PeerLimit
from echoup.server.settings import Limits
from tests.support.descriptors import fewDescriptors
from tests.support.doubles import Peer, ReactorTestCase
from tests.support.gates import LatePeerLimit
from tests.support.properties import given, st


class Guest(Protocol):
    """A connection that asks the gate."""

    factory: "House"
    transport: ITCPTransport
    source = None

    def connectionMade(self) -> None:
        """Enter."""
        if self.factory.gate.enter(self):
            self.factory.guests.add(self)

    def begin(self) -> None:
        """Be inside at last."""
        self.factory.guests.add(self)

    def cut(self, reason: str) -> None:
        """Go."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Leave."""
        self.factory.guests.discard(self)
        self.factory.gate.leave(self)


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

    def assertInside(self, count: int) -> None:
        """Check that `count` clients are in as soon as the kernel has taken its time, and stay, and no others come."""
        self.reactor.until(lambda: len(self.house.guests) == count)
        self.reactor.turn()
        assert len(self.house.guests) == count

    def test_exactly(self) -> None:
        """Two ports together let in as many as the limit says, and as many again when those have left."""
        self.open(Limits(maxConnections=10), count=2)
        self.knock(25)
        for expected in (10, 10, 5, 0):
            self.assertInside(expected)
            for guest in list(self.house.guests):
                guest.transport.loseConnection()

    def test_stopsReading(self) -> None:
        """At the limit no port is looked at, below it every one is."""
        self.open(Limits(maxConnections=2), count=2)
        peers = self.knock(1)
        self.assertInside(1)
        assert set(self.ports) <= set(self.reactor.getReaders())
        peers += self.knock(1)
        self.assertInside(2)
        assert set(self.ports) & set(self.reactor.getReaders()) == set()
        peers[0].socket.close()
        self.assertInside(1)
        assert set(self.ports) <= set(self.reactor.getReaders())

    def test_more(self) -> None:
        """A limit above what is accepted in a row is kept as exactly."""
        self.open(Limits(maxConnections=150))
        self.ports[0].socket.listen(200)
        self.knock(160)
        self.assertInside(150)

    def test_noLimit(self) -> None:
        """Without a limit all come in."""
        self.open(Limits(maxConnections=0))
        self.knock(40)
        self.assertInside(40)
        assert self.ports[0] in self.reactor.getReaders()

    def test_abandon(self) -> None:
        """Ports that are abandoned aren't looked at again."""
        self.open(Limits(maxConnections=1))
        peers = self.knock(1)
        self.assertInside(1)
        self.gate.abandon()
        peers[0].socket.close()
        self.assertInside(0)
        assert self.ports[0] not in self.reactor.getReaders()

    def test_noDescriptors(self) -> None:
        """Clients that the process has no descriptor for cost one line a minute; then it recovers."""
        self.open(Limits())
        self.knock(1)
        self.assertInside(1)
        far = [socket.socket() for _ in range(5)]
        with capturedLogs() as events, fewDescriptors():
            for client in far:
                self.addCleanup(client.close)
                client.connect((self.ports[0].getHost().host, self.ports[0].getHost().port))
                self.reactor.until(lambda: bool(events))
                self.reactor.turn()
        said = [formatEvent(event) for event in events]
        assert said == ["refused 1 connections: no file descriptors left"]
        self.assertInside(1)
        self.knock(3)
        self.assertInside(4)


class PeerLimitTests(SynchronousTestCase):
    """`PeerLimit` counts each peer for itself."""

    def test_perPeer(self) -> None:
        """A peer at its limit is to be turned away until one of its connections has left, and no other peer is."""
        limit = PeerLimit(Clock(), 2)
        answers = [limit.enter(peer) for peer in ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2")]
        assert answers == [True, True, False, True]
        limit.leave("192.0.2.1")
        assert [limit.enter("192.0.2.1") for _ in range(2)] == [True, False]

    def test_oneLineAMinute(self) -> None:
        """However many are turned away, there is a line a minute."""
        clock = Clock()
        limit = PeerLimit(clock, 1)
        with capturedLogs() as events:
            for _ in range(1001):
                limit.enter("192.0.2.1")
            clock.advance(60)
        assert [formatEvent(event) for event in events] == [
            "refused 1 connections over --max-connections-per-peer",
            "refused 999 connections over --max-connections-per-peer",
        ]

    @given(st.lists(st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1"])), st.integers(1, 3))
    def test_anyOrder(self, visits: list[str], maximum: int) -> None:
        """Whoever comes and leaves, in the end everyone has all of their room again."""
        limit = PeerLimit(Clock(), maximum)
        answers = [limit.enter(peer) for peer in visits]
        assert answers == [visits[:i].count(peer) < maximum for i, peer in enumerate(visits)]
        for peer, isAdmitted in zip(visits, answers, strict=True):
            if isAdmitted:
                limit.leave(peer)
        for peer in set(visits):
            assert [limit.enter(peer) for _ in range(maximum + 1)] == [True] * maximum + [False]


class Visitor:
    """A guest without a connection, who remembers what becomes of it."""

    def __init__(self, source: str | None = None) -> None:
        self.source = source
        self.fate = ""

    def begin(self) -> None:
        """Remember to be inside."""
        self.fate += "begun"

    def cut(self, reason: str) -> None:
        """Remember to be turned away."""
        self.fate += reason


class RivalSlots(LocalSlots):
    """Places of which somebody else may take the last one before it can be had."""

    rivals = 0

    def take(self) -> bool:
        """Take one, unless somebody else has it already."""
        return self.free > self.rivals and super().take()


class WaitingTests(SynchronousTestCase):
    """Who was accepted although there was no place waits for one."""

    def open(self, maximum: int) -> None:
        """Open a gate."""
        self.slots = RivalSlots(maximum)
        self.gate = Gate(Clock(), Limits(maxConnections=maximum), self.slots)

    def test_inOrder(self) -> None:
        """As places become free they go to those who wait, in the order in which they came."""
        self.open(2)
        visitors = [Visitor() for _ in range(5)]
        assert [self.gate.enter(visitor) for visitor in visitors] == [True, True, False, False, False]
        for i in range(3):
            self.gate.leave(visitors[i])
            assert [visitor.fate for visitor in visitors[2:]] == ["begun"] * (i + 1) + [""] * (2 - i)
        assert list(self.gate.waiting) == []
        for visitor in visitors[3:]:
            self.gate.leave(visitor)
        assert self.slots.free == 2

    def test_lostRace(self) -> None:
        """Who loses a place to somebody else at the last moment waits, and has it when that one goes."""
        self.open(5)
        self.slots.rivals = 5
        visitor = Visitor()
        assert not self.gate.enter(visitor)
        assert visitor in self.gate.waiting
        assert self.slots.free == 5
        self.slots.rivals = 4
        self.slots.free -= 1
        self.slots.give()
        assert (visitor.fate, self.slots.free) == ("begun", 4)

    def test_notBefore(self) -> None:
        """Nobody gets in before those who wait."""
        self.open(5)
        self.slots.rivals = 5
        first, second = Visitor(), Visitor()
        self.gate.enter(first)
        self.slots.rivals = 0
        assert not self.gate.enter(second)
        self.slots.free -= 1
        self.slots.give()
        assert (first.fate, second.fate) == ("begun", "begun")

    def test_goneWhileWaiting(self) -> None:
        """Who goes while he waits has held no place."""
        self.open(1)
        inside, waiting = Visitor(), Visitor()
        self.gate.enter(inside)
        self.gate.enter(waiting)
        self.gate.leave(waiting)
        self.gate.leave(inside)
        assert (waiting.fate, self.slots.free) == ("", 1)

    def test_abandoned(self) -> None:
        """When the ports close nobody waits any longer, nor begins to."""
        self.open(1)
        inside, waiting, late = Visitor(), Visitor(), Visitor()
        self.gate.enter(inside)
        self.gate.enter(waiting)
        self.gate.abandon()
        assert not self.gate.enter(late)
        for visitor in (inside, waiting, late):
            self.gate.leave(visitor)
        assert [visitor.fate for visitor in (inside, waiting, late)] == ["", "refused", "refused"]
        assert self.slots.free == 1


class AskingTests(SynchronousTestCase):
    """Where somebody else knows the limit to each peer, a connection waits for the answer."""

    def setUp(self) -> None:
        """Open a gate."""
        self.peers = LatePeerLimit()
        self.slots = LocalSlots(3)
        self.gate = Gate(Clock(), Limits(maxConnections=3, maxConnectionsPerPeer=1), self.slots, self.peers)

    def test_answers(self) -> None:
        """It begins, or is turned away, when the answer comes; only who was let in is told to have left."""
        visitors = [Visitor("192.0.2.1"), Visitor("192.0.2.2"), Visitor()]
        assert [self.gate.enter(visitor) for visitor in visitors] == [False, False, True]
        (first, answer), (second, refusal) = self.peers.asked
        assert (first, second) == ("192.0.2.1", "192.0.2.2")
        answer.callback(True)
        refusal.callback(False)
        assert [visitor.fate for visitor in visitors] == ["begun", "refused", ""]
        for visitor in visitors:
            self.gate.leave(visitor)
        assert (self.peers.left, self.slots.free) == (["192.0.2.1"], 3)

    def test_gone(self) -> None:
        """Who is gone before the answer is told to have left if he had been let in."""
        for isAdmitted in (True, False):
            visitor = Visitor("192.0.2.1")
            self.gate.enter(visitor)
            self.gate.leave(visitor)
            self.peers.asked.pop()[1].callback(isAdmitted)
            assert visitor.fate == ""
        assert (self.peers.left, self.slots.free) == (["192.0.2.1"], 3)

    def test_replaced(self) -> None:
        """Who takes a guest's place leaves for him."""
        guest, successor = Visitor("192.0.2.1"), Visitor("192.0.2.9")
        self.gate.enter(guest)
        self.peers.asked.pop()[1].callback(True)
        self.gate.replace(guest, successor)
        self.gate.leave(successor)
        assert (self.peers.left, self.slots.free) == (["192.0.2.1"], 3)


class NoLimitTests(SynchronousTestCase):
    """Without limits everybody comes in."""

    def test_all(self) -> None:
        """However many there are, also of one peer."""
        gate = Gate(Clock(), Limits(maxConnections=0))
        assert all(gate.enter(Visitor("192.0.2.1")) for _ in range(5000))

    def test_withoutAddress(self) -> None:
        """Peers without an address have no limit of their own."""
        gate = Gate(Clock(), Limits(maxConnectionsPerPeer=1))
        assert [gate.enter(Visitor(None)) for _ in range(3)] == [True] * 3
