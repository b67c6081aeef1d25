"""What a slow or failed look-up, and what the nameservers say by themselves, mean together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from echoup.client.diagnose.amounts import time
from echoup.client.diagnose.finding import Problem, Status
from echoup.client.diagnose.nameservers.answers import FAILURES, HAVING, DNSResult, NameserverAnswers
from echoup.client.exitcodes import ExitCode, PathError

SLOW = 1.0
"""Seconds from which a look-up is slow; a nameserver at the other end of the world answers in less."""

_ORDER = ("first", "second", "third")

_TRY_RESOLV_CONF = "Bring that nameserver back, or take it out of /etc/resolv.conf."

_WORDS: Mapping[str, tuple[str, str]] = {
    "local-trouble": (
        "Nothing was asked, because of this machine.",
        "See its limits (ulimit -n, ulimit -u).",
    ),
    "no-nameserver": (
        "The nameservers are down, or something drops the questions (UDP port 53).",
        "Check the nameservers in /etc/resolv.conf, the way to them, and the firewalls on it.",
    ),
    "resolver-fails": (
        "The resolver gives up before it asks that nameserver, doesn't ask it, or needs TCP for a long answer.",
        "Make all nameservers in /etc/resolv.conf answer alike, over UDP and TCP; check hosts in /etc/nsswitch.conf.",
    ),
    "no-such-name": (
        "The nameservers answer, and say that it doesn't exist.",
        "Check its spelling, the zone, and the search list in /etc/resolv.conf.",
    ),
    "nameservers-fail": (
        "They answer, but fail: often the servers of the zone don't answer them, or DNSSEC fails.",
        "See what the nameservers log; ask the servers of the zone with: dig +trace NAME.",
    ),
    "no-address": (
        "The resolver of this machine knows no address for it.",
        "Check the name, and the option -4 or -6; see what the resolver says with: getent ahosts NAME.",
    ),
}
"""Of each cause of a failure: what it means, and what to try."""


@dataclass(frozen=True)
class LookUp:
    """What the system's resolver said, and how long it took."""

    seconds: float
    addresses: list[str]
    error: PathError | None = None
    """Why there are no addresses."""
    isPaused: bool = False
    """Whether this process was paused meanwhile, so that the time is of no use."""

    @property
    def isSlow(self) -> bool:
        """Whether it took long by itself."""
        return self.seconds >= SLOW and not self.isPaused


def isDoubtful(found: Sequence[NameserverAnswers]) -> bool:
    """Return whether nameservers say what another round should confirm: a failure, or something that others don't."""
    doubtful = FAILURES | {DNSResult.CLOSED, DNSResult.NO_NAME}
    return _disagree(found) or any(each.results & doubtful for each in found)


def judge(
    host: str, lookUps: Sequence[LookUp], found: Sequence[NameserverAnswers], timeout: float
) -> tuple[Problem, ...]:
    """Return what is wrong with the look-up of `host`, which was repeated if it was slow.

    `found` is empty if no nameserver is asked for it; `timeout` is how many seconds the resolver waits for each.
    """
    took = ", then ".join(time(lookUp.seconds) for lookUp in lookUps)
    seen = (f"the look-up took {took}", *(each.describe() for each in found))
    if error := lookUps[0].error:
        cause, text = _explain(host, error, found)
        return (
            Problem(Status.FAIL, cause, text, (f"the resolver: {error.reason}", *seen), *_WORDS[cause], error.code),
        )
    least = min(0 if lookUp.isPaused else lookUp.seconds for lookUp in lookUps)
    wait = timeout if lookUps[0].isSlow else 0
    problems = [problem for number in range(len(found)) for problem in _judgeOne(found, number, seen, wait)]
    if least >= SLOW and not any(problem.status is Status.WARN for problem in problems):
        problems.append(_slow(host, least, found, seen))
    if _disagree(found):
        problems.append(
            Problem(
                Status.NOTE,
                "nameservers-disagree",
                f"the nameservers of this machine give different answers for {host}",
                seen,
                "Which server a client reaches depends on the nameserver that answers it.",
                "Compare their zones, or where they forward to; some give each client another answer on purpose.",
            )
        )
    return tuple(problems)


