"""Attempts to connect to the addresses of a server, and what they say of the path."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.diagnose.amounts import time
from echoup.client.diagnose.finding import Problem, Status
from echoup.client.exitcodes import ExitCode, PathError
from echoup.plurals import listed

INITIAL_TIMEOUT = 1.0
"""Seconds after which a kernel sends a SYN again (RFC 6298, 2)."""

FAR = 0.8 * INITIAL_TIMEOUT
"""A round-trip time, in seconds, for which that may be too early, because it varies."""

CHANCE = 1
"""How many of the connections to one address may need a second SYN by chance: a single packet was lost."""


class Reach(Enum):
    """How attempts to connect end, what says most of a server first; the values are those in JSON."""

    WORKS = "works"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    SILENT = "silent"
    RESET = "reset"
    """The connection was made, and reset before it was used."""
    NOT_SENT = "not_sent"
    """This machine has no way there, so nothing is known of it."""


@dataclass(frozen=True)
class ConnectAttempt:
    """One attempt to connect to an address."""

    seconds: float = 0
    """How long it took."""
    tcp: TCPInfo | None = None
    """What the kernel knew at its end."""
    isPaused: bool = False
    """Whether this process was paused meanwhile, so that the time is of no use."""
    error: PathError | None = None
    """Why it failed; None if it worked."""

    @property
    def reach(self) -> Reach:
        """How it ended."""
        if not self.error:
            return Reach.WORKS
        if self.error.code is ExitCode.UNREACHABLE and "refused" in self.error.reason:
            return Reach.REFUSED
        ends = {ExitCode.TIMED_OUT: Reach.SILENT, ExitCode.SHORT: Reach.RESET, ExitCode.LOCAL: Reach.NOT_SENT}
        return ends.get(self.error.code, Reach.UNREACHABLE)

    @property
    def isResent(self) -> bool:
        """Whether the SYN was sent more than once before it was answered."""
        if self.error:
            return False
        if self.tcp:
            return self.tcp.retransmits > 0
        return not self.isPaused and self.seconds >= INITIAL_TIMEOUT


@dataclass(frozen=True)
class AddressAttempts:
    """All attempts to connect to one address, in their order."""

    address: str
    attempts: tuple[ConnectAttempt, ...] = ()

    @property
    def working(self) -> list[ConnectAttempt]:
        """Those that worked."""
        return [each for each in self.attempts if not each.error]

    @property
    def reach(self) -> Reach:
        """WORKS if any of them worked, or else how the last one ended."""
        return Reach.WORKS if self.working else self.attempts[-1].reach

    @property
    def reason(self) -> str:
        """Why it doesn't work; empty if it does."""
        error = self.attempts[-1].error
        return error.reason if error and not self.working else ""

    @property
    def rtt(self) -> float | None:
        """The shortest round-trip time between the two kernels, in seconds; None if none is known."""
        known = [each.tcp.leastRTT or each.tcp.rtt for each in self.working if each.tcp]
        return min((rtt for rtt in known if rtt), default=None)

    @property
    def seconds(self) -> float | None:
        """The shortest time to connect; None if that never worked."""
        return min((each.seconds for each in self.working), default=None)

    @property
    def resent(self) -> int:
        """How many connections needed more than one SYN."""
        return sum(each.isResent for each in self.attempts)

    @property
    def unanswered(self) -> int:
        """How many were given up without an answer."""
        return sum(each.reach is Reach.SILENT for each in self.attempts)

    @property
    def isSuspect(self) -> bool:
        """Whether more attempts should tell a fault from a chance loss."""
        return bool(self.working and (self.resent or self.unanswered))

    def describe(self) -> str:
        """Return how they ended, in a few words."""
        if not self.working:
            return f"{self.address}: {self.reason}"
        rtt = f", the path's rtt is {time(self.rtt)}" if self.rtt else ""
        return f"{self.address}: connected in {time(self.seconds or 0)}{rtt}"

    def figures(self) -> dict[str, Any]:
        """Return the JSON values of them; times in seconds."""
        return {
            "address": self.address,
            "outcome": self.reach.value,
            "reason": self.reason,
            "connections": len(self.attempts),
            "seconds": self.seconds,
            "rtt": self.rtt,
            "synSentAgain": self.resent,
            "unanswered": self.unanswered,
        }


_WORDS: Mapping[Reach, tuple[str, str, str, str]] = {
    Reach.REFUSED: (
        "address-refused",
        "are refused",
        "The machine is there, but nothing listens on that port, or a firewall rejects connections to it.",
        "See what the server listens on (ss -ltn), and what the firewalls on the way reject.",
    ),
    Reach.SILENT: (
        "address-silent",
        "are not answered",
        "A firewall drops the packets, the machine is down, or its accept queue is full: the server doesn't accept.",
        "See whether SYNs arrive (tcpdump). In ss -ltn, a Recv-Q as large as Send-Q means that the queue is full.",
    ),
    Reach.UNREACHABLE: (
        "address-unreachable",
        "fail",
        "A router, or the machine's own network, says that it can't deliver the packets.",
        "Look for the last router that answers (traceroute), and for its routes and filters.",
    ),
    Reach.RESET: (
        "address-reset",
        "are reset at once",
        "Something accepts the connections and has no server for them, as a proxy without a backend.",
        "See the log of the proxy or load balancer that listens there.",
    ),
    Reach.NOT_SENT: (
        "local-trouble",
        "can't be made from this machine",
        "Nothing was sent, so nothing is known of the path.",
        "See the addresses, routes and limits of this machine (ip address, ip route, ulimit -n).",
    ),
}
"""Of each way to fail: the cause, what is said of the connections, what it means, and what to try."""


def judgeReach(found: Sequence[AddressAttempts], timeout: float) -> Iterator[Problem]:
    """Yield what is wrong with the way to the addresses, each of which had `timeout` seconds to answer."""
    seen = tuple(each.describe() for each in found)
    failed = {end: [each for each in found if each.reach is end] for end in Reach}
    working = failed.pop(Reach.WORKS)
    ends = [end for end, which in failed.items() if which]
    if working:
        # One that this machine has no way to, such as an IPv6 address on a machine without IPv6, costs no time.
        ends = [end for end in ends if end is not Reach.NOT_SENT]
    for end in ends if working else ends[:1]:
        cause, says, meaning, advice = _WORDS[end]
        text = f"connections to {listed([each.address for each in failed[end]])} {says}"
        error = failed[end][0].attempts[-1].error
        code = error.code if error else ExitCode.OK
        if working:
            text += f", and those to {listed([each.address for each in working])} work"
            loss = "wait for it, some of them for minutes." if end is Reach.SILENT else "fail there first."
            meaning += f" Clients that try one address after the other {loss}"
            advice += " If it isn't meant to serve, take it out of the DNS."
        elif end is Reach.SILENT:
            text += f" within {timeout:g} s"
        elif end in (Reach.UNREACHABLE, Reach.NOT_SENT):
            text += f": {failed[end][0].reason}"
        yield Problem(Status.WARN if working else Status.FAIL, cause, text, seen, meaning, advice, code)
    for each in working:
        yield from _judgeSYNs(each)


def _judgeSYNs(each: AddressAttempts) -> Iterator[Problem]:
    """Yield whether SYNs are lost on the way to an address that works, or the path is only slow."""
    troubled = each.resent + each.unanswered
    if not troubled:
        return
    rtt = f"the path's rtt is {time(each.rtt)}" if each.rtt else "the rtt isn't known"
    seen = [f"times to connect to {each.address}: {', '.join(time(one.seconds) for one in each.working)}", rtt]
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
