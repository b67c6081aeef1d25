"""The gate keeps to the limits exactly, and a connection that waits for a place loses nothing."""

import socket

from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.tcp import Port
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from echoup.server.admission.gate import Gate
from echoup.server.admission.slots import LocalSlots
from echoup.server.connection import Admission
from echoup.server.connections import Connections
from echoup.server.reasons import Refusal
from echoup.server.settings import Limits
from echoup.server.stream.protocol import EchoUpFactory
from tests.support.descriptors import fewDescriptors
from tests.support.doubles import Peer, ReactorTestCase
from tests.support.gates import LatePeerLimit, Visitor

ADMITTED, WAITING, REFUSED = Admission.ADMITTED, Admission.WAITING, Admission.REFUSED


class PortTests(ReactorTestCase):
    """The gate pauses real ports exactly at the limit."""

    def open(self, limits: Limits, count: int = 1) -> None:
        """Listen at `count` ports."""
        self.gate = Gate(self.reactor, limits)
        self.connections = Connections(self.reactor, limits, self.gate)
        self.ports: list[Port] = []
        for _ in range(count):
            factory = EchoUpFactory(self.reactor, limits, self.connections, isPrepared=True)
            port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
            assert isinstance(port, Port)
            self.gate.guard(port, self.gate.counts.listeners[""])
            self.ports.append(port)

    def knock(self, count: int) -> list[Peer]:
        """Let `count` clients connect, at the ports in turn."""
        addresses = [(port.getHost().host, port.getHost().port) for port in self.ports]
        return [self.peerAt(addresses[i % len(addresses)]) for i in range(count)]

    def assertServed(self, count: int) -> None:
        """Check that `count` clients are served when the kernel has taken its time, and stay, and no others."""
        self.reactor.until(lambda: len(self.connections) == count)
        self.reactor.turn()
        assert len(self.connections) == count
        assert {connection.admission for connection in self.connections} <= {ADMITTED}

    def test_portsServeExactlyTheLimit(self) -> None:
        """Two ports together serve as many as the limit says, and as many again when those have left."""
        self.open(Limits(maxConnections=10), count=2)
        self.knock(25)
        for expected in (10, 10, 5, 0):
            self.assertServed(expected)
            for connection in list(self.connections):
                assert connection.protocol
                connection.protocol.transport.abortConnection()

    def test_pausedAtTheLimit(self) -> None:
        """At the limit no port is read, below it every one is."""
        self.open(Limits(maxConnections=2), count=2)
        peers = self.knock(1)
        self.assertServed(1)
        assert set(self.ports) <= set(self.reactor.getReaders())
        peers += self.knock(1)
        self.assertServed(2)
        assert set(self.ports) & set(self.reactor.getReaders()) == set()
        peers[0].socket.close()
        self.assertServed(1)
        assert set(self.ports) <= set(self.reactor.getReaders())

    def test_limitAboveOneRowIsExact(self) -> None:
        """A limit above what is accepted in a row is kept as exactly."""
        self.open(Limits(maxConnections=150))
        self.ports[0].socket.listen(200)
        self.knock(160)
        self.assertServed(150)

    def test_withoutLimitAllAreServed(self) -> None:
        """Without a limit no port is paused."""
        self.open(Limits(maxConnections=0))
        self.knock(40)
        self.assertServed(40)
        assert self.ports[0] in self.reactor.getReaders()

    def test_closedGateResumesNoPort(self) -> None:
        """Ports that are about to close are not read again."""
        self.open(Limits(maxConnections=1))
        peers = self.knock(1)
        self.assertServed(1)
        self.gate.close()
        peers[0].socket.close()
        self.assertServed(0)
        assert self.ports[0] not in self.reactor.getReaders()

    def test_closedPortIsForgotten(self) -> None:
        """A port that is closed while it is paused isn't read again, and the other ones are; it is kept no longer."""
        self.open(Limits(maxConnections=2), count=3)
        peers = self.knock(2)
        self.assertServed(2)
        self.ports[0].stopListening()
        self.reactor.turn()
        self.ports[1].stopListening()  # it is closed in the next turn
        peers[0].socket.close()
        self.reactor.until(lambda: len(self.connections) == 1)
        assert set(self.ports) & set(self.reactor.getReaders()) == {self.ports[2]}
        self.reactor.turn()
        another = self.reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        assert isinstance(another, Port)
        self.gate.guard(another, self.gate.counts.listeners[""])
        assert self.gate._ports == [self.ports[2], another]

    def test_clientsWithoutDescriptorCostOneLineAMinute(self) -> None:
        """Clients that the process has no descriptor for cost one line a minute; then it recovers."""
        self.open(Limits())
        self.knock(1)
        self.assertServed(1)
        far = [socket.socket() for _ in range(5)]
        with capturedLogs() as events, fewDescriptors():
            for client in far:
                self.addCleanup(client.close)
                client.connect((self.ports[0].getHost().host, self.ports[0].getHost().port))
                self.reactor.until(lambda: bool(events))
                self.reactor.turn()
        said = [formatEvent(event) for event in events]
        assert said == ["refused 1 connection: no file descriptors left"]
        assert events[0]["connections"] == 1
        assert self.gate.counts[Refusal.DESCRIPTORS] >= 1
        self.assertServed(1)
        self.knock(3)
        self.assertServed(4)


