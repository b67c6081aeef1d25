"""What the check `many` says about the connections that it held, and about those that failed."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from echoup.client.diagnose.finding import Problem, Status
from echoup.client.diagnose.longchecks.ownlimits import Allowance
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient, Ending
from echoup.plurals import counted


class Refusal(Enum):
    """How a new connection fails; the values are the words of the report and of the JSON."""

    REFUSED = "refused"
    SILENT = "no answer to SYN"
    TLS = "TLS handshake failed"
    CLOSED = "closed at once"
    RESET = "reset at once"
    UNANSWERED = "connected, but not answered"
    LOCAL = "not possible on this machine"


@dataclass(frozen=True)
class Failure:
    """One connection that could not be opened, or not be proven."""

    error: PathError
    isConnected: bool
    """Whether TCP connected."""
    ending: Ending | None
    """How the connection ended, if it did."""
    held: int
    """How many were held at that moment."""

    @property
    def kind(self) -> Refusal:
        """How it failed."""
        if self.error.code is ExitCode.LOCAL:
            return Refusal.LOCAL
        if not self.isConnected:
            return {ExitCode.TIMED_OUT: Refusal.SILENT, ExitCode.SHORT: Refusal.RESET}.get(
                self.error.code, Refusal.REFUSED
            )
        if self.error.code is ExitCode.TLS_FAILED:
            return Refusal.TLS
        if self.ending is Ending.CLOSED:
            return Refusal.CLOSED
        return Refusal.RESET if self.ending is Ending.RESET else Refusal.UNANSWERED


@dataclass(frozen=True)
class Holding:
    """What became of the connections."""

    wanted: int
    tried: int
    """How many were to be held, within the limits of this machine."""
    proven: int
    """How many answered while all were held."""
    cut: Sequence[EchoUpClient]
    """Those that were closed or reset while others were opened."""
    dead: Sequence[EchoUpClient]
    """Those that did not answer at the end."""
    failures: tuple[Failure, ...]
    """What ended the opening; empty if nothing did."""
    forgiven: Sequence[Failure]
    """The failures that did not repeat."""
    isReplaceable: bool | None
    """Whether a new connection worked once some had been closed; None if that wasn't tried."""
    own: Allowance

    @property
    def refusal(self) -> Refusal | None:
        """How the next connection failed; None if none did.

        Where some were connected and waited for a reply, they are what filled the accept queue of a full server, and
        that its kernel then drops the SYN of the next one follows from it.
        """
        kinds = [failure.kind for failure in self.failures]
        if Refusal.UNANSWERED in kinds:
            return Refusal.UNANSWERED
        others = [kind for kind in kinds if kind is not Refusal.LOCAL]
        return (others or kinds or [None])[-1]

    @property
    def figures(self) -> dict[str, Any]:
        """What the JSON has."""
        return {
            "wanted": self.wanted,
            "tried": self.tried,
            "held": self.proven,
            "cut": len(self.cut),
            "dead": len(self.dead),
            "failed": self.refusal.value if self.refusal else None,
            "passing": len(self.forgiven),
            "replaceable": self.isReplaceable,
            "ownLimit": self.own.reason or None,
        }


_KINDS = {
    Refusal.REFUSED: (
        "many-refused",
        "is refused",
        "A firewall that counts connections rejects the next one, or nothing listens any more.",
    ),
    Refusal.SILENT: (
        "many-silent",
        "gets no answer to its SYN",
        "A firewall that counts connections drops the next one, or a table on the way, or the server's queue, is full.",
    ),
    Refusal.TLS: (
        "many-tls",
        "fails in the TLS handshake",
        "TCP connects, but what speaks TLS gives up on the next connection.",
    ),
    Refusal.CLOSED: (
        "many-closed",
        "is closed at once",
        "The server, or a proxy before it, accepts the next connection and closes it: a limit of its own is reached.",
    ),
    Refusal.RESET: (
        "many-reset",
        "is reset at once",
        "The server, as echoup from --max-connections-per-peer on, or something on the way resets the next connection.",
    ),
    Refusal.UNANSWERED: (
        "many-unanswered",
        "connects, but gets no reply",
        "The server is full, as echoup from --max-connections on, haproxy from maxconn: the next waits in its queue.",
    ),
}

