"""Numbers of things, in words."""

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """Return `1 connection`, or `2 connections` for any other number; the plural of `noun` ends with an s."""
    return f"{number} {plural(number, noun)}"


def plural(number: int, noun: str) -> str:
    """Return `noun` for 1, and with an s for any other number."""
    return noun if number == 1 else f"{noun}s"


def listed(words: Sequence[str], most: int = 5) -> str:
    """Return `words` with commas; of more than `most`, the first of them and how many there are: `a, b, … (9)`."""
    return ", ".join(words[:most]) + (f", … ({len(words)})" if len(words) > most else "")