class RivalSlots(LocalSlots):
    """Places of which another process may take the last one first."""

    rivals = 0

    def take(self) -> bool:
        """Take one, unless another process has it already."""
        return self.free > self.rivals and super().take()


class WaitingTests(SynchronousTestCase):
    """A connection that was accepted although there was no place waits for one."""

    def open(self, maximum: int) -> None:
        """Make a gate."""
        self.slots = RivalSlots(maximum)
        self.gate = Gate(Clock(), Limits(maxConnections=maximum), self.slots)

    def visitors(self, count: int) -> list[Visitor]:
        """Return new connections."""
        return [Visitor(self.gate) for _ in range(count)]

    def test_placesGoInOrderOfArrival(self) -> None:
        """As places become free they go to the connections that wait, in the order in which they came."""
        self.open(2)
        visitors = self.visitors(5)
        assert [visitor.enter() for visitor in visitors] == [ADMITTED, ADMITTED, WAITING, WAITING, WAITING]
        for i in range(3):
            visitors[i].leave()
            assert [visitor.fate for visitor in visitors[2:]] == ["begun"] * (i + 1) + [""] * (2 - i)
        assert self.gate.isQueueEmpty
        for visitor in visitors[3:]:
            visitor.leave()
        assert self.slots.free == 2

    def test_waitingConnectionIsNotRead(self) -> None:
        """A connection is paused while it waits, and read again when it begins."""
        self.open(1)
        inside, waiting = self.visitors(2)
        inside.enter()
        waiting.enter()
        assert waiting.protocol.transport.producerState == "paused"
        inside.leave()
        assert waiting.protocol.transport.producerState == "producing"

    def test_lostRaceWaitsForTheRival(self) -> None:
        """A connection that loses a place to another process waits, and has it when that one gives it back."""
        self.open(5)
        self.slots.rivals = 5
        (visitor,) = self.visitors(1)
        assert visitor.enter() is WAITING
        assert not self.gate.isQueueEmpty
        assert self.slots.free == 5
        self.slots.rivals = 4
        self.slots.free -= 1
        self.slots.give()
        assert (visitor.fate, self.slots.free) == ("begun", 4)

    def test_noneOvertakesTheQueue(self) -> None:
        """No connection is admitted before those that wait."""
        self.open(5)
        self.slots.rivals = 5
        first, second = self.visitors(2)
        first.enter()
        self.slots.rivals = 0
        assert second.enter() is WAITING
        self.slots.free -= 1
        self.slots.give()
        assert (first.fate, second.fate) == ("begun", "begun")

    def test_goneWhileWaitingHeldNoPlace(self) -> None:
        """A connection that is lost while it waits has held no place."""
        self.open(1)
        inside, waiting = self.visitors(2)
        inside.enter()
        waiting.enter()
        waiting.leave()
        inside.leave()
        assert (waiting.fate, self.slots.free) == ("", 1)

    def test_closedGateRefusesTheQueue(self) -> None:
        """When the ports close no connection waits any longer, nor begins to."""
        self.open(1)
        inside, waiting, late = self.visitors(3)
        inside.enter()
        waiting.enter()
        self.gate.close()
        assert late.enter() is REFUSED
        for visitor in (inside, waiting, late):
            visitor.leave()
        assert [visitor.fate for visitor in (inside, waiting, late)] == ["begun", "refused", "refused"]
        assert self.slots.free == 1

    def test_closedGateServesWhatWasAccepted(self) -> None:
        """A connection that was accepted before the ports closed is served if there is a place."""
        self.open(1)
        (late,) = self.visitors(1)
        self.gate.close()
        assert late.enter() is ADMITTED
        late.leave()
        assert self.slots.free == 1


