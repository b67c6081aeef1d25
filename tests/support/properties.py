"""Hypothesis, set up for these tests: what tests of properties import from here finds its settings loaded.

A slow or paused machine is no failure, so no limit of time applies to an example or to its making.
"""

from random import Random

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

__all__ = ["example", "given", "manyBytes", "settings", "st"]

settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def manyBytes(least: int, most: int) -> st.SearchStrategy[bytes]:
    """Return a strategy of `least` to `most` bytes, more than Hypothesis itself makes."""
    return st.builds(_bytes, st.integers(least, most), st.integers(0, 2**32))


def _bytes(size: int, seed: int) -> bytes:
    return Random(seed).randbytes(size)  # noqa: S311  # to be repeatable
