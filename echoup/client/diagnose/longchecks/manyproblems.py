"""What the check `many` says about the connections that it held, and about those that failed."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from echoup.client.diagnose.finding import Finding, Problem, Status
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient, Ending
from echoup.plurals import counted


class NextFailure(Enum):
    """How the next connection fails; the values are the words of the JSON, the cause, its text and its meaning."""

    REFUSED = (
        "refused",
        "many-refused",
        "is refused",
        "A firewall that counts connections rejects the next one, or nothing listens any more.",
    )
    SILENT = (
        "no answer to SYN",
        "many-silent",
        "gets no answer to its SYN",
        "A firewall that counts connections drops the next one, or a table on the way, or the server's queue, is full.",
    )
    TLS = (
        "TLS handshake failed",
        "many-tls",
        "fails in the TLS handshake",
        "TCP connects, but what speaks TLS gives up on the next connection.",
    )
    CLOSED = (
        "closed at once",
        "many-closed",
        "is closed at once",
        "The server, or a proxy before it, accepts the next connection and closes it: a limit of its own is reached.",
    )
    RESET = (
        "reset at once",
        "many-reset",
        "is reset at once",
        "The server, as echoup from --max-connections-per-peer on, or something on the way resets the next connection.",
    )
    UNANSWERED = (
        "connected, but not answered",
        "many-unanswered",
        "connects, but gets no reply",
        "The server is full, as echoup from --max-connections on, haproxy from maxconn: the next waits in its queue.",
    )
    LOCAL = (
        "not possible on this machine",
        "many-own-limit",
        "is not possible on this machine",
        "The limit is this machine's. Nothing is known of the path beyond it.",
    )

    def __init__(self, words: str, cause: str, text: str, meaning: str) -> None:
        self.words, self.cause, self.text, self.meaning = words, cause, text, meaning


@dataclass(frozen=True)
class FailedConnection:
    """One connection that could not be opened, or not be proven."""

    error: PathError
    isConnected: bool
    """Whether TCP connected."""
    ending: Ending | None
    """How the connection ended, if it did."""
    held: int
    """How many were held at that moment."""

    @property
    def kind(self) -> NextFailure:
        """How it failed."""
        code = self.error.code
        if code is ExitCode.LOCAL:
            return NextFailure.LOCAL
        if not self.isConnected:
            kinds = {ExitCode.TIMED_OUT: NextFailure.SILENT, ExitCode.SHORT: NextFailure.RESET}
            return kinds.get(code, NextFailure.REFUSED)
        if code is ExitCode.TLS_FAILED:
            return NextFailure.TLS
        if self.ending is Ending.CLOSED:
            return NextFailure.CLOSED
        return NextFailure.RESET if self.ending is Ending.RESET else NextFailure.UNANSWERED


@dataclass
class Holding:
    """What became of the connections."""

    wanted: int
    tried: int
    """How many were to be held, within the limits of this machine."""
    ownLimit: str
    """What limits this machine; empty if it allows all."""
    held: list[EchoUpClient] = field(default_factory=list)
    """Those that were proven when they were opened."""
    proven: list[EchoUpClient] = field(default_factory=list)
    """Those of them that answered while all were held."""
    cut: list[EchoUpClient] = field(default_factory=list)
    """Those that were closed or reset while others were opened."""
    dead: list[EchoUpClient] = field(default_factory=list)
    """Those that did not answer at the end."""
    failures: list[FailedConnection] = field(default_factory=list)
    """What ended the opening, empty if nothing did; the last of them is the one that was confirmed."""
    forgiven: list[FailedConnection] = field(default_factory=list)
    """The failures that did not repeat."""
    isReplaceable: bool | None = None
    """Whether a new connection worked once some had been closed; None if that wasn't tried."""

    @property
    def next(self) -> NextFailure | None:
        """How the next connection failed; None if none did.

        Where some were connected and waited for a reply, they are what filled the accept queue of a full server, and
        that its kernel then drops the SYN of the next one follows from it.
        """
        kinds = [failure.kind for failure in self.failures]
        if NextFailure.UNANSWERED in kinds:
            return NextFailure.UNANSWERED
        others = [kind for kind in kinds if kind is not NextFailure.LOCAL]
        return (others or kinds or [None])[-1]

    @property
    def figures(self) -> dict[str, Any]:
        """What the JSON has."""
        return {
            "wanted": self.wanted,
            "tried": self.tried,
            "held": len(self.proven),
            "cut": len(self.cut),
            "dead": len(self.dead),
            "failed": self.next.words if self.next else None,
            "passing": len(self.forgiven),
            "replaceable": self.isReplaceable,
            "ownLimit": self.ownLimit or None,
        }

    @property
    def finding(self) -> Finding:
        """What the check says."""
        found = []
        isLimited = self.next not in (None, NextFailure.LOCAL)
        if isLimited:
            found.append(self._limit)
        if self.cut or self.dead:
            found.append(self._lost)
        if self.forgiven and not isLimited:
            found.append(self._unsteady)
        if (self.ownLimit or self.next) and not isLimited:
            found.append(self._own)
        held = counted(len(self.proven), "connection")
        fine = f"{held} held at the same time, each answering at the start and the end"
        return Finding(found[0].text if found else fine, tuple(found), self.figures)

    @property
    def _limit(self) -> Problem:
        kind = self.next or NextFailure.LOCAL
        failures = [failure for failure in self.failures if failure.kind is not NextFailure.LOCAL]
        last, held = failures[-1], len(self.proven)
        seen = [
            f"{counted(held, 'connection')} answered while all were held",
            f"the first that failed: {failures[0].error}",
            f"one more, with {last.held} held: {last.error}",
        ]
        meaning = kind.meaning
        if self.isReplaceable is not None:
            seen.append(f"after two of them were closed, a new one {'worked' if self.isReplaceable else 'failed, too'}")
        if self.isReplaceable is False:
            meaning += " But closing some did not help, so it may count what was opened, or something else failed."
        return Problem(
            Status.WARN,
            kind.cause,
            f"only {held} of {self.tried} connections at the same time: the next one {kind.text}",
            tuple(seen),
            meaning,
            f"Raise the limit of {held} connections: --max-connections and --max-connections-per-peer of echoup, "
            "maxconn of a proxy, the limits of firewalls on the way.",
            last.error.code,
        )

    @property
    def _lost(self) -> Problem:
        endings = [client.ending for client in self.cut]
        seen = [f"{endings.count(each)} were {each.value} while others were opened" for each in Ending]
        seen = [line for line in seen if not line.startswith("0 ")]
        if self.dead:
            seen.append(f"{len(self.dead)} did not answer while all were held")
        return Problem(
            Status.WARN,
            "many-held-lost",
            f"only {len(self.proven)} of {len(self.held)} connections that were held still worked at the end",
            tuple(seen),
            "Something gives older connections up as newer ones come: a table of a NAT, firewall or proxy that is "
            "full. Or it cuts what is idle for as long as this check took.",
            "Raise the size of that table; see the check idle.",
        )

    @property
    def _unsteady(self) -> Problem:
        return Problem(
            Status.WARN,
            "many-unsteady",
            f"{counted(len(self.forgiven), 'connection')} failed, though a new one worked a second later; "
            f"{len(self.proven)} of {self.wanted} were held",
            tuple(dict.fromkeys(f"with {each.held} held: {each.error}" for each in self.forgiven))[:3],
            "Something limits how many connections are opened in a second, or loses some, but not how many there are.",
            "Look for limits of the rate: of firewalls, of the accept queue (net.core.somaxconn), of proxies.",
        )

    @property
    def _own(self) -> Problem:
        reason = self.ownLimit or str(self.failures[0].error.reason)
        return Problem(
            Status.NOTE,
            NextFailure.LOCAL.cause,
            f"this machine allows {len(self.held)} of the {self.wanted} connections: {reason}",
            (reason,),
            NextFailure.LOCAL.meaning,
            "Raise the limit, and repeat the check.",
        )
