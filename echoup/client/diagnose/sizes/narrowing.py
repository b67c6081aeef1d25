"""Find the largest size that passes, with several sizes tried at the same time."""

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

Passes = Callable[[Sequence[int]], Awaitable[Mapping[int, bool]]]
"""Tries sizes, and says of each whether it passes."""

WIDTH = 8
"""Sizes that are tried at the same time: a round leaves a ninth of the sizes, where one at a time leaves a half."""

ROUNDS = 8
"""The most rounds: enough for 43 million sizes."""

_LETTERS = bytes(ord("a") + number % 26 for number in range(256))


@dataclass(frozen=True)
class Bounds:
    """What is known of the largest size that passes, in bytes."""

    passed: int
    """A size that passes."""
    stuck: int
    """A larger one that doesn't."""

    @property
    def isExact(self) -> bool:
        """Whether there is no size in between."""
        return self.stuck - self.passed == 1

    def between(self, count: int = WIDTH) -> list[int]:
        """Return up to `count` sizes in between, at equal distances."""
        parts = min(count + 1, self.stuck - self.passed)
        return [self.passed + (self.stuck - self.passed) * part // parts for part in range(1, parts)]

    def narrowed(self, passes: Mapping[int, bool]) -> "Bounds":
        """Return the bounds after sizes in between were tried; they aren't in order if there is no single limit."""
        passed = max((size for size, isPassed in passes.items() if isPassed), default=self.passed)
        stuck = min((size for size, isPassed in passes.items() if not isPassed), default=self.stuck)
        return Bounds(passed, stuck)


async def narrow(bounds: Bounds, tryAll: Passes) -> Bounds | None:
    """Return the bounds without a size in between; None if there is no single limit, or it isn't the same all the time.

    The size that doesn't pass is tried in each round, because the path may change: one that passes at last is no limit.
    Where a size passes and a smaller one doesn't, the smaller ones are tried once more, because they may have failed
    by chance.
    """
    for _ in range(ROUNDS):
        if bounds.isExact:
            break
        passes = dict(await tryAll([*bounds.between(), bounds.stuck]))
        if (found := bounds.narrowed(passes)).passed > found.stuck:
            passes |= await tryAll([size for size, isPassed in passes.items() if not isPassed and size < found.passed])
            found = bounds.narrowed(passes)
        if found.passed >= found.stuck:
            return None
        bounds = found
    return bounds


def letters(count: int) -> bytes:
    """Return `count` random lower-case letters, which nothing on the path can make smaller."""
    return os.urandom(count).translate(_LETTERS)
