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
    """What the target must be: `host`, `stream`, `TCP`, `TLS`."""
    option: str = ""
    """The field of the scope that asks for it, where it is made only on demand; it is also the option's name."""

    def whySkipped(self, path: PathUnderTest) -> str:
        """Return why it can't, or needn't, be made on `path`; empty if it is to be made."""
        if why := path.scope.why(self.name):
            return why
        if self.option and not getattr(path.scope, self.option):
            return f"--{self.option} asks for it"
        missing = [need for need in self.needs if not _HAS[need](path)]
        return f"the target has no {missing[0]}" if missing else ""


_HAS: dict[str, Callable[[PathUnderTest], bool]] = {
    "host": lambda path: bool(path.host),
    "stream": lambda path: not path.isDatagram,
    "TCP": lambda path: bool(path.host) and not path.isDatagram,
    "TLS": lambda path: bool(getattr(path.target, "security", None)),
}

STAGES: tuple[tuple[Check, ...], ...] = (
    (Check("resolve", resolution.check, ("host",)),),
    (Check("reach", reach.check, ("TCP",)),),
    # What measures times runs before what loads the path.
    (
        Check("tls", handshake.check, ("TLS",)),
        Check("half-close", halfclose.check, ("stream",)),
        Check("proxy", distance.check, ("TCP",)),
        Check("buffering", buffering.check, ("stream",)),
    ),
    (
        Check("exact", exact.check, ("stream",)),
        Check("mtu", packetsize.check, ("host",)),
        Check("udp", udp.check, ("host",)),
    ),
    (Check("flows", flows.check, ("host",), "flows"),),
    (Check("load", load.check, ("stream",), "load"),),
    (Check("many", many.check, ("stream",), "many"),),
    (Check("idle", idle.check, ("host",), "idle"),),
)
"""The checks of a stage run at the same time, one stage after the other."""

NAMES = tuple(check.name for stage in STAGES for check in stage)
