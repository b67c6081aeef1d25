"""Numbers of things, in words."""


def counted(number: int, noun: str) -> str:
    """Return `1 connection`, or `2 connections` for any other number; the plural of `noun` ends with an s."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
