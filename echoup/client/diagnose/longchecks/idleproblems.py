"""What the check `idle` says about a cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Self

from echoup.client.diagnose.finding import Problem, Status
from echoup.client.diagnose.longchecks.bisection import Fate, Trial, bracket, deaths, longestLife, outlived
from echoup.plurals import counted

SPREAD = 0.1
"""Seconds: a FIN or RST that came while idle isn't timed more precisely than that."""

DAEMONS = (595.0, 610.0)
"""Seconds: a FIN in this range is what a daemon with the default --idle-timeout of 600 s sends."""


@dataclass(frozen=True)
class Cut:
    """The cut of idle connections or UDP sockets, or that there is none; times are in seconds."""

    protocol: str
    """`TCP` or `UDP`."""
    lived: float
    """The longest time that one lived."""
    fate: Fate
    """How they are cut; ALIVE if they aren't."""
    after: float = 0
    within: float = 0
    """The cut is after `after`, more or less `within`."""
    keepalive: int = 0
    """The interval of the TCP keepalive that was tried; 0 if none was."""
    isKept: bool = False
    """Whether those with TCP keepalive lived."""
    evidence: tuple[str, ...] = ()
    outlived: tuple[Trial, ...] = ()
    """Those that died although others lived for longer."""

    @classmethod
    def of(cls, protocol: str, trials: Sequence[Trial], kept: Sequence[Trial], keepalive: int) -> Self:
        """Return what `trials` show, and those with `keepalive`, which are `kept`."""
        found, dead, odd = bracket(trials), deaths(trials), tuple(outlived(trials))
        if not dead:
            return cls(protocol, longestLife(trials), Fate.ALIVE, outlived=odd)
        idle = [each for each in dead if each.fate.isWhileIdle]
        if idle:
            times = [each.seconds for each in idle]
            fate, after, within = idle[0].fate, median(times), max((max(times) - min(times)) / 2, SPREAD)
        else:
            fate, after, within = dead[0].fate, (found.low + found.high) / 2, (found.high - found.low) / 2
        evidence = dict.fromkeys(
            f"after {worded(each.seconds)}: {each.fate.value}" + f"; {each.evidence}" * bool(each.evidence)
            for each in dead[:3]
        )
        isKept = bool(kept) and all(each.isAlive for each in kept)
        tried = keepalive if kept else 0
        return cls(protocol, longestLife(trials), fate, after, within, tried, isKept, tuple(evidence), odd)

    @property
    def figures(self) -> dict[str, Any]:
        """What the JSON has."""
        cut = {"how": self.fate.value, "after": self.after, "within": self.within} if self.isCut else None
        tried = {"interval": self.keepalive, "lived": self.isKept} if self.keepalive else None
        return {"lived": self.lived, "cut": cut, "keepalive": tried, "outlived": len(self.outlived)}

    @property
    def isCut(self) -> bool:
        """Whether there is a cut."""
        return self.fate is not Fate.ALIVE

    @property
    def when(self) -> str:
        """The time of the cut, in words."""
        return f"after {worded(self.after)} ± {worded(self.within)}"


@dataclass(frozen=True)
class _Kind:
    """What one way of cutting means."""

    status: Status
    cause: str
    words: str
    """What happens to an idle connection; the time follows."""
    meaning: str
    advice: str


_SUSPECTS = "docs/diagnose.md lists the usual suspects by their times"

_RAISE = f"raise the idle timeout of the firewall, NAT or load balancer on the way ({_SUSPECTS})"

_KINDS = {
    Fate.CLOSED: _Kind(
        Status.NOTE,
        "idle-closed",
        "idle connections are closed in order (FIN)",
        "A program, a proxy or the server itself, closes them in order, and the client is told: no fault of the path.",
        "If they are to live longer, raise the server's --idle-timeout, or the timeout of the proxy before it "
        f"({_SUSPECTS}).",
    ),
    Fate.RESET: _Kind(
        Status.WARN,
        "idle-reset",
        "idle connections are reset (RST)",
        "Something on the way, or the server, gives idle connections up and says so at that moment.",
        f"Send something more often, or {_RAISE}.",
    ),
    Fate.CLOSED_AT_PROBE: _Kind(
        Status.WARN,
        "idle-closed-late",
        "idle connections are dead, and closed (FIN) at the next byte,",
        "What answers to the client's TCP, such as a proxy, lost its connection to the server without a word. What is "
        "sent then is lost.",
        f"Send something more often, or {_RAISE}.",
    ),
    Fate.RESET_AT_PROBE: _Kind(
        Status.WARN,
        "idle-rejected",
        "idle connections are dead, and reset (RST) at the next byte,",
        "Something on the way forgets idle connections without a word and rejects what is sent then: a firewall, a NAT "
        "or a load balancer. What is sent then is lost.",
        f"Send something more often, or {_RAISE}.",
    ),
    Fate.SILENT: _Kind(
        Status.WARN,
        "idle-silent",
        "idle connections are cut silently",
        "Something on the way, a firewall, a NAT or a load balancer, forgets idle connections and drops what is sent "
        "then. Neither end is told, so a client waits until its own timeout; TCP gives up after about 15 minutes.",
        f"Send something more often, or {_RAISE}; let it reject instead of drop, so that clients are told.",
    ),
    Fate.UNANSWERED: _Kind(
        Status.WARN,
        "idle-unanswered",
        "idle connections are dead, though TCP is acknowledged,",
        "What acknowledges, a proxy or load balancer, does not know yet that its own connection to the server is dead: "
        "something between these two forgets idle connections.",
        f"Look between the proxy and the server: there, {_RAISE}, or let the proxy use TCP keepalive.",
    ),
}

