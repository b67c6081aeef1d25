"""Durations as people write them: `5`, `0.5`, `500ms`, `250us`, `5s`, `2m`."""

import re

UNITS = {"us": "e-6", "µs": "e-6", "μs": "e-6", "ms": "e-3", "s": "", "m": ""}  # there are two letters µ
"""The units of time, as exponents in text, because 0.7 / 1000 isn't 0.0007; a minute is 60 s, and has none."""

MAXIMUM = 999_999_999
"""Seconds, about 31 years; a longer duration is a mistake."""

_DURATION = re.compile(rf"([0-9]{{1,9}}(?:\.[0-9]*)?|\.[0-9]+)({'|'.join(UNITS)})?")


def parseDuration(text: str) -> float:
    """Return the seconds of a duration: a number of seconds, or a number with one of the UNITS.

    Raise ValueError, with one line that says what is allowed, for anything else.
    """
    if not (found := _DURATION.fullmatch(text)):
        raise ValueError(f"{text!r} is not a duration such as 5, 0.5, 500ms, 5s or 2m")
    number, unit = found.groups(default="s")
    seconds = float(number + UNITS[unit]) * (60 if unit == "m" else 1)
    if seconds > MAXIMUM:
        raise ValueError(f"{text!r} is more than {MAXIMUM} seconds")
    return seconds


def parsePositiveDuration(text: str) -> float:
    """Return the seconds of a duration, as `parseDuration` does; raise ValueError for 0 as well."""
    if not (seconds := parseDuration(text)):
        raise ValueError(f"{text!r} is not a duration of more than 0")
    return seconds
