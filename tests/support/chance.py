"""The random input of the tests: a failure names the seed, and TEST_SEED repeats it.

Each test draws from a generator of its own, so its input is the same alone and among all others.
"""

import os
import secrets
from random import Random

SEED = os.environ.setdefault("TEST_SEED", str(secrets.randbits(32)))
"""The seed of this run; the processes that hand tests out pass it on in the environment."""

_random = Random(SEED)  # noqa: S311  # for tests


def beginTest(name: str) -> None:
    """Draw from here on what the test called `name` draws."""
    _random.seed(f"{SEED} {name}")


def randomBytes(size: int) -> bytes:
    """Return `size` random bytes."""
    return _random.randbytes(size)
