"""The targets, and the values that they judge: medians over the rounds, or over the ratios of the rounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.measure import Record


@dataclass(frozen=True)
class Target:
    """A target for a field of a peer's `Figures`, or for its ratio to the same field of the peer `against`.

    The value must be at most `limit`, or with `least` more than `limit`. Without a limit it is only shown.
    """

    scenario: str
    peer: str
    field: str
    against: str = ""
    limit: float | None = None
    least: bool = False

    def judge(self, value: float | None) -> str:
        """Return a word that says whether a value meets the target."""
        if value is None:
            return "not measured"
        if self.limit is None:
            return "shown only"
        return "reached" if (value > self.limit if self.least else value <= self.limit) else "missed"


TARGETS = [
    Target("64b-100", "echoup-uvloop", "cpu", "asyncio-protocol-uvloop", 1.05),
    Target("64b-100", "echoup-uvloop", "cpu", "go", 1.0),
    Target("64b-100", "echoup-uvloop", "cpu", "twisted", 0.45),
    Target("64b-100", "echoup-uvloop", "cpu", "c", 1.5),
    Target("64k-8", "echoup-uvloop", "cpu", "asyncio-protocol-uvloop", 0.5),
    Target("64k-8", "echoup-uvloop", "cpu", "c", 1.45),
    Target("stream", "echoup-uvloop", "cpu", "c", 1.3),
    Target("connect", "echoup-uvloop", "cpu", "twisted", 1.0),
    Target("connect", "echoup-uvloop", "cpu", "asyncio-protocol-uvloop", 1.25),
    Target("idle", "echoup-uvloop", "memory", limit=2.0),
    Target("tls-64b-100", "echoup-uvloop", "cpu", "asyncio-protocol-uvloop", 0.4),
    Target("tls-64b-100", "echoup-uvloop", "cpu", "go", 2.5),
    Target("tls-64k-8", "echoup-uvloop", "cpu", "go", 0.85),
    Target("tls-connect", "echoup-uvloop", "cpu", "asyncio-protocol-uvloop", 1.1),
    Target("tls-resume", "echoup-uvloop", "cpu", "asyncio-protocol-uvloop"),
    Target("udp-64b", "echoup-uvloop", "cpu", "twisted-datagram", 1.1),
    Target("udp-64b", "echoup", "cpu", "twisted-datagram", 1.1),
    Target("64b-100", "echoup", "cpu", "twisted", 1.0),
    Target("64k-8", "echoup", "cpu", "twisted", 0.6),
    Target("64b-100", "echoup-2", "cpu", "echoup-1", 1.05),
    Target("64b-100", "echoup-2", "rate", "echoup-1", 1.0, least=True),
    Target("64b-100", "echoup-2", "share", limit=0.6),
    Target("64k-8", "echoup-2", "rate", "echoup-1"),
    Target("64k-8", "echoup-2", "share"),
    Target("connect", "echoup-2", "rate", "echoup-1"),
]


def valuesOf(records: Sequence[Record], scenario: str, peer: str, field: str) -> dict[int, float]:
    """Return a figure from each round in which it was measured, by the round's number."""
    return {
        record.round: value
        for record in records
        if (record.scenario, record.peer) == (scenario, peer)
        and record.figures is not None
        and (value := getattr(record.figures, field)) is not None
    }


def medianOf(records: Sequence[Record], scenario: str, peer: str, field: str) -> float | None:
    """Return the median over the rounds, or None without any."""
    values = valuesOf(records, scenario, peer, field)
    return median(values.values()) if values else None


def ratioOf(records: Sequence[Record], scenario: str, peer: str, field: str, against: str) -> float | None:
    """Return the median of the ratios in each round, because a disturbance slows down both peers."""
    others = valuesOf(records, scenario, against, field)
    values = valuesOf(records, scenario, peer, field)
    ratios = [value / others[number] for number, value in values.items() if others.get(number)]
    return median(ratios) if ratios else None


def measured(records: Sequence[Record], target: Target) -> float | None:
    """Return the value that a target judges, or None if it wasn't measured."""
    if target.against:
        return ratioOf(records, target.scenario, target.peer, target.field, target.against)
    return medianOf(records, target.scenario, target.peer, target.field)
