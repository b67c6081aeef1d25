"""The checks of a diagnosis, and when each is made."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from echoup.client.diagnose.checks import (
    buffering,
    distance,
    exact,
    halfclose,
    handshake,
    packetsize,
    reach,
    resolution,
    udp,
)
from echoup.client.diagnose.finding import Finding
from echoup.client.diagnose.longchecks import flows, idle, load, many
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell

Make = Callable[[PathUnderTest, Tell], Coroutine[Any, Any, Finding]]
"""Makes a check and returns what it found; raises PathError where the path fails in a way that it doesn't look for."""


@dataclass(frozen=True)
class Check:
    """One check."""

    name: str
    make: Make
    needs: tuple[str, ...] = ()
    """What the target must have, in words: the keys of _HAS."""
    isBasis: bool = False
    """Whether the other checks need what it learns of the path, so that it is made even where it isn't asked for."""
    option: str = ""
    """The field of the scope that asks for it, where it is made only on demand; it is also the option's name."""

    def whySkipped(self, path: PathUnderTest) -> str:
        """Return why it can't, or needn't, be made on `path`; empty if it is to be made."""
        if self.option and not getattr(path.scope, self.option):
            return f"--{self.option} asks for it"
        missing = [need for need in self.needs if not _HAS[need](path)]
        return f"it needs {missing[0]}, and {path.target} has none" if missing else ""


_HAS: dict[str, Callable[[PathUnderTest], bool]] = {
    "a host": lambda path: bool(path.host),
    "a stream": lambda path: not path.isDatagram,
    "TCP": lambda path: bool(path.host) and not path.isDatagram,
    "TLS": lambda path: bool(getattr(path.target, "security", None)),
}

STAGES: tuple[tuple[Check, ...], ...] = (
    (Check("resolve", resolution.check, ("a host",), isBasis=True),),
    (Check("reach", reach.check, ("TCP",), isBasis=True),),
    # What measures times runs before what loads the path.
    (
        Check("tls", handshake.check, ("TLS",)),
        Check("half-close", halfclose.check, ("a stream",)),
        Check("proxy", distance.check, ("TCP",)),
        Check("buffering", buffering.check, ("a stream",)),
    ),
    (
        Check("exact", exact.check, ("a stream",)),
        Check("mtu", packetsize.check, ("a host",)),
        Check("udp", udp.check, ("a host",)),
    ),
    (Check("flows", flows.check, ("a host",), option="flows"),),
    (Check("load", load.check, ("a stream",), option="load"),),
    (Check("many", many.check, ("a stream",), option="many"),),
    (Check("idle", idle.check, ("a host",), option="idle"),),
)
"""The checks of a stage run at the same time, one stage after the other."""
