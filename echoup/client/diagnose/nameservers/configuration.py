"""What the C library's resolver is told to do: resolv.conf(5) and hosts(5)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from twisted.python.filepath import FilePath

MOST = 3
"""The most nameservers that glibc asks (MAXNS in resolv.h)."""

MOST_DOMAINS = 6
"""The most domains that are tried: MAXDNSRCH in resolv.h. Newer versions of glibc try any number."""


@dataclass(frozen=True)
class ResolverConfiguration:
    """The contents of resolv.conf."""

    nameservers: tuple[str, ...] = ("127.0.0.1",)
    """Their addresses, in the order in which they are asked."""
    search: tuple[str, ...] = ()
    """The domains in which a name is looked up, too."""
    dots: int = 1
    """A name with as many dots is looked up as it is before it is in `search`."""
    timeout: int = 5
    """Seconds after which the next nameserver is asked."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `text` says, as resolv.conf(5) has it; a line that doesn't follow that counts for nothing."""
        nameservers = re.findall(r"^[ \t]*nameserver[ \t]+(\S+)", text, re.MULTILINE)
        searches = re.findall(r"^[ \t]*(?:search|domain)[ \t](.*)", text, re.MULTILINE)
        options = " ".join(re.findall(r"^[ \t]*options[ \t](.*)", text, re.MULTILINE))

        def number(name: str, default: int) -> int:
            given = re.search(rf"(?<!\S){name}:(\d{{1,5}})(?!\S)", options, re.ASCII)
            return int(given[1]) if given else default

        return cls(
            tuple(nameservers[:MOST]) or cls.nameservers,
            tuple([domain.rstrip(".") for domain in "".join(searches[-1:]).split() if domain != "."][:MOST_DOMAINS]),
            min(number("ndots", 1), 15),
            max(min(number("timeout", 5), 30), 1),
        )

    @classmethod
    def read(cls, path: Path = Path("/etc/resolv.conf")) -> Self:
        """Return what the resolver's file says; without one the defaults hold."""
        try:
            return cls.parse(path.read_text(errors="replace"))
        except OSError:
            return cls()

    def candidates(self, name: str) -> Iterator[str]:
        """Yield the names that `name` may stand for, in the order in which they are looked up.

        Those that there can't be are left out (RFC 1035, 2.3.4), whatever the search list has.
        """
        itself = name.removesuffix(".")
        longer = [f"{name}.{domain}" for domain in self.search] if itself == name else []
        names = [itself, *longer] if name.count(".") >= self.dots else [*longer, itself]
        for each in names:
            if each.isascii() and len(each) <= 253 and all(0 < len(label) < 64 for label in each.split(".")):
                yield each


def isInHosts(name: str, path: str = "/etc/hosts") -> bool:
    """Return whether hosts(5) has `name`, so that no nameserver is asked for it."""
    from twisted.names.hosts import searchFileForAll  # Twisted's DNS costs a tenth of a second to load

    return bool(searchFileForAll(FilePath(path), name.rstrip(".").encode()))
