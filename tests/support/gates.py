"""The state of a gate, records without a network, and a limit that another process keeps."""

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from echoup.server.admission.gate import Gate
from echoup.server.admission.peers import IPeers, PeerLimit
from echoup.server.admission.slots import LocalSlots
from echoup.server.connection import Admission, Connection, IConnectionProtocol, Stage
from echoup.server.reasons import EndReason
from echoup.server.settings import Limits

REFUSED = "refused 1 connection over --max-connections-per-peer from 127.0.0.1"
"""The log line about one connection over the limit of its peer."""


def held(gate: Gate) -> tuple[int, dict[str, int]]:
    """Return how many places of a gate with limits are taken, and by how many connections of each peer."""
    assert isinstance(gate._slots, LocalSlots)
    counts = gate._peers._counts if isinstance(gate._peers, PeerLimit) else {}
    return gate._limits.maxConnections - gate._slots.free, dict(counts)


@implementer(IConnectionProtocol)
class RecordedProtocol:
    """A protocol without a network; `fate` is what it was told."""

    transport: Any

    def __init__(self) -> None:
        self.transport = StringTransport()
        self.stage = Stage.ECHOING
        self.fate = ""
        self.checks = 0

    def begin(self) -> None:
        """Note it."""
        self.fate += "begun"

    def checkProgress(self, now: float, limits: Limits, idleReason: EndReason) -> None:
        """Count it."""
        self.checks += 1

    def finish(self, reason: EndReason) -> None:
        """Note it."""
        self.fate += f"finished:{reason.value}"

    def abort(self, reason: EndReason) -> None:
        """Note it."""
        self.fate += reason.value


class Visitor:
    """A record, with a protocol that notes the outcome, and a gate to ask."""

    def __init__(self, gate: Gate, source: str | None = None) -> None:
        self.protocol = RecordedProtocol()
        self.connection = Connection(
            0, "", gate.counts.listeners[""], IPv4Address("TCP", "192.0.2.1", 1), source, 0.0, protocol=self.protocol
        )
        self._gate = gate

    def enter(self) -> Admission:
        """Ask for a place, and settle the connection; return the answer."""
        answer = self._gate.admit(self.connection)
        self.connection.settle(answer)
        return answer

    def leave(self) -> None:
        """End."""
        self._gate.release(self.connection)

    @property
    def fate(self) -> str:
        """What its protocol was told."""
        return self.protocol.fate


@implementer(IPeers)
class LatePeerLimit:
    """A limit to each peer that another process keeps, which answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Deferred[bool]]] = []
        self.left: list[str] = []

    def enter(self, peer: str) -> "Deferred[bool]":
        """Ask."""
        answer: Deferred[bool] = Deferred()
        self.asked.append((peer, answer))
        return answer

    def leave(self, peer: str) -> None:
        """Tell."""
        self.left.append(peer)

    def stop(self) -> None:
        """Do nothing."""