class AskingTests(SynchronousTestCase):
    """Where another process keeps the limit to each peer, a connection waits for its answer."""

    def setUp(self) -> None:
        """Make a gate."""
        self.peers = LatePeerLimit()
        self.slots = LocalSlots(3)
        self.gate = Gate(Clock(), Limits(maxConnections=3, maxConnectionsPerPeer=1), self.slots, self.peers)

    def test_answerAdmitsOrRefuses(self) -> None:
        """It begins, or is refused, when the answer comes; only one that was admitted leaves its peer's count."""
        visitors = [Visitor(self.gate, source) for source in ("192.0.2.1", "192.0.2.2", None)]
        assert [visitor.enter() for visitor in visitors] == [WAITING, WAITING, ADMITTED]
        (first, answer), (second, refusal) = self.peers.asked
        assert (first, second) == ("192.0.2.1", "192.0.2.2")
        answer.callback(True)
        refusal.callback(False)
        assert [visitor.fate for visitor in visitors] == ["begun", "refused", "begun"]
        for visitor in visitors:
            visitor.leave()
        assert (self.peers.left, self.slots.free) == (["192.0.2.1"], 3)

    def test_goneBeforeTheAnswerLeavesTheCount(self) -> None:
        """One that is gone before the answer leaves its peer's count if it had been admitted."""
        for isAdmitted in (True, False):
            visitor = Visitor(self.gate, "192.0.2.1")
            visitor.enter()
            visitor.leave()
            self.peers.asked.pop()[1].callback(isAdmitted)
            assert visitor.fate == ""
        assert (self.peers.left, self.slots.free) == (["192.0.2.1"], 3)

    def test_countedForTheSourceAtThatTime(self) -> None:
        """A connection leaves the count of the peer that it was counted for."""
        visitor = Visitor(self.gate, "192.0.2.1")
        visitor.enter()
        self.peers.asked.pop()[1].callback(True)
        visitor.connection.source = "192.0.2.9"
        visitor.leave()
        assert (self.peers.left, self.slots.free) == (["192.0.2.1"], 3)


class NoLimitTests(SynchronousTestCase):
    """Without limits every connection is admitted."""

    def test_withoutMaximumAllAreAdmitted(self) -> None:
        """However many there are, also of one peer."""
        gate = Gate(Clock(), Limits(maxConnections=0))
        assert all(Visitor(gate, "192.0.2.1").enter() is ADMITTED for _ in range(5000))

    def test_peersWithoutAddressHaveNoLimit(self) -> None:
        """Peers without an address have no limit of their own."""
        gate = Gate(Clock(), Limits(maxConnectionsPerPeer=1))
        assert [Visitor(gate).enter() for _ in range(3)] == [ADMITTED] * 3
