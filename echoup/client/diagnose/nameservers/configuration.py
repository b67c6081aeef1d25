"""What the C library's resolver is told to do: resolv.conf(5) and hosts(5)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

MOST = 3
"""The most nameservers that glibc asks (MAXNS in resolv.h)."""


@dataclass(frozen=True)
class ResolverConfiguration:
    """The contents of resolv.conf."""

    nameservers: tuple[str, ...]
    """Their addresses, in the order in which they are asked."""
    search: tuple[str, ...] = ()
    """The domains in which a name is looked up, too."""
    dots: int = 1
    """A name with as many dots is looked up as it is before it is in `search`."""
    timeout: float = 5
    """Seconds after which the next nameserver is asked."""
    rotates: bool = False
    """Whether each nameserver is asked first in turn."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `text` says, as resolv.conf(5) has it; a line that doesn't follow that counts for nothing."""
        nameservers: list[str] = []
        search: list[str] = []
        options: dict[str, str] = {}
        for line in text.splitlines():
            keyword, *values = line.split() or [""]
            if keyword == "nameserver" and values:
                nameservers.append(values[0])
            elif keyword in ("search", "domain"):
                search = [value.rstrip(".") for value in values if value.rstrip(".")]
            elif keyword == "options":
                options |= {name: value for name, _, value in (option.partition(":") for option in values)}
        return cls(
            tuple(nameservers[:MOST]) or ("127.0.0.1",),
            tuple(search),
            _number(options.get("ndots"), 1, 15),
            max(_number(options.get("timeout"), 5, 30), 1),
            "rotate" in options,
        )

    def candidates(self, name: str) -> Iterator[str]:
        """Yield the names that `name` may stand for, in the order in which they are looked up."""
        if name.endswith("."):
            yield name.rstrip(".")
            return
        isFirst = name.count(".") >= self.dots
        if isFirst:
            yield name
        yield from (f"{name}.{domain}" for domain in self.search)
        if not isFirst:
            yield name


def _number(text: str | None, default: int, most: int) -> int:
    return min(int(text), most) if text and text.isdecimal() else default


def readConfiguration(path: Path = Path("/etc/resolv.conf")) -> ResolverConfiguration:
    """Return what the resolver's file says; without one the defaults hold."""
    try:
        return ResolverConfiguration.parse(path.read_text(errors="replace"))
    except OSError:
        return ResolverConfiguration.parse("")


def isInHosts(name: str, path: Path = Path("/etc/hosts")) -> bool:
    """Return whether hosts(5) has `name`, so that no nameserver is asked for it."""
    wanted = name.rstrip(".").lower()
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any(wanted in line.partition("#")[0].lower().split()[1:] for line in lines)