def _explain(host: str, error: PathError, found: Sequence[NameserverAnswers]) -> tuple[str, str]:
    """Return the cause and the line where the name has no address."""
    said = {result for each in found for result in each.results}
    having = [each.nameserver for each in found if each.results & HAVING]
    if error.code is ExitCode.LOCAL:
        return "local-trouble", f"{host} can't be resolved: {error.reason}"
    if found and not any(each.isHeard for each in found):
        return "no-nameserver", f"no nameserver of this machine answers, so {host} can't be resolved"
    if having:
        return "resolver-fails", f"{host} can't be resolved ({error.reason}), though {having[0]} has its addresses"
    if DNSResult.NO_NAME in said:
        return "no-such-name", f"there is no name {host}"
    if said & FAILURES:
        return "nameservers-fail", f"the nameservers can't say whether there is a name {host}"
    return "no-address", f"{host} can't be resolved: {error.reason}"


def _judgeOne(found: Sequence[NameserverAnswers], number: int, seen: tuple[str, ...], wait: float) -> Iterator[Problem]:
    """Yield what is wrong with one nameserver, though the name has addresses.

    `wait` is how many seconds the resolver waits for a silent one; 0 if the look-up wasn't slow. The resolver doesn't
    need the nameservers if they are all useless.
    """
    one = found[number]
    having = [answer for answer in one.answers if answer.result in HAVING]
    fine = HAVING | {DNSResult.NO_ADDRESS, DNSResult.UNREACHABLE}
    lacking = [answer for answer in one.answers if answer.result not in fine]
    if one.results == {DNSResult.SILENT}:
        text = f"the {_ORDER[number]} nameserver {one.nameserver} does not answer"
        if wait and number == 0:
            yield Problem(
                Status.WARN,
                "nameserver-silent",
                f"{text}; each look-up waits {wait:g} s for it",
                seen,
                "The resolver asks it first, and the next one only after that time. Look-ups by all programs are slow.",
                _TRY_RESOLV_CONF,
            )
        elif any(each.isHeard for each in found):
            meaning = "It costs nothing while another is asked first, but it can't replace that one."
            yield Problem(Status.NOTE, "nameserver-silent", text, seen, meaning, _TRY_RESOLV_CONF)
    elif having and lacking:
        yield Problem(
            Status.WARN,
            "one-kind-fails",
            f"nameserver {one.nameserver} {lacking[0].result.value} when it is asked for {lacking[0].kind}, "
            f"though it has {having[0].kind}",
            seen,
            "Clients ask for both. Some wait for the missing answer, and some take the failure for the answer.",
            "Repair the nameserver, or the servers of the zone: of a name without such an address they have to answer "
            "that there is none (RFC 4074). Until then, -4 or -6 asks for one kind only.",
        )
    elif one.isUseless and lacking and not all(each.isUseless for each in found):
        meaning = "Another one answers, so this one only takes time."
        text = f"nameserver {one.nameserver} {lacking[0].result.value}"
        yield Problem(Status.NOTE, "nameserver-fails", text, seen, meaning, _TRY_RESOLV_CONF)


def _slow(host: str, least: float, found: Sequence[NameserverAnswers], seen: tuple[str, ...]) -> Problem:
    """Return whose fault a slow look-up is, of `least` seconds each time, that no silent nameserver explains."""
    if found and (found[0].seconds or 0) >= least / 2:
        return Problem(
            Status.WARN,
            "nameserver-slow",
            f"nameserver {found[0].nameserver} is slow: each look-up of {host} takes {time(least)}",
            seen,
            "It takes as long when it is asked directly, so it doesn't cache the answer, or the way to it is bad.",
            "See why it is slow, or put a nearer one first in /etc/resolv.conf.",
        )
    isHeard = any(each.isHeard for each in found)
    return Problem(
        Status.WARN,
        "resolver-slow",
        f"each look-up of {host} takes {time(least)}" + (", though the nameservers answer at once" if isHeard else ""),
        seen,
        "The system's resolver does something else first, and waits for it.",
        "See the line hosts in /etc/nsswitch.conf (mDNS, LDAP), and the search list in /etc/resolv.conf.",
    )


def _disagree(found: Sequence[NameserverAnswers]) -> bool:
    """Return whether two nameservers, both able to answer, give different addresses of the same kind."""
    answers: dict[str, list[frozenset[str]]] = {}
    for one in found:
        for answer in one.answers:
            if answer.result in (DNSResult.FOUND, DNSResult.NO_ADDRESS, DNSResult.NO_NAME):
                answers.setdefault(answer.kind, []).append(answer.addresses)
    return any((a or b) and not a & b for said in answers.values() for a, b in combinations(said, 2))
