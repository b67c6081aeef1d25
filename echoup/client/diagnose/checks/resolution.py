"""The check `resolve`: from the name to its addresses, and which nameserver is at fault where that is slow or fails."""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from echoup.addresses import encodeHost
from echoup.client.connect.resolve import Family, resolve
from echoup.client.connect.trace import Trace
from echoup.client.diagnose.amounts import time
from echoup.client.diagnose.finding import Finding, Problem
from echoup.client.diagnose.nameservers.answer import Outcome, Witness
from echoup.client.diagnose.nameservers.configuration import ResolverConfiguration, isInHosts, readConfiguration
from echoup.client.diagnose.nameservers.evidence import LookUp, isOutvoted, judge
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.diagnose.together import together
from echoup.client.exitcodes import ExitCode, PathError
from echoup.plurals import counted

REPEATS = 2
"""How many times a slow look-up is repeated, to tell a slow resolver from a cold cache."""


async def check(path: PathUnderTest, tell: Tell) -> Finding:
    """Look the name up, and ask each nameserver for it by itself, at the same time."""
    host = path.host
    configuration: ResolverConfiguration | None = None
    witnesses: list[Witness] = []
    if _isAddress(host) or isInHosts(host):
        lookUps = [await _lookUp(path, path.scope.timeout)]
    else:
        tell(f"looking {host} up")
        configuration = readConfiguration()
        lookUp, witnesses = await _askAll(path, configuration)
        lookUps = [lookUp]
        if isOutvoted(witnesses):
            later = await _askEach(path, configuration)
            witnesses = [first.mergedWith(second) for first, second in zip(witnesses, later, strict=True)]
    # A silent nameserver, which was asked several times, explains a slow look-up.
    isExplained = any(witness.outcomes == {Outcome.SILENT} for witness in witnesses[:1])
    while lookUps[-1].isSlow and not lookUps[0].error and not isExplained and len(lookUps) <= REPEATS:
        tell("repeating a slow look-up")
        lookUps.append(await _lookUp(path, path.scope.timeout))
    problems = judge(host, lookUps, witnesses, configuration)
    path.addresses = lookUps[0].addresses
    path.address = path.addresses[0] if path.addresses else None
    if not path.addresses:
        path.obstacle = f"{host} has no address"
    figures = {
        "name": host,
        "addresses": path.addresses,
        "seconds": [lookUp.seconds for lookUp in lookUps],
        "nameservers": [_figures(witness) for witness in witnesses],
    }
    return Finding(_summarize(host, lookUps, witnesses, problems), problems, figures)


def _isAddress(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


async def _lookUp(path: PathUnderTest, timeout: float) -> LookUp:
    """Ask the system's resolver, as every client does."""
    clock = path.clock
    began, pauses = clock.seconds(), clock.pauses
    found: list[str] = []
    failure: PathError | None = None
    try:
        found = await resolve(path.reactor, path.host, path.target.family, timeout, Trace(clock.seconds), clock)
    except PathError as error:
        failure = error
    return LookUp(clock.seconds() - began, found, failure, isPaused=clock.pauses > pauses)


async def _askAll(path: PathUnderTest, configuration: ResolverConfiguration) -> tuple[LookUp, list[Witness]]:
    """Ask the system's resolver, and each nameserver by itself, at the same time."""
    # The resolver comes to the second nameserver only after its own timeout, which is as long as ours.
    lookUp = Deferred.fromCoroutine(_lookUp(path, path.scope.timeout + configuration.timeout))
    try:
        witnesses = await _askEach(path, configuration)
        if not lookUp.called and not any(witness.isHeard for witness in witnesses):
            why = f"timed out after {path.scope.timeout:g} s"
            return LookUp(path.scope.timeout, [], PathError(ExitCode.TIMED_OUT, why)), witnesses
        return await lookUp, witnesses
    finally:
        lookUp.addErrback(lambda failure: failure.trap(CancelledError) and None)
        lookUp.cancel()


async def _askEach(path: PathUnderTest, configuration: ResolverConfiguration) -> list[Witness]:
    """Ask each nameserver at the same time."""
    return await together(_question(path, each, configuration) for each in configuration.nameservers)


async def _question(path: PathUnderTest, nameserver: str, configuration: ResolverConfiguration) -> Witness:
    """Ask one nameserver for each of the names that the target's may stand for, until one has an address."""
    # Twisted's DNS costs a tenth of a second to load, and a target that is an address doesn't need it.
    from echoup.client.diagnose.nameservers.question import ask

    family = path.target.family
    kinds = [kind for kind, without in (("A", Family.IPV6), ("AAAA", Family.IPV4)) if family is not without]
    witness = Witness(nameserver, path.host, ())
    try:
        names = [*configuration.candidates(encodeHost(path.host))]
    except UnicodeError:  # the look-up says so
        return witness
    for name in names:
        answers = await ask(path.reactor, path.clock, nameserver, name, kinds, path.scope.timeout)
        asked = Witness(nameserver, name, tuple(answers))
        if not witness.answers or asked.addresses or name == names[0]:
            witness = asked
        if asked.addresses or not asked.isHeard:
            break
    return witness


def _figures(witness: Witness) -> dict[str, Any]:
    answers = {
        answer.kind: {
            "outcome": answer.outcome.name.lower(),
            "seconds": answer.seconds,
            "addresses": sorted(answer.addresses),
        }
        for answer in witness.answers
    }
    return {"nameserver": witness.nameserver, "name": witness.name, "answers": answers}


def _summarize(host: str, lookUps: Sequence[LookUp], witnesses: Sequence[Witness], problems: Sequence[Problem]) -> str:
    """Return the outcome in one line."""
    if problems:
        return max(problems, key=lambda problem: problem.status.rank).text
    addresses = lookUps[0].addresses
    if addresses == [host]:
        return f"{host} is an address, nothing to look up"
    found = f"{host} has {len(addresses)} {'address' if len(addresses) == 1 else 'addresses'}"
    took = f"looked up in {time(lookUps[0].seconds)}"
    if len(lookUps) > 1:
        took += f" at first, then in {time(lookUps[-1].seconds)}: a cache was cold"
    heard = [witness for witness in witnesses if witness.isHeard]
    if heard:
        slowest = max(witness.seconds or 0 for witness in heard)
        took += f"; {counted(len(heard), 'nameserver')} in {time(slowest)}"
    elif not witnesses:
        took += " in /etc/hosts"
    return f"{found} ({', '.join(addresses)}), {took}"
