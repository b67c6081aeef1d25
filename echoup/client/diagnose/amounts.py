"""Times and amounts of bytes, for people."""


def time(seconds: float) -> str:
    """Return `seconds` with two significant digits, in ms or s: `0.31 ms`, `20 ms`, `1.2 s`."""
    number, unit = (seconds, "s") if seconds >= 0.9995 else (seconds * 1000, "ms")
    return f"{_rounded(number)} {unit}"


def size(count: float) -> str:
    """Return `count` bytes with two significant digits: `37 B`, `4 KiB`, `1.5 MiB`."""
    units = ["B", "KiB", "MiB", "GiB"]
    while count >= 1000 and len(units) > 1:
        count /= 1024
        units.pop(0)
    return f"{_rounded(count)} {units[0]}"


def percent(part: float, digits: int = 0) -> str:
    """Return the `part` of 1 as a percentage: `10 %`, with one digit after the point `10.2 %`."""
    return f"{part * 100:.{digits}f} %"


def _rounded(number: float) -> str:
    return f"{number:.0f}" if number >= 9.95 else f"{number:.2g}"
