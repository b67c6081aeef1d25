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
from echoup.client.diagnose.firstreply import Silence
from echoup.client.diagnose.longchecks import flows, idle, load, many
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell

Make = Callable[[PathUnderTest, Tell], Coroutine[Any, Any, Finding]]
"""Makes a check and returns what it found; raises PathError where the path fails in a way that it doesn't look for."""


@dataclass(frozen=True)
class PathCheck:
    """One check."""

    name: str
    make: Make
    needs: tuple[str, ...] = ()
    """What the target must have: the keys of _HAS."""
    isBasis: bool = False
    """Whether the other checks need what it learns of the path, so that it is made even where it isn't asked for."""
    option: str = ""
    """The field of the scope that asks for it, where it is made only on demand; it is also the option's name."""
    spoiledBy: frozenset[Silence] = frozenset()
    """How connections may stay without a reply so that it would only fail, and not say why."""
    followsFrom: frozenset[str] = frozenset()
    """The causes after which it would only fail, too."""

    def whySkipped(self, path: PathUnderTest) -> str:
        """Return why it can't, or needn't, be made on `path`; empty if it is to be made."""
        if self.option and not getattr(path.scope, self.option):
            return "made only with the option of that name"
        return next((f"the target has no {need}" for need in self.needs if not _HAS[need](path)), "")


_HAS: dict[str, Callable[[PathUnderTest], bool]] = {
    "IP address": lambda path: bool(path.host),
    "stream": lambda path: not path.isDatagram,
    "TLS": lambda path: bool(getattr(path.target, "security", None)),
}

_ANY = frozenset(Silence)
_ENDED = _ANY - {Silence.LATE}
_BROKEN = frozenset({Silence.REFUSED, Silence.HANGING})

_BLACK_HOLE = frozenset({"mtu-black-hole", "mtu-black-hole-back"})

STAGES: tuple[tuple[PathCheck, ...], ...] = (
    (PathCheck("resolve", resolution.check, ("IP address",), isBasis=True),),
    (PathCheck("reach", reach.check, ("IP address", "stream"), isBasis=True),),
    # Where large packets vanish, what sends them isn't worth a few timeouts more.
    (
        PathCheck("mtu", packetsize.check, ("IP address",), spoiledBy=_ANY - {Silence.HANGING}),
        PathCheck("udp", udp.check, ("IP address",)),
    ),
    # What measures times runs before what loads the path.
    (
        PathCheck("tls", handshake.check, ("IP address", "stream", "TLS")),
        PathCheck("half-close", halfclose.check, ("stream",), spoiledBy=_ENDED, followsFrom=_BLACK_HOLE),
        PathCheck("proxy", distance.check, ("IP address", "stream"), spoiledBy=_ANY),
        PathCheck("buffering", buffering.check, ("stream",), spoiledBy=_ENDED),
    ),
    (PathCheck("exact", exact.check, ("stream",), spoiledBy=_BROKEN, followsFrom=_BLACK_HOLE),),
    (PathCheck("flows", flows.check, ("IP address",), option="flows", spoiledBy=_ANY),),
    (PathCheck("load", load.check, ("stream",), option="load", spoiledBy=_ANY, followsFrom=_BLACK_HOLE),),
    (PathCheck("many", many.check, ("stream",), option="many", spoiledBy=_ANY),),
    (PathCheck("idle", idle.check, ("IP address",), option="idle", spoiledBy=_ANY),),
)
"""The checks of a stage run at the same time, one stage after the other."""
