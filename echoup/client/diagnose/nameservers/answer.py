"""What a nameserver says."""

from dataclasses import dataclass
from enum import Enum
from typing import Self


class Outcome(Enum):
    """What a nameserver says to a question; the values are the words that users read."""

    FOUND = "has addresses"
    NO_ADDRESS = "has no address of this kind"
    NO_NAME = "says that there is no such name (NXDOMAIN)"
    FAILED = "fails (SERVFAIL)"
    REFUSED = "refuses to answer (REFUSED)"
    OTHER = "gives an answer of no use"
    SILENT = "does not answer"
    CLOSED = "does not listen there"
    """An ICMP message said so: port unreachable."""
    UNREACHABLE = "can't be reached from this machine"


UNHEARD = (Outcome.SILENT, Outcome.CLOSED, Outcome.UNREACHABLE)
UNABLE = (Outcome.FAILED, Outcome.REFUSED, Outcome.OTHER)
"""After these the resolver asks the next nameserver."""


@dataclass(frozen=True)
class Answer:
    """What a nameserver says of one kind of address."""

    kind: str
    """`A` or `AAAA`."""
    outcome: Outcome
    seconds: float | None = None
    """How long it took from the sending that was answered; None without an answer."""
    addresses: frozenset[str] = frozenset()

    def mergedWith(self, later: Self) -> Self:
        """Return what the nameserver said in both of two rounds: an address that it gave once, it has."""
        best = self if self.outcome is Outcome.FOUND else later
        times = [each.seconds for each in (self, later) if each.seconds is not None]
        addresses = self.addresses | later.addresses
        return type(self)(self.kind, best.outcome, min(times, default=None), addresses)


@dataclass(frozen=True)
class Witness:
    """What one nameserver says of a name."""

    nameserver: str
    """Its address."""
    name: str
    """The name that it was asked for, in ASCII and with the domain of the search list, if any."""
    answers: tuple[Answer, ...]
    """Of each kind of address that is wanted."""

    @property
    def isHeard(self) -> bool:
        """Whether it said anything."""
        return any(answer.outcome not in UNHEARD for answer in self.answers)

    @property
    def outcomes(self) -> set[Outcome]:
        """What it said, of all kinds."""
        return {answer.outcome for answer in self.answers}

    @property
    def addresses(self) -> frozenset[str]:
        """The addresses that it has."""
        return frozenset().union(*(answer.addresses for answer in self.answers))

    @property
    def seconds(self) -> float | None:
        """How long its slowest answer took; None without an answer."""
        return max((answer.seconds for answer in self.answers if answer.seconds is not None), default=None)

    def mergedWith(self, later: Self) -> Self:
        """Return what it said in both of two rounds."""
        pairs = zip(self.answers, later.answers, strict=True)
        return type(self)(self.nameserver, self.name, tuple(first.mergedWith(second) for first, second in pairs))
