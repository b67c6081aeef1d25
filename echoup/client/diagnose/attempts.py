"""Attempts to connect to the addresses of a server, and what they say of the path."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from echoup.client.connect.systemerror import worst
from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.diagnose.amounts import time
from echoup.client.diagnose.finding import Problem, Status
from echoup.client.exitcodes import ExitCode

INITIAL_TIMEOUT = 1.0
"""Seconds after which a kernel sends a SYN again (RFC 6298, 2)."""

FAR = 0.8 * INITIAL_TIMEOUT
"""A round-trip time, in seconds, for which that may be too early, because it varies."""

CHANCE = 1
"""How many of the connections to one address may need a second SYN by chance: a single packet was lost."""


class Outcome(Enum):
    """How an attempt to connect ended; the values are the words that users read."""

    WORKS = "works"
    REFUSED = "refused"
    SILENT = "silent"
    UNREACHABLE = "unreachable"
    RESET = "reset at once"
    """The connection was made, and reset before it was used."""
    NOT_SENT = "not tried"
    """This machine has no way there, so nothing is known of it."""


@dataclass(frozen=True)
class Attempt:
    """One attempt to connect to an address."""

    outcome: Outcome
    seconds: float = 0
    """How long it took."""
    tcp: TCPInfo | None = None
    """What the kernel knew at its end."""
    isPaused: bool = False
    """Whether this process was paused meanwhile, so that the time is of no use."""
    code: ExitCode = ExitCode.OK
    reason: str = ""
    """Why it failed."""

    @property
    def isResent(self) -> bool:
        """Whether the SYN was sent more than once before it was answered."""
        if self.outcome is not Outcome.WORKS:
            return False
        if self.tcp:
            return self.tcp.retransmits > 0
        return not self.isPaused and self.seconds >= INITIAL_TIMEOUT


@dataclass(frozen=True)
class AddressAttempts:
    """All attempts to connect to one address, in their order; before the first there is no outcome."""

    address: str
    attempts: tuple[Attempt, ...]

    @property
    def outcome(self) -> Outcome:
        """WORKS if any of them worked, or else how the last one ended."""
        return Outcome.WORKS if self._working else self.attempts[-1].outcome

    @property
    def rtt(self) -> float | None:
        """The shortest round-trip time between the two kernels, in seconds; None if none is known."""
        known = [each.tcp.leastRTT or each.tcp.rtt for each in self._working if each.tcp]
        return min((rtt for rtt in known if rtt), default=None)

    @property
    def seconds(self) -> float | None:
        """The shortest time to connect; None if that never worked."""
        return min((each.seconds for each in self._working), default=None)

    @property
    def resent(self) -> int:
        """How many connections needed more than one SYN."""
        return sum(each.isResent for each in self._working)

    @property
    def unanswered(self) -> int:
        """How many were given up without an answer."""
        return sum(each.outcome is Outcome.SILENT for each in self.attempts)

    @property
    def isSuspect(self) -> bool:
        """Whether more attempts should tell a fault from a chance loss."""
        return self.outcome is Outcome.WORKS and bool(self.resent or self.unanswered)

    def describe(self) -> str:
        """Return how they ended, in a few words."""
        if self.outcome is not Outcome.WORKS:
            return f"{self.address}: {self.attempts[-1].reason}"
        rtt = f", the path's rtt is {time(self.rtt)}" if self.rtt else ""
        return f"{self.address}: connected in {time(self.seconds or 0)}{rtt}"

    def figures(self) -> dict[str, Any]:
        """Return the JSON values of them."""
        last = self.attempts[-1]
        return {
            "address": self.address,
            "outcome": self.outcome.name.lower(),
            "reason": last.reason if self.outcome is not Outcome.WORKS else "",
            "connections": len(self.attempts),
            "seconds": self.seconds,
            "rtt": self.rtt,
            "synSentAgain": self.resent,
            "unanswered": self.unanswered,
        }

    @property
    def _working(self) -> list[Attempt]:
        return [each for each in self.attempts if each.outcome is Outcome.WORKS]


def outcomeOf(code: ExitCode, reason: str) -> Outcome:
    """Return how an attempt ended that failed with `code` for `reason`, in the words of explainError."""
    if code is ExitCode.UNREACHABLE:
        return Outcome.REFUSED if "refused" in reason else Outcome.UNREACHABLE
    return {
        ExitCode.TIMED_OUT: Outcome.SILENT,
        ExitCode.SHORT: Outcome.RESET,
        ExitCode.LOCAL: Outcome.NOT_SENT,
    }.get(code, Outcome.UNREACHABLE)


_MEANS = {
    Outcome.REFUSED: "The machine is there, but nothing listens on that port, or a firewall rejects connections to it.",
    Outcome.SILENT: "A firewall drops the packets, the machine is down, or its accept queue is full, because the "
    "server doesn't accept.",
    Outcome.UNREACHABLE: "A router, or the machine's own network, says that it can't deliver the packets.",
    Outcome.RESET: "Something accepts the connections and has no server for them, as a proxy without a backend.",
    Outcome.NOT_SENT: "Nothing was sent, so nothing is known of the path.",
}
_TRY = {
    Outcome.REFUSED: "See what the server listens on (ss -ltn), and what the firewalls on the way reject.",
    Outcome.SILENT: "See whether SYNs arrive there (tcpdump 'tcp[tcpflags] & tcp-syn != 0'), and compare Recv-Q with "
    "Send-Q of the listening socket (ss -ltn): if they are equal, its queue is full.",
    Outcome.UNREACHABLE: "Look for the last router that answers (traceroute), and for its routes and filters.",
    Outcome.RESET: "See the log of the proxy or load balancer that listens there.",
    Outcome.NOT_SENT: "See the addresses, routes and limits of this machine (ip address, ip route, ulimit -n).",
}
_CAUSES = {
    Outcome.REFUSED: "address-refused",
    Outcome.SILENT: "address-silent",
    Outcome.UNREACHABLE: "address-unreachable",
    Outcome.RESET: "address-reset",
    Outcome.NOT_SENT: "local-trouble",
}
_SAYS = {
    Outcome.REFUSED: ("refuses connections", "refuse connections"),
    Outcome.SILENT: ("does not answer", "do not answer"),
    Outcome.UNREACHABLE: ("can't be reached", "can't be reached"),
    Outcome.RESET: ("resets each connection at once", "reset each connection at once"),
    Outcome.NOT_SENT: ("can't be reached from this machine", "can't be reached from this machine"),
}


def judgeReach(found: Sequence[AddressAttempts], timeout: float) -> Iterator[Problem]:
    """Yield what is wrong with the way to the addresses, each of which had `timeout` seconds to answer."""
    seen = tuple(each.describe() for each in found)
    working = [each for each in found if each.outcome is Outcome.WORKS]
    failed: dict[Outcome, list[AddressAttempts]] = {}
    for each in found:
        if each.outcome is not Outcome.WORKS:
            failed.setdefault(each.outcome, []).append(each)
    if not working:
        yield _dead(failed, seen, timeout)
    else:
        # One that this machine has no way to, such as an IPv6 address on a machine without IPv6, costs no time.
        failed.pop(Outcome.NOT_SENT, None)
        for outcome, which in failed.items():
            yield _partly(outcome, which, working, seen)
    for each in working:
        yield from _judgeSYNs(each)


def _dead(failed: Mapping[Outcome, Sequence[AddressAttempts]], seen: tuple[str, ...], timeout: float) -> Problem:
    """Return what is wrong where no address works."""
    outcomes = {each[0].attempts[-1].code: outcome for outcome, each in failed.items()}
    code = worst({*outcomes}) if outcomes.keys() - {ExitCode.SHORT} else ExitCode.SHORT
    outcome = outcomes[code]
    which = failed[outcome]
    text = _subject(outcome, which)
    if outcome in (Outcome.UNREACHABLE, Outcome.NOT_SENT):
        text += f": {which[0].attempts[-1].reason}"
    elif outcome is Outcome.SILENT:
        text += f" within {timeout:g} s"
    return Problem(Status.FAIL, _CAUSES[outcome], text, seen, _MEANS[outcome], _TRY[outcome], code)


def _partly(
    outcome: Outcome,
    failed: Sequence[AddressAttempts],
    working: Sequence[AddressAttempts],
    seen: tuple[str, ...],
) -> Problem:
    """Return what is wrong where some addresses work, and others don't."""
    others = f"{', '.join(each.address for each in working)} {'works' if len(working) == 1 else 'work'}"
    loss = "wait for it, some of them for minutes." if outcome is Outcome.SILENT else "fail there first."
    return Problem(
        Status.WARN,
        _CAUSES[outcome],
        f"{_subject(outcome, failed)}, and {others}",
        seen,
        f"{_MEANS[outcome]} Clients that try one address after the other {loss}",
        f"{_TRY[outcome]} If it isn't meant to serve, take it out of the DNS.",
    )


