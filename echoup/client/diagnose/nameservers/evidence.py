"""What a slow or failed look-up, and what the nameservers say by themselves, mean together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from echoup.client.diagnose.amounts import time
from echoup.client.diagnose.finding import Problem, Status
from echoup.client.diagnose.nameservers.answer import UNABLE, UNHEARD, Outcome, Witness
from echoup.client.diagnose.nameservers.configuration import ResolverConfiguration
from echoup.client.exitcodes import ExitCode, PathError

SLOW = 1.0
"""Seconds from which a look-up is slow; a nameserver at the other end of the world answers in less."""

_ORDER = ("first", "second", "third")

_TRY_RESOLV_CONF = "Bring that nameserver back, or take it out of /etc/resolv.conf."


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


def isOutvoted(witnesses: Sequence[Witness]) -> bool:
    """Return whether nameservers say what another round should confirm: a failure, or something that others don't."""
    heard = [witness for witness in witnesses if witness.isHeard]
    doubtful = {*UNABLE, Outcome.CLOSED, Outcome.NO_NAME}
    return _disagree(heard) or any(witness.outcomes & doubtful for witness in witnesses)


def describeWitness(witness: Witness) -> str:
    """Return what a nameserver said, in one line."""
    if len(witness.outcomes) > 1 or witness.addresses:
        said = "; ".join(
            f"{answer.kind} {', '.join(sorted(answer.addresses)) or answer.outcome.value}" for answer in witness.answers
        )
        said = f": {said}"
    else:
        said = f", {next(iter(witness.outcomes)).value}" if witness.outcomes else ""
    after = f", after {time(witness.seconds)}" if witness.seconds is not None else ""
    return f"nameserver {witness.nameserver}, asked for {witness.name}{said}{after}"


def judge(
    host: str,
    lookUps: Sequence[LookUp],
    witnesses: Sequence[Witness],
    configuration: ResolverConfiguration | None,
) -> tuple[Problem, ...]:
    """Return what is wrong with the look-up of `host`, which was repeated if it was slow.

    `configuration` and `witnesses` are there if nameservers are asked for it at all.
    """
    seen = tuple(map(describeWitness, witnesses))
    if error := lookUps[0].error:
        return (_failure(host, error, witnesses, seen),)
    problems = [*_silent(host, lookUps, witnesses, configuration, seen), *_oneKind(lookUps, witnesses, seen)]
    if _isSlow(lookUps) and not any(problem.status is Status.WARN for problem in problems):
        problems.append(_slow(host, lookUps, witnesses, seen))
    problems += _unable(witnesses, seen)
    if _disagree([witness for witness in witnesses if witness.isHeard]):
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


def _isSlow(lookUps: Sequence[LookUp]) -> bool:
    return all(lookUp.isSlow for lookUp in lookUps)


def _failure(host: str, error: PathError, witnesses: Sequence[Witness], seen: tuple[str, ...]) -> Problem:
    """Return what is wrong where the name has no address."""
    said = set().union(*(witness.outcomes for witness in witnesses))
    cause, text = "no-address", f"{host} can't be resolved: {error.reason}"
    meaning = "The resolver of this machine knows no address for it."
    advice = "Check the name, and the option -4 or -6; see what the resolver says with: getent ahosts NAME."
    if error.code is ExitCode.LOCAL:
        cause, meaning, advice = (
            "local-trouble",
            "Nothing was asked, because of this machine.",
            "See its limits (ulimit -n, ulimit -u).",
        )
    elif witnesses and not any(witness.isHeard for witness in witnesses):
        cause, text = "no-nameserver", f"no nameserver of this machine answers, so {host} can't be resolved"
        meaning = "The nameservers are down, or something drops the questions (UDP port 53)."
        advice = "Check the nameservers in /etc/resolv.conf, the way to them, and the firewalls on it."
    elif Outcome.FOUND in said:
        which = ", ".join(witness.nameserver for witness in witnesses if Outcome.FOUND in witness.outcomes)
        cause, text = "resolver-fails", f"{host} can't be resolved ({error.reason}), though {which} has its addresses"
        meaning = "The system's resolver gives up before it asks that nameserver, or doesn't ask it."
        advice = "Make all nameservers in /etc/resolv.conf answer alike; check the line hosts in /etc/nsswitch.conf."
    elif Outcome.NO_NAME in said:
        cause, text = "no-such-name", f"there is no name {host}"
        meaning = "The nameservers answer, and say that it doesn't exist."
        advice = "Check its spelling, the zone, and the search list in /etc/resolv.conf."
    elif said & {*UNABLE}:
        cause, text = "nameservers-fail", f"the nameservers can't say whether there is a name {host}"
        meaning = "They answer, but fail: often the servers of the zone don't answer them, or DNSSEC fails."
        advice = "See what the nameservers log; ask the servers of the zone with: dig +trace NAME."
    return Problem(Status.FAIL, cause, text, (f"the resolver: {error.reason}", *seen), meaning, advice, error.code)


