"""The check `resolve`: from the name to its addresses, and which nameserver is at fault where that is slow or fails."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from echoup.addresses import encodeHost
from echoup.client.connect.resolve import Family, resolve, versionOf
from echoup.client.connect.trace import Trace
from echoup.client.diagnose.amounts import time
from echoup.client.diagnose.finding import Finding, Problem, worst
from echoup.client.diagnose.nameservers.answers import DNSResult, NameserverAnswers
from echoup.client.diagnose.nameservers.configuration import ResolverConfiguration, isInHosts
from echoup.client.diagnose.nameservers.judgement import LookUp, isDoubtful, judge
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.diagnose.together import together
from echoup.client.exitcodes import ExitCode, PathError
from echoup.plurals import counted, listed

REPEATS = 2
"""How many times a slow look-up is repeated, to tell a slow resolver from a cold cache."""


async def check(path: PathUnderTest, tell: Tell) -> Finding:
    """Look the name up, and ask each nameserver for it by itself, at the same time."""
    host = path.host
    configuration = ResolverConfiguration.read()
    names: list[str] = []
    if not (versionOf(host) or isInHosts(host)):
        with suppress(UnicodeError):  # the look-up says so
            names = [*configuration.candidates(encodeHost(host))]
    tell(f"looking {host} up")
    lookUp, found = await _askAll(path, configuration, names)
    lookUps = [lookUp]
    if isDoubtful(found):
        later = await _askEach(path, configuration, names)
        found = [first.mergedWith(second) for first, second in zip(found, later, strict=True)]
    # A silent nameserver, which was asked several times, explains a slow look-up.
    isExplained = any(each.results == {DNSResult.SILENT} for each in found[:1])
    while lookUps[-1].isSlow and not lookUp.error and not isExplained and len(lookUps) <= REPEATS:
        tell("repeating a slow look-up")
        lookUps.append(await _lookUp(path, path.scope.timeout))
    path.addresses = lookUp.addresses
    path.address = next(iter(path.addresses), None)
    if not path.addresses:
        path.obstacle = f"{host} has no address"
    problems = judge(host, lookUps, found, configuration.timeout)
    figures = {
        "name": host,
        "addresses": path.addresses,
        "seconds": [each.seconds for each in lookUps],
        "nameservers": [_figures(each) for each in found],
    }
    return Finding(_summarize(host, lookUps, found, problems), problems, figures)


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


async def _askAll(
    path: PathUnderTest, configuration: ResolverConfiguration, names: Sequence[str]
) -> tuple[LookUp, list[NameserverAnswers]]:
    """Ask the system's resolver, and each nameserver by itself, at the same time."""
    if not names:
        return await _lookUp(path, path.scope.timeout), []
    # The resolver comes to the second nameserver only after its own timeout, which is as long as ours.
    lookUp = Deferred.fromCoroutine(_lookUp(path, path.scope.timeout + configuration.timeout))
    try:
        found = await _askEach(path, configuration, names)
        if not lookUp.called and not any(each.isHeard for each in found):
            why = f"timed out after {path.scope.timeout:g} s"
            return LookUp(path.scope.timeout, [], PathError(ExitCode.TIMED_OUT, why)), found
        return await lookUp, found
    finally:
        lookUp.addErrback(lambda failure: failure.trap(CancelledError) and None)
        lookUp.cancel()


async def _askEach(
    path: PathUnderTest, configuration: ResolverConfiguration, names: Sequence[str]
) -> list[NameserverAnswers]:
    """Ask each nameserver at the same time."""
    return await together(_askOne(path, each, names) for each in configuration.nameservers)


async def _askOne(path: PathUnderTest, nameserver: str, names: Sequence[str]) -> NameserverAnswers:
    """Ask one nameserver for each of `names`, until one has an address; return what it says of that, or of the first.

    It doesn't get another question where it hasn't answered one.
    """
    # Twisted's DNS costs a tenth of a second to load, and a target that is an address doesn't need it.
    from echoup.client.diagnose.nameservers.query import ask

    family = path.target.family
    kinds = [kind for kind, without in (("A", Family.IPV6), ("AAAA", Family.IPV4)) if family is not without]
    asked: list[NameserverAnswers] = []
    for name in names:
        answers = await ask(path.reactor, path.clock, nameserver, name, kinds, path.scope.timeout)
        asked.append(NameserverAnswers(nameserver, name, tuple(answers)))
        if asked[-1].addresses:
            return asked[-1]
        if not asked[-1].isHeard:
            break
    return asked[0]


def _figures(found: NameserverAnswers) -> dict[str, Any]:
    answers = {
        answer.kind: {
            "outcome": answer.result.name.lower(),
            "seconds": answer.seconds,
            "addresses": sorted(answer.addresses),
        }
        for answer in found.answers
    }
    return {"nameserver": found.nameserver, "name": found.name, "answers": answers}


def _summarize(
    host: str, lookUps: Sequence[LookUp], found: Sequence[NameserverAnswers], problems: Sequence[Problem]
) -> str:
    """Return the outcome in one line."""
    if problems:
        return worst(problems).text
    addresses = lookUps[0].addresses
    if addresses == [host]:
        return f"{host} is an address, nothing to look up"
    took = f"looked up in {time(lookUps[0].seconds)}"
    if len(lookUps) > 1:
        took += f" at first, then in {time(lookUps[-1].seconds)}: a cache was cold"
    if heard := [each.seconds or 0 for each in found if each.isHeard]:
        took += f"; {counted(len(heard), 'nameserver')} in {time(max(heard))}"
    elif not found:
        took += " in /etc/hosts"
    count = f"{len(addresses)} {'address' if len(addresses) == 1 else 'addresses'}"
    return f"{host} has {count} ({listed(addresses)}), {took}"
