"""What a nameserver says."""

from dataclasses import dataclass
from enum import Enum
from typing import Self

from echoup.client.diagnose.amounts import time


class DNSResult(Enum):
    """What comes of a question to a nameserver, the best first; the values are the words that users read."""

    FOUND = "has addresses"
    CUT = "has more than fits into a datagram"
    """The answer has the flag TC (RFC 1035, 4.1.1): to ask over TCP is up to the resolver."""
    NO_ADDRESS = "has no address of this kind"
    NO_NAME = "says that there is no such name (NXDOMAIN)"
    FAILED = "fails (SERVFAIL)"
    REFUSED = "refuses to answer (REFUSED)"
    OTHER = "gives an answer of no use"
    SILENT = "does not answer"
    CLOSED = "does not listen there"
    """An ICMP message said so: port unreachable."""
    UNREACHABLE = "can't be reached from this machine"


HAVING = {DNSResult.FOUND, DNSResult.CUT}
UNHEARD = {DNSResult.SILENT, DNSResult.CLOSED, DNSResult.UNREACHABLE}
FAILURES = {DNSResult.FAILED, DNSResult.REFUSED, DNSResult.OTHER}
"""After these the resolver asks the next nameserver."""


@dataclass(frozen=True)
class Answer:
    """What a nameserver says of one kind of address."""

    kind: str
    """`A` or `AAAA`."""
    result: DNSResult
    seconds: float | None = None
    """How long it took; None without an answer."""
    addresses: frozenset[str] = frozenset()

    def mergedWith(self, later: Self) -> Self:
        """Return the best of what the nameserver said in two rounds: an address that it gave once, it has."""
        best = min(self, later, key=lambda answer: [*DNSResult].index(answer.result))
        times = [each.seconds for each in (self, later) if each.seconds is not None]
        return type(self)(self.kind, best.result, min(times, default=None), self.addresses | later.addresses)


@dataclass(frozen=True)
class NameserverAnswers:
    """What one nameserver says of a name."""

    nameserver: str
    """Its address."""
    name: str
    """The name that it was asked for, in ASCII and with the domain of the search list, if any."""
    answers: tuple[Answer, ...] = ()
    """Of each kind of address that is wanted; none if the name can't be asked for."""

    @property
    def results(self) -> set[DNSResult]:
        """What it said, of all kinds."""
        return {answer.result for answer in self.answers}

    @property
    def isHeard(self) -> bool:
        """Whether it said anything."""
        return bool(self.results - UNHEARD)

    @property
    def isUseless(self) -> bool:
        """Whether the resolver needs another nameserver."""
        return self.results <= UNHEARD | FAILURES

    @property
    def addresses(self) -> frozenset[str]:
        """The addresses that it has."""
        return frozenset().union(*(answer.addresses for answer in self.answers))

    @property
    def seconds(self) -> float | None:
        """How long its slowest answer took; None without an answer."""
        return max((answer.seconds for answer in self.answers if answer.seconds is not None), default=None)

    def describe(self) -> str:
        """Return what it said, in one line."""
        said = [f"{each.kind} {', '.join(sorted(each.addresses)) or each.result.value}" for each in self.answers]
        after = f", after {time(self.seconds)}" if self.seconds is not None else ""
        return f"nameserver {self.nameserver}, asked for {self.name}: {'; '.join(said)}{after}"

    def mergedWith(self, later: Self) -> Self:
        """Return what it said in both of two rounds."""
        pairs = zip(self.answers, later.answers, strict=True)
        return type(self)(self.nameserver, self.name, tuple(first.mergedWith(second) for first, second in pairs))
