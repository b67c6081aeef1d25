"""What a process counts about connections, in cells of 64 bits.

A worker's cells are memory that it shares with the supervisor. So the supervisor can read them at any time, also when
the worker is stopped, and what a killed worker has counted still counts.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from enum import auto

from echoup.server.reasons import Counted, EndReason, ProxyResult, Refusal, TLSResult

DURATIONS = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0)
"""The upper bounds of the histogram of connection durations, in seconds; a last bucket has no bound."""

SIZES = (1, 64, 1 << 10, 1 << 14, 1 << 16, 1 << 20, 1 << 26, 1 << 30)
"""The upper bounds of the histogram of the bytes received on a connection; a last bucket has no bound."""


class Total(Counted):
    """Totals of a listener, which only ever grow."""

    OPENED = auto()  # accepted connections, also those that are refused after that
    SERVED = auto()  # ended connections whose stream had begun
    RECEIVED = auto()  # bytes of the streams, of open connections as of the last check
    SENT = auto()  # those of them that the kernel has taken, in upper case


# The reverse of the order in which a connection counts them. `total` reads them in this order, and meanwhile workers
# count; so it never finds more ends than connections.
_COUNTED: list[Counted] = [*Refusal, *TLSResult, *ProxyResult, *EndReason, *reversed(Total)]
_PLACES = {counted: place for place, counted in enumerate(_COUNTED)}
_SERVED, _RECEIVED, _SENT = (_PLACES[total] for total in (Total.SERVED, Total.RECEIVED, Total.SENT))

_WAITING, _PAUSED, _FULL, _MICROSECONDS, _BYTES = range(5)
_DURATIONS = 5
_SIZES = _DURATIONS + len(DURATIONS) + 1
_PROCESS = _SIZES + len(SIZES) + 1


class ListenerCounts:
    """What is counted of the connections of one listener."""

    __slots__ = ("_cells",)

    def __init__(self, cells: memoryview) -> None:
        self._cells = cells

    def add(self, counted: Counted, number: int = 1) -> None:
        """Count `number` more."""
        self._cells[_PLACES[counted]] += number

    def addEnd(self, reason: EndReason, isServed: bool, received: int, sent: int) -> None:
        """Count a connection that has ended, and those of its bytes that aren't counted yet, in one call."""
        cells = self._cells
        cells[_PLACES[reason]] += 1
        cells[_SERVED] += isServed
        cells[_RECEIVED] += received
        cells[_SENT] += sent

    def __getitem__(self, counted: Counted) -> int:
        return self._cells[_PLACES[counted]]

    @property
    def open(self) -> int:
        """The number of connections that are open."""
        return self[Total.OPENED] - sum(self[reason] for reason in EndReason)


class Counts:
    """What one process counts, or the sum of several."""

    def __init__(self, listeners: Iterable[str], cells: memoryview | None = None) -> None:
        """The `listeners` are told apart by their descriptions; `cells` are `Counts.width` integers of 64 bits."""
        names = tuple(dict.fromkeys(listeners))
        self.cells = memoryview(bytearray(8 * self.width(names))).cast("q") if cells is None else cells
        """All of them, in the same order for the same listeners."""
        starts = range(_PROCESS, len(self.cells), len(_COUNTED))
        self.listeners = {
            name: ListenerCounts(self.cells[start : start + len(_COUNTED)])
            for name, start in zip(names, starts, strict=True)
        }

    @staticmethod
    def width(listeners: Iterable[str]) -> int:
        """Return the number of cells for `listeners`."""
        return _PROCESS + len(_COUNTED) * len(set(listeners))

    @classmethod
    def total(cls, each: "Sequence[Counts]") -> "Counts":
        """Return the sum of `each`, at least one, which have the same listeners."""
        result = cls(each[0].listeners)
        for place, values in enumerate(zip(*(one.cells for one in each), strict=True)):
            result.cells[place] = sum(values)
        return result

    def __getitem__(self, counted: Counted) -> int:
        """Return the sum over all listeners."""
        return sum(listener[counted] for listener in self.listeners.values())

    def observe(self, seconds: float, received: int) -> None:
        """Count the duration of a connection that has ended, and the bytes received on it, in the histograms."""
        cells = self.cells
        cells[_DURATIONS + bisect_left(DURATIONS, seconds)] += 1
        cells[_SIZES + bisect_left(SIZES, received)] += 1
        cells[_MICROSECONDS] += round(seconds * 1e6)
        cells[_BYTES] += received

    @property
    def durations(self) -> tuple[list[int], float]:
        """The buckets of the durations, each without those below it, and the sum in seconds."""
        return self.cells[_DURATIONS:_SIZES].tolist(), self.cells[_MICROSECONDS] / 1e6

    @property
    def sizes(self) -> tuple[list[int], int]:
        """The buckets of the bytes received, each without those below it, and the sum."""
        return self.cells[_SIZES:_PROCESS].tolist(), self.cells[_BYTES]

    @property
    def waiting(self) -> int:
        """The number of connections that wait for a place, as of the last check."""
        return self.cells[_WAITING]

    @property
    def paused(self) -> int:
        """The number of connections that are not read because bytes wait for the peer, as of the last check."""
        return self.cells[_PAUSED]

    def setOpen(self, waiting: int, paused: int) -> None:
        """Set both, after a check of all connections."""
        self.cells[_WAITING], self.cells[_PAUSED] = waiting, paused

    @property
    def timesFull(self) -> int:
        """How often this process has taken the last place."""
        return self.cells[_FULL]

    def addFull(self) -> None:
        """Count that this process has taken the last place."""
        self.cells[_FULL] += 1