_DATAGRAMS = _Kind(
    Status.WARN,
    "idle-datagrams-silent",
    "idle UDP sockets get no answer",
    "A firewall or NAT on the way forgets an idle UDP flow and does not take it up again from the same port.",
    "Send something more often, or use a new socket after a pause; raise the UDP timeout on the way.",
)


def problems(cut: Cut, pauses: int) -> list[Problem]:
    """Return what is wrong; `pauses` is how often this process was paused meanwhile."""
    found = []
    if cut.isCut:
        kind = _DATAGRAMS if cut.protocol == "UDP" else _KINDS[cut.fate]
        meaning = kind.meaning
        if cut.fate is Fate.CLOSED and DAEMONS[0] <= cut.after <= DAEMONS[1]:
            meaning = f"This is what echoup does with its default, --idle-timeout 600. {meaning}"
        found.append(
            Problem(
                kind.status,
                kind.cause,
                f"{kind.words} {cut.when}",
                (*_seen(cut), *_paused(pauses)),
                meaning,
                _advice(cut, kind.advice),
            )
        )
    if cut.outlived:
        first = cut.outlived[0]
        dead = counted(len(cut.outlived), f"idle {'socket' if cut.protocol == 'UDP' else 'connection'}")
        found.append(
            Problem(
                Status.WARN,
                "idle-cut-once",
                f"{dead} died after {worded(first.seconds)}, though others lived for {worded(cut.lived)}",
                (
                    *(f"after {worded(each.seconds)}: {each.fate.value}" for each in cut.outlived[:3]),
                    *_paused(pauses),
                ),
                "No idle timeout explains that: there was one event, such as a restart or a failover, or the ways of "
                "the connections differ.",
                "See what happened at that time, and repeat the check.",
            )
        )
    return found


def summary(cuts: Sequence[Cut]) -> str:
    """Return the line of the check."""
    return "; ".join(_summary(cut) for cut in cuts)


def _summary(cut: Cut) -> str:
    if cut.isCut and cut.protocol == "UDP":
        return f"{_DATAGRAMS.words} {cut.when}"
    if cut.isCut:
        return f"{_KINDS[cut.fate].words} {cut.when}" + f"; {_kept(cut)}" * bool(cut.keepalive)
    if cut.outlived:
        return f"{cut.protocol}: {len(cut.outlived)} died, though others lived idle for {worded(cut.lived)}"
    if cut.protocol == "UDP":
        return f"UDP is answered after {worded(cut.lived)} idle"
    return f"connections live idle for {worded(cut.lived)}"


def _seen(cut: Cut) -> tuple[str, ...]:
    lived = f"the longest that lived was idle for {worded(cut.lived)}" if cut.lived else "none lived"
    return (*cut.evidence, lived, *((_kept(cut),) if cut.keepalive else ()))


def _kept(cut: Cut) -> str:
    result = "keeps them alive" if cut.isKept else "does not keep them alive"
    return f"TCP keepalive every {cut.keepalive} s {result}"


def _advice(cut: Cut, advice: str) -> str:
    if cut.isKept:
        return f"Use TCP keepalive, more often than every {worded(cut.after)}; by default Linux waits 2 h. {advice}"
    return advice


def _paused(pauses: int) -> tuple[str, ...]:
    return (f"this process was paused {counted(pauses, 'time')}; the idle times include that",) if pauses else ()


def worded(seconds: float) -> str:
    """Return a time in words, with as many digits as are of use."""
    return f"{seconds:.0f} s" if seconds >= 100 else f"{seconds:.1f} s"
