"""Which of the datagrams that were sent an answer belongs to, and whether it is right."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from random import Random
from string import ascii_lowercase

from echoup.client.diagnose.datagramsocket import ArrivedDatagram
from echoup.upper import upper

LEAST_TAGGED = 16
"""Bytes of the smallest datagram that begins with its number."""

EXPLAINED = 100
"""Wrong answers that are explained, each of which is compared with all datagrams."""


def differsAt(one: bytes, other: bytes) -> int:
    """Return the offset of the first byte in which two texts of the same length differ; their length if none does."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), len(one))


class Fault(Enum):
    """What is wrong with an answer."""

    UNCHANGED = "it is the datagram itself, unchanged"
    CUT = "it is cut"
    ALTERED = "bytes are altered"
    FOREIGN = "it belongs to no datagram that was sent"


@dataclass(frozen=True)
class WrongAnswer:
    """An answer that isn't the datagram in upper case."""

    fault: Fault
    sent: int = 0
    """The size of the datagram, in bytes."""
    at: int = 0
    """The offset from which on it is wrong."""


class DatagramAnswers:
    """The datagrams that one socket has sent, each with a number, and the answers to them.

    No two are the same, and each has a lowercase letter: a service that breaks loops takes one without it, or the same
    one again, for its own answer.
    """

    def __init__(self) -> None:
        self.arrived: dict[int, list[ArrivedDatagram]] = {}
        """The right answers to each datagram, by its number; more than one if it was duplicated."""
        self.order: list[int] = []
        """The numbers of the right answers in the order in which they came."""
        self.wrong: list[WrongAnswer] = []
        self._sent: list[bytes] = []
        self._numbers: dict[bytes, int] = {}  # by the right answers
        self._random = Random()  # noqa: S311  # nothing secret

    def __len__(self) -> int:
        """Return how many datagrams there are."""
        return len(self._sent)

    def next(self, size: int) -> bytes:
        """Return a new datagram of `size` bytes, at least 1; its number is that of those before it."""
        while True:
            if size < LEAST_TAGGED:
                data = bytes(self._random.choices(ascii_lowercase.encode(), k=size))
            else:
                data = b"diagnose %06d " % len(self._sent) + self._random.randbytes(size - LEAST_TAGGED)
            if upper(data) not in self._numbers or size == 1:
                break
        self._numbers[upper(data)] = len(self._sent)
        self._sent.append(data)
        return data

    def judge(self, arrival: ArrivedDatagram) -> None:
        """Note which datagram `arrival` answers, or what is wrong with it; of a flood of wrong ones the first."""
        number = self._numbers.get(arrival.data)
        if number is None and len(self.wrong) < EXPLAINED:
            self.wrong.append(self._explain(arrival.data))
        elif number is not None:
            self.arrived.setdefault(number, []).append(arrival)
            self.order.append(number)

    def lost(self, numbers: Collection[int]) -> int:
        """Return how many of the datagrams with these `numbers` have no right answer."""
        return sum(number not in self.arrived for number in numbers)

    def _explain(self, data: bytes) -> WrongAnswer:
        """Return what is wrong with the answer `data`."""
        if data in self._sent:
            return WrongAnswer(Fault.UNCHANGED, len(data))
        for sent in self._sent:
            if len(data) < len(sent) and upper(sent).startswith(data):
                return WrongAnswer(Fault.CUT, len(sent), len(data))
        same = [upper(sent) for sent in self._sent if len(sent) == len(data)]
        if not same:
            return WrongAnswer(Fault.FOREIGN)
        # The one that it belongs to is the one that it has most in common with, as its number is at the start.
        return WrongAnswer(Fault.ALTERED, len(data), max(differsAt(answer, data) for answer in same))
