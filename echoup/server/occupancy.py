"""Whether all connections of --max-connections are taken: since when, and what the log says of it.

Samples are counted, not seconds, so a pause of the process doesn't count: after it there is one sample. Between two
samples all connections may have been taken, and some ended; that is counted by whatever gives the places.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from echoup.server.log.ratelimitedlog import RateLimitedLog
from echoup.server.overview import Check

INTERVAL = 0.5
"""Seconds between two samples."""

PATIENCE = 3.0
"""Seconds without a free place after which a service isn't ready."""


class Occupancy:
    """Samples whether any place is free; logs that none is, and that some are again, each at most once a minute."""

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, maximum: int, free: Callable[[], int], timesFull: Callable[[], int]
    ) -> None:
        """Of `maximum` places (0: no limit) `free` are free; the last one has been taken `timesFull` times."""
        self._maximum = maximum
        self._free = free
        self._timesFull = timesFull
        self._sampling = LoopingCall(self._sample)
        self._sampling.clock = clock
        self._full = RateLimitedLog(clock, self._logFull)
        self._room = RateLimitedLog(clock, self._logRoom)
        self._samples = 0  # in a row, without a free place
        self._counted = 0  # of the times that it was full
        self._rooms = 0  # of these times, those since which there was no room

    def start(self) -> None:
        """Sample from now on, if there is a limit."""
        if self._maximum:
            self._sampling.start(INTERVAL)

    def stop(self) -> None:
        """Sample no more, and log what is not yet logged."""
        if self._sampling.running:
            self._sample()
            self._sampling.stop()
            self._full.stop()
            self._room.stop()

    @property
    def isFull(self) -> bool:
        """Whether no place has been free for a while."""
        return self._seconds >= PATIENCE

    def check(self) -> Check:
        """Return whether it is full, as a condition for being ready."""
        return Check("full", f"{self._maximum} connections for {self._seconds:.0f} s" if self.isFull else "")

    @property
    def _seconds(self) -> float:
        """The time from the first to the last sample that found it full."""
        return (self._samples - 1) * INTERVAL

    def _sample(self) -> None:
        times = self._timesFull() - self._counted
        isFull = not self._free()
        self._samples = self._samples + 1 if isFull else 0
        self._counted += times
        self._rooms += times
        if times:
            self._full.count(times)
        if self._rooms and not isFull:
            self._room.count(self._rooms)
            self._rooms = 0

    def _logFull(self, times: int) -> None:
        # This may be said up to a minute later.
        taken = "were taken" if self._free() else "are taken; further clients wait in the kernel's queue"
        self._log.warn(
            f"full{_often(times)}: all {{limit}} connections of --max-connections {taken}",
            times=times,
            limit=self._maximum,
        )

    def _logRoom(self, times: int) -> None:
        self._log.info(
            f"room again{_often(times)}: {{connections}} of {{limit}} connections",
            times=times,
            connections=self._maximum - self._free(),
            limit=self._maximum,
        )


def _often(times: int) -> str:
    return "" if times == 1 else ", {times} times"