def _subject(outcome: Outcome, failed: Sequence[AddressAttempts]) -> str:
    """Return which addresses failed, and how: `192.0.2.1 refuses connections`."""
    one, several = _SAYS[outcome]
    return f"{', '.join(each.address for each in failed)} {one if len(failed) == 1 else several}"


def _judgeSYNs(each: AddressAttempts) -> Iterator[Problem]:
    """Yield whether SYNs are lost on the way to an address that works, or the path is only slow."""
    troubled = each.resent + each.unanswered
    if not troubled:
        return
    rtt = f"the path's rtt is {time(each.rtt)}" if each.rtt else "the rtt isn't known"
    times = ", ".join(time(attempt.seconds) for attempt in each.attempts if attempt.outcome is Outcome.WORKS)
    seen = [f"times to connect to {each.address}: {times}", rtt]
    if each.unanswered:
        seen.append(f"{each.unanswered} of {len(each.attempts)} connections were given up without an answer")
    if each.rtt and each.rtt >= FAR:
        yield Problem(
            Status.WARN,
            "slow-path",
            f"the path to {each.address} is slow: {rtt}, so the SYN is sent again before it can be answered",
            tuple(seen),
            "No packet is lost: the answer takes longer than the second that a kernel waits (RFC 6298).",
            "See the queues on the way (the check load), or what kind of link has such a delay.",
        )
    elif troubled > CHANCE or each.unanswered:
        yield Problem(
            Status.WARN,
            "syn-sent-again",
            f"the SYN was sent again on {troubled} of {len(each.attempts)} connections to {each.address}, "
            f"although {rtt}: the accept queue is full, or SYNs are dropped",
            tuple(seen),
            "The server doesn't accept as fast as clients connect, or something on the way limits or loses SYNs. Each "
            "loss costs a client a second or more.",
            "On the server compare Recv-Q with Send-Q of the listening socket (ss -ltn), and see ListenOverflows "
            "(nstat -az TcpExtListenOverflows); if that doesn't rise, see the rate limits of the firewalls on the way.",
        )