def _silent(
    host: str,
    lookUps: Sequence[LookUp],
    witnesses: Sequence[Witness],
    configuration: ResolverConfiguration | None,
    seen: tuple[str, ...],
) -> Iterator[Problem]:
    """Yield what silent nameservers cost; one that can't be reached at all costs nothing."""
    silent = [number for number, witness in enumerate(witnesses) if witness.outcomes == {Outcome.SILENT}]
    if not (silent and configuration):
        return
    each = " and ".join(f"the {_ORDER[number]} nameserver {witnesses[number].nameserver}" for number in silent)
    verb = "do" if len(silent) > 1 else "does"
    if (0 in silent or configuration.rotates) and _isSlow(lookUps[:1]):
        yield Problem(
            Status.WARN,
            "nameserver-silent",
            f"{each} {verb} not answer; each look-up waits {configuration.timeout:g} s for it",
            (f"the look-up took {time(lookUps[0].seconds)}", *seen),
            "The resolver asks it first, and the next one only after that time. Programs that look names up are slow.",
            _TRY_RESOLV_CONF,
        )
    elif any(witness.isHeard for witness in witnesses):
        yield Problem(
            Status.NOTE,
            "nameserver-silent",
            f"{each} {verb} not answer",
            (f"the look-up took {time(lookUps[0].seconds)}", *seen),
            "It costs nothing while another is asked first, but it can't replace that one.",
            _TRY_RESOLV_CONF,
        )


def _oneKind(lookUps: Sequence[LookUp], witnesses: Sequence[Witness], seen: tuple[str, ...]) -> Iterator[Problem]:
    """Yield which nameservers give the addresses of one family, and fail for the other."""
    for witness in witnesses:
        found = [answer for answer in witness.answers if answer.outcome is Outcome.FOUND]
        failed = [
            answer
            for answer in witness.answers
            if answer.outcome not in (Outcome.FOUND, Outcome.NO_ADDRESS, Outcome.UNREACHABLE)
        ]
        if found and failed:
            lost, costs = failed[0], f", and a look-up takes {time(lookUps[0].seconds)}" if _isSlow(lookUps) else ""
            yield Problem(
                Status.WARN,
                "one-kind-fails",
                f"nameserver {witness.nameserver} {lost.outcome.value} when it is asked for {lost.kind}, "
                f"though it has {found[0].kind}{costs}",
                (f"the look-up took {time(lookUps[0].seconds)}", *seen),
                "Clients ask for both. Some wait for the missing answer, and some take the failure for the answer.",
                "Repair the nameserver, or the servers of the zone: of a name without such an address they have to "
                "answer that there is none (RFC 4074). Until then, -4 or -6 asks for one kind only.",
            )


def _slow(host: str, lookUps: Sequence[LookUp], witnesses: Sequence[Witness], seen: tuple[str, ...]) -> Problem:
    """Return whose fault a slow look-up is that no silent nameserver explains."""
    least = min(lookUp.seconds for lookUp in lookUps)
    took = (f"the look-up took {', then '.join(time(lookUp.seconds) for lookUp in lookUps)}", *seen)
    late = [witness for witness in witnesses[:1] if (witness.seconds or 0) >= least / 2]
    if late:
        return Problem(
            Status.WARN,
            "nameserver-slow",
            f"nameserver {late[0].nameserver} is slow: each look-up of {host} takes {time(least)}",
            took,
            "It takes as long when it is asked directly, so it doesn't cache the answer, or the way to it is bad.",
            "See why it is slow, or put a nearer one first in /etc/resolv.conf.",
        )
    return Problem(
        Status.WARN,
        "resolver-slow",
        f"each look-up of {host} takes {time(least)}"
        + (", though the nameservers answer at once" if any(witness.isHeard for witness in witnesses) else ""),
        took,
        "The system's resolver does something else first, and waits for it.",
        "See the line hosts in /etc/nsswitch.conf (mDNS, LDAP), and the search list in /etc/resolv.conf.",
    )


def _unable(witnesses: Sequence[Witness], seen: tuple[str, ...]) -> Iterator[Problem]:
    """Yield which nameservers fail, where another doesn't."""
    failures = {*UNABLE, Outcome.CLOSED}
    if all(witness.outcomes <= {*UNABLE, *UNHEARD} for witness in witnesses):
        return  # the system's resolver doesn't need them
    for witness in witnesses:
        failed = witness.outcomes & failures
        if failed and witness.outcomes <= {*UNABLE, *UNHEARD}:
            yield Problem(
                Status.NOTE,
                "nameserver-fails",
                f"nameserver {witness.nameserver} {next(iter(failed)).value}",
                seen,
                "Another one answers, so this one only takes time.",
                _TRY_RESOLV_CONF,
            )


def _disagree(heard: Sequence[Witness]) -> bool:
    """Return whether nameservers that are able to answer say different things of the same kind of address."""
    answers: dict[str, list[frozenset[str]]] = {}
    for witness in heard:
        for answer in witness.answers:
            isCut = answer.outcome is Outcome.FOUND and not answer.addresses
            if answer.outcome not in (*UNABLE, *UNHEARD) and not isCut:
                answers.setdefault(answer.kind, []).append(answer.addresses)
    return any(
        bool(first or second) and not first & second
        for found in answers.values()
        for number, first in enumerate(found)
        for second in found[number + 1 :]
    )
