"""Numbers of things, in words."""


def counted(number: int, noun: str) -> str:
    """Return `1 connection`, or `2 connections` for any other number; the plural of `noun` ends with an s."""
    return f"{number} {plural(number, noun)}"


def plural(number: int, noun: str) -> str:
    """Return `noun` for 1, and with an s for any other number."""
    return noun if number == 1 else f"{noun}s"
