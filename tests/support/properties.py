"""Hypothesis with the settings of these tests, which are loaded when this is imported.

A slow or paused machine is not a failure, so neither an example nor its generation has a time limit.
"""

from random import Random

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

__all__ = ["damaged", "example", "given", "manyBytes", "settings", "st"]

settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def manyBytes(least: int, most: int) -> st.SearchStrategy[bytes]:
    """Return a strategy of `least` to `most` bytes, which may be longer than those of Hypothesis."""
    return st.builds(_bytes, st.integers(least, most), st.integers(0, 2**32))


def _bytes(size: int, seed: int) -> bytes:
    return Random(seed).randbytes(size)  # noqa: S311  # the seed repeats it


def damaged(data: st.DataObject, whole: bytes) -> bytes:
    """Return `whole`, which isn't empty, with up to three bytes replaced."""
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    return bytes(changed)
