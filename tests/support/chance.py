"""The random input of the tests: a failure names the seed, and TEST_SEED repeats it.

Each test seeds the generator with its own name, so its input is the same whichever other tests run.
"""

import os
import secrets
from random import Random

SEED = os.environ.setdefault("TEST_SEED", str(secrets.randbits(32)))
"""The seed of this run; xdist's workers inherit it in the environment."""

_random = Random(SEED)  # noqa: S311  # for tests


def examples(count: int) -> int:
    """Return `count`, or a tenth of it with TEST_EXAMPLES=few: one run searches, and the others repeat it elsewhere."""
    return count // 10 if os.environ.get("TEST_EXAMPLES") == "few" else count


def beginTest(name: str) -> None:
    """Seed the generator for the test called `name`."""
    _random.seed(f"{SEED} {name}")


def randomBytes(size: int) -> bytes:
    """Return `size` random bytes."""
    return _random.randbytes(size)
