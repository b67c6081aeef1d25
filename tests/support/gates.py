"""What tests ask of a gate, and a limit that another process keeps."""

from typing import Any

from twisted.internet.defer import Deferred

from echoup.server.admission.gate import Gate, LocalSlots, PeerLimit

REFUSED = "refused 1 connections over --max-connections-per-peer"
"""What is logged of one connection over the limit of its peer."""


def held(gate: Gate) -> tuple[int, dict[Any, Any]]:
    """Return how many places of a gate with limits are taken, and by how many connections of each peer."""
    assert isinstance(gate._slots, LocalSlots)
    peers = gate._peers._inside if isinstance(gate._peers, PeerLimit) else gate._counted
    return gate._limits.maxConnections - gate._slots.free, dict(peers)


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
