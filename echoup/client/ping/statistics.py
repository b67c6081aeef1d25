"""What many probes found, in numbers."""

from array import array
from dataclasses import dataclass, replace
from math import fsum, sqrt

from echoup.client.exitcodes import PathError
from echoup.client.ping.result import Result


@dataclass(frozen=True)
class Outage:
    """Consecutive probes that failed, until one that was answered."""

    began: float
    """When the first of them began, in seconds of the reactor's clock, as `ended`."""
    ended: float
    """When the answered one ended; if there was none yet, the latest end of a failed one."""
    first: int
    """The seq of the first that failed."""
    last: int
    """The seq of the last that failed."""
    isOver: bool
    """Was one answered since?"""

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.ended - self.began


class Statistics:
    """The sum of all probes; of each only its time is kept, 8 bytes."""

    sent = 0
    """How many probes began."""
    answered = 0
    """How many were answered, rightly."""
    failed = 0
    """How many weren't."""
    wrong = 0
    """How many got something else."""
    failure: PathError | None = None
    """What went wrong: the first wrong reply, or else the first failure, in order of seq; None if all were answered."""

    waiting: Result | None = None
    """The first of those that were under way when the user had enough; None if there were none."""
    duplicates = 0
    """UDP: how many answers came again."""
    reordered = 0
    """UDP: how many answers came after that of a later probe."""
    late = 0
    """UDP: how many answers came when their probe was given up."""

    current: Outage | None = None
    """The outage that isn't over; None while probes are answered."""

    def __init__(self) -> None:
        self.times = array("d")
        """The seconds of the answered probes, in no particular order."""
        self._longest: Outage | None = None  # of those that are over
        self._failureRank = (True, 0)
        self._early: dict[int, Result] = {}
        self._next = 1

    def begin(self) -> None:
        """Note that a probe begins."""
        self.sent += 1

    def interrupt(self, result: Result) -> None:
        """Take in a probe that was under way when the user had enough."""
        if not self.waiting or result.seq < self.waiting.seq:
            self.waiting = result

    def add(self, result: Result) -> None:
        """Take in a probe that is over; they may come in any order of seq."""
        if result.isAnswered:
            self.answered += 1
            self.times.append(result.seconds)
        else:
            self.failed += 1
            self.wrong += result.isWrong
            rank = (not result.isWrong, result.seq)
            if self.failure is None or rank < self._failureRank:
                self.failure, self._failureRank = result.error, rank
        self._early[result.seq] = result
        while self._next in self._early:
            self._follow(self._early.pop(self._next))
            self._next += 1

    def finish(self) -> None:
        """Wait for no more results: those that would come between the ones that are here never will."""
        for seq in sorted(self._early):
            self._follow(self._early.pop(seq))

    @property
    def over(self) -> int:
        """How many were answered or failed."""
        return self.answered + self.failed

    @property
    def unfinished(self) -> int:
        """How many are under way; at the end, those that were when the user had enough."""
        return self.sent - self.over

    @property
    def lost(self) -> int:
        """How many got no answer, or not all of it."""
        return self.failed - self.wrong

    @property
    def loss(self) -> float:
        """The share of those that are over that were lost, 0 to 1."""
        return self.lost / self.over if self.over else 0.0

    @property
    def min(self) -> float | None:
        """The shortest time, in seconds; None if none was answered, as in `avg`, `max` and `stddev`."""
        return min(self.times, default=None)

    @property
    def avg(self) -> float | None:
        """The mean time."""
        return fsum(self.times) / len(self.times) if self.times else None

    @property
    def max(self) -> float | None:
        """The longest time."""
        return max(self.times, default=None)

    @property
    def stddev(self) -> float | None:
        """The standard deviation of all times (not of a sample)."""
        avg = self.avg
        return None if avg is None else sqrt(fsum((time - avg) ** 2 for time in self.times) / len(self.times))

    def percentile(self, p: float) -> float | None:
        """Return the shortest time that `p` percent (0 < p <= 100) of the probes didn't exceed: the nearest rank.

        None if none was answered. Of `p` four decimals count.
        """
        if not self.times:
            return None
        # Kept sorted, because the next percentile then costs one pass.
        self.times = array("d", sorted(self.times))
        # In integers: 99.9 / 100 * 1000 is more than 999.
        rank = -(-round(p * 10_000) * len(self.times) // 1_000_000)
        return self.times[rank - 1]

    @property
    def outage(self) -> Outage | None:
        """The longest outage, the first of several; None if none failed."""
        return max(filter(None, (self._longest, self.current)), key=lambda outage: outage.seconds, default=None)

    def _follow(self, result: Result) -> None:
        """Take in the result that is next in order of seq."""
        current, seq = self.current, result.seq
        if not result.isAnswered:
            if current:
                self.current = replace(current, ended=max(current.ended, result.ended), last=seq)
            else:
                self.current = Outage(result.began, result.ended, seq, seq, isOver=False)
        elif current:
            self.current = replace(current, ended=result.ended, isOver=True)
            self._longest = self.outage
            self.current = None
