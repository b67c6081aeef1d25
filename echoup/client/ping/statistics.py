"""The outcome of many probes, in numbers."""

from array import array
from dataclasses import dataclass, replace
from math import fsum, inf, sqrt

from echoup.client.connect.trace import Step, Trace
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.ping.result import Result

CERTIFICATES = 256
"""The most certificates that are remembered, so that no server can fill the memory."""


@dataclass(frozen=True)
class Outage:
    """Consecutive probes that failed, until one that was answered; those that weren't sent don't count."""

    began: float
    """When the first of them began, in seconds of the clock of the run, as `ended`."""
    ended: float
    """When the answered one ended; if there was none yet, the latest end of a failed one."""
    first: int
    """The seq of the first that failed."""
    last: int
    """The seq of the last that failed."""
    isOver: bool
    """Whether a probe was answered since."""

    @property
    def seconds(self) -> float:
        """How long it lasted; one that isn't over has no known length, and lasted at least this long."""
        return self.ended - self.began


class Statistics:
    """The sum of all probes. Of each only its time is kept, 8 bytes."""

    sent = 0
    """How many probes began, without those that couldn't be sent."""
    unsent = 0
    """How many this machine couldn't send; nothing else counts them."""
    answered = 0
    """How many were answered, in upper case."""
    untimed = 0
    """How many of these have no time, because this process was paused meanwhile."""
    failed = 0
    """How many weren't answered, or got another reply."""
    wrong = 0
    """How many got another reply."""
    failure: PathError | None = None
    """The first wrong reply, or else the first failure, in order of seq; None if all were answered."""
    trouble: PathError | None = None
    """Why the first probe that couldn't be sent, in order of seq, wasn't; None if all were sent."""
    waiting: Result | None = None
    """The first of the probes that were interrupted, in order of seq; None if none was."""
    duplicates = 0
    """UDP: how many answers came twice."""
    reordered = 0
    """UDP: how many answers came after that of a later probe."""
    late = 0
    """UDP: how many answers came after their probe was given up."""
    current: Outage | None = None
    """The outage that isn't over; None while probes are answered."""
    longest: Outage | None = None
    """The longest of those that are over, the first of several; None if there is none."""

    def __init__(self) -> None:
        self.slowest: dict[Step, float] = {}
        """The most seconds of each step of the answered probes that have a time."""
        self.certificates: dict[bytes, float] = {}
        """The different certificates that were shown last, in DER, and when each was last, in seconds since the epoch.

        They are those of all probes, answered or not."""
        self.times = array("d")
        """The seconds of the answered probes that have a time, in any order."""
        self._failureRank: tuple[bool, float] = (True, inf)
        self._troubleRank = inf
        self._early: dict[int, Result] = {}
        self._next = 1

    def interrupt(self, result: Result) -> None:
        """Count a probe that was interrupted."""
        if not self.waiting or result.seq < self.waiting.seq:
            self.waiting = result

    def add(self, result: Result) -> None:
        """Count a probe that is over; they may come in any order of seq."""
        if certificate := result.trace.certificate:
            self.certificates.pop(certificate, None)
            self.certificates[certificate] = result.at
            if len(self.certificates) > CERTIFICATES:
                del self.certificates[next(iter(self.certificates))]
        if result.isAnswered:
            self.answered += 1
            if result.seconds is None:
                self.untimed += 1
            else:
                self.times.append(result.seconds)
                self._compareSteps(result.trace)
        elif result.isUnsent:
            self.sent -= 1
            self.unsent += 1
            if result.seq < self._troubleRank:
                self.trouble, self._troubleRank = result.error, result.seq
        else:
            self.failed += 1
            self.wrong += result.isWrong
            rank = (not result.isWrong, result.seq)
            if rank < self._failureRank:
                self.failure, self._failureRank = result.error, rank
        self._early[result.seq] = result
        while self._next in self._early:
            self._follow(self._early.pop(self._next))
            self._next += 1

    def finish(self) -> None:
        """Add the results that waited for an earlier one to the outages, because no more will come."""
        for seq in sorted(self._early):
            self._follow(self._early.pop(seq))

    @property
    def over(self) -> int:
        """How many were answered or failed."""
        return self.answered + self.failed

    @property
    def unfinished(self) -> int:
        """How many are under way, or were interrupted."""
        return self.sent - self.over

    @property
    def lost(self) -> int:
        """How many got no answer, or only part of it."""
        return self.failed - self.wrong

    @property
    def loss(self) -> float:
        """The share of the probes that were lost, of those that are over, 0 to 1."""
        return self.lost / self.over if self.over else 0.0

    @property
    def min(self) -> float | None:
        """The shortest time, in seconds; None if there is none, as in `avg`, `max` and `stddev`."""
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
        """Return the least time, in seconds, that `p` percent (4 decimals) of the times don't exceed."""
        if not self.times:
            return None
        # The times stay sorted, so that sorting them for the next percentile costs one pass.
        self.times = array("d", sorted(self.times))
        # In integers: 99.9 / 100 * 1000 is more than 999.
        rank = -(-round(p * 10_000) * len(self.times) // 1_000_000)
        return self.times[rank - 1]

    @property
    def outage(self) -> Outage | None:
        """The longest outage, over or not, the first of several; None if none failed."""
        return max(filter(None, (self.longest, self.current)), key=lambda outage: outage.seconds, default=None)

    def _compareSteps(self, trace: Trace) -> None:
        for phase in trace.phases:
            if phase.seconds is not None and not phase.error:  # an attempt at another address isn't the connection
                self.slowest[phase.step] = max(phase.seconds, self.slowest.get(phase.step, 0))

    def _follow(self, result: Result) -> None:
        """Begin, extend or end the outage with the result that is next in order of seq."""
        current, seq = self.current, result.seq
        if result.isUnsent:
            return
        if not result.isAnswered:
            if current:
                self.current = replace(current, ended=max(current.ended, result.ended), last=seq)
            else:
                self.current = Outage(result.began, result.ended, seq, seq, isOver=False)
        elif current:
            self.current = replace(current, ended=result.ended, isOver=True)
            self.longest = self.outage
            self.current = None


@dataclass(frozen=True)
class Outcome:
    """How the probes of one target ended."""

    target: str
    """The target, as messages name it."""
    statistics: Statistics
    code: ExitCode
    """The exit code that it would have alone."""
    reason: str = ""
    """Why; empty for OK."""