_ADVICE = (
    "Raise the limit of {} connections: --max-connections and --max-connections-per-peer of echoup, maxconn of a "
    "proxy, the limits of firewalls on the way."
)


def problems(holding: Holding) -> list[Problem]:
    """Return what is wrong with the path, the server and this machine."""
    found = []
    failures = [failure for failure in holding.failures if failure.kind is not Refusal.LOCAL]
    if failures and holding.refusal:
        found.append(_limit(holding, failures, holding.refusal))
    if holding.cut or holding.dead:
        found.append(_lost(holding))
    if holding.forgiven and not failures:
        found.append(_unsteady(holding))
    if holding.own.reason or any(failure.kind is Refusal.LOCAL for failure in holding.failures):
        found.append(_own(holding))
    return found


def _limit(holding: Holding, failures: Sequence[Failure], kind: Refusal) -> Problem:
    last = failures[-1]
    cause, words, meaning = _KINDS[kind]
    seen = [
        f"{counted(holding.proven, 'connection')} answered while all were held",
        f"the first that failed: {failures[0].error}",
        f"one more, with {last.held} held: {last.error}",
    ]
    if holding.isReplaceable is not None:
        works = "worked" if holding.isReplaceable else "failed, too"
        seen.append(f"after two of them were closed, a new one {works}")
    if holding.isReplaceable is False:
        meaning += " But closing some did not help, so it may count what was opened, or something else failed."
    return Problem(
        Status.WARN,
        cause,
        f"only {holding.proven} of {holding.tried} connections at the same time: the next one {words}",
        tuple(seen),
        meaning,
        _ADVICE.format(holding.proven),
        last.error.code,
    )


def _lost(holding: Holding) -> Problem:
    lost = len(holding.cut) + len(holding.dead)
    ways = [
        f"{sum(client.ending is ending for client in holding.cut)} were {ending.value} while others were opened"
        for ending in Ending
        if any(client.ending is ending for client in holding.cut)
    ]
    if holding.dead:
        ways.append(f"{len(holding.dead)} did not answer while all were held")
    return Problem(
        Status.WARN,
        "many-held-lost",
        f"only {holding.proven} of {holding.proven + lost} connections that were held still worked at the end",
        tuple(ways),
        "Something gives older connections up as newer ones come: a table of a NAT, firewall or proxy that is full. Or "
        "it cuts what is idle for as long as this check took.",
        "Raise the size of that table; see the check idle.",
    )


def _unsteady(holding: Holding) -> Problem:
    return Problem(
        Status.WARN,
        "many-unsteady",
        f"{counted(len(holding.forgiven), 'connection')} failed, though a new one worked a second later; "
        f"{holding.proven} of {holding.wanted} were held",
        tuple(dict.fromkeys(f"with {each.held} held: {each.error}" for each in holding.forgiven))[:3],
        "Something limits how many connections are opened in a second, or loses some, but not how many there are.",
        "Look for limits of the rate: of firewalls, of the accept queue (net.core.somaxconn), of proxies.",
    )


def _own(holding: Holding) -> Problem:
    errors = [failure.error for failure in holding.failures if failure.kind is Refusal.LOCAL]
    reason = holding.own.reason or errors[0].reason
    return Problem(
        Status.NOTE,
        "many-own-limit",
        f"this machine allows {holding.proven} of the {holding.wanted} connections: {reason}",
        (reason,),
        "The limit is this machine's. Nothing is known of the path beyond it.",
        "Raise the limit, and repeat the check.",
    )


def summary(holding: Holding) -> str:
    """Return the line of the check."""
    found = problems(holding)
    if not found:
        return f"{counted(holding.proven, 'connection')} held at the same time, each answering at the start and the end"
    worst = max(found, key=lambda problem: problem.status.rank)
    return worst.text
