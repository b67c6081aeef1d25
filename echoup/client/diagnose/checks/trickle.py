"""Pieces that are sent one after the other, and when they come back."""

from dataclasses import dataclass, field
from math import inf

HELD = 0.05
"""Seconds by which a piece is later than the fastest one, from which on it counts as held back."""

LEAST = 3
"""Pieces that are held back, from which on it isn't a pause of a busy machine."""


@dataclass
class Trickle:
    """The times of pieces, in seconds of one clock."""

    sent: list[tuple[int, float]] = field(default_factory=list)
    """For each piece, how many bytes were sent with it and before, and when."""
    came: list[tuple[int, float]] = field(default_factory=list)
    """For each arrival, how many bytes had come by then, and when."""

    def send(self, size: int, now: float) -> None:
        """Note that `size` bytes are sent."""
        self.sent.append((size + (self.sent[-1][0] if self.sent else 0), now))

    def arrive(self, size: int, now: float) -> None:
        """Note that `size` bytes came."""
        self.came.append((size + self.received, now))

    @property
    def received(self) -> int:
        """How many bytes came."""
        return self.came[-1][0] if self.came else 0

    @property
    def lags(self) -> list[float]:
        """For each piece, the seconds until all of it had come back; inf if it never did."""
        return [next((at for count, at in self.came if count >= end), inf) - sent for end, sent in self.sent]

    @property
    def held(self) -> list[float]:
        """For each piece, the seconds for which it was held back: beyond what the fastest one took."""
        lags = self.lags
        least = min(lags, default=inf)
        return [0.0 if lag == least < inf else lag - least if least < inf else inf for lag in lags]

    @property
    def isHeldBack(self) -> bool:
        """Whether so many pieces were held back that something waits for more before it passes them on."""
        return sum(seconds >= HELD for seconds in self.held) >= LEAST

    @property
    def clumps(self) -> int:
        """How many times something came after a wait: arrivals less than HELD apart are one."""
        times = [at for _, at in self.came]
        return sum(after - before >= HELD for before, after in zip([-inf, *times], times, strict=False))
