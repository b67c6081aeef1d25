"""The check `reach`: whether each address accepts connections, how fast, and whether a SYN has to be sent again."""

from collections.abc import Sequence

from twisted.internet.task import deferLater

from echoup.client.connect.resolve import resolve
from echoup.client.connect.trace import Step, Trace
from echoup.client.diagnose.amounts import time
from echoup.client.diagnose.attempts import AddressAttempts, ConnectAttempt, Reach, judgeReach
from echoup.client.diagnose.finding import Finding, Problem, worst
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.diagnose.together import together
from echoup.client.exitcodes import PathError
from echoup.plurals import counted, listed

CONNECTS = 5
"""How many connections are made to the address that is used, to see how many of them need a second SYN."""

CONFIRMING = 5
"""How many more are made if one of them does, or gets no answer."""

MOST_ADDRESSES = 16
"""How many addresses are tried, at most."""

DISTANCE = 0.02
"""Seconds between the beginnings of two connections to one address, so that they don't fill a short accept queue."""

BREATH = 0.2
"""Seconds before a failed connection is made again, such as to a server that is just restarted."""


async def check(path: PathUnderTest, tell: Tell) -> Finding:
    """Connect to each address, and several times to the one that is used."""
    hosts = path.addresses or await resolve(
        path.reactor, path.host, path.target.family, path.scope.timeout, Trace(path.clock.seconds), path.clock
    )
    path.addresses = path.addresses or hosts
    tell(f"connecting to {listed(hosts)}")
    found = await together(_connect(path, AddressAttempts(host), 1) for host in hosts[:MOST_ADDRESSES])
    used = next((each.address for each in found if each.working), None)
    found = await together(_connect(path, each, _more(each, each.address == used)) for each in found)
    if any(each.isSuspect for each in found):
        tell("connecting again, to tell a fault from a lost packet")
        found = await together(_connect(path, each, CONFIRMING if each.isSuspect else 0) for each in found)
    path.address = next((each.address for each in found if each.working), path.address)
    if not any(each.working for each in found):
        path.obstacle = "no connection"
    problems = tuple(judgeReach(found, path.scope.timeout))
    return Finding(
        _summarize(found, problems, len(hosts) - len(found)),
        problems,
        {"addresses": [each.figures() for each in found]},
    )


def _more(each: AddressAttempts, isUsed: bool) -> int:
    """Return how many more connections to make to an address after the first."""
    if each.working:
        return CONNECTS - 1 if isUsed or each.isSuspect else 0
    return 0 if each.reach is Reach.NOT_SENT else 1


async def _connect(path: PathUnderTest, before: AddressAttempts, count: int) -> AddressAttempts:
    """Make `count` more connections to an address at nearly the same time; return all attempts."""
    first = BREATH if before.attempts and not before.working else 0
    made = await together(_attempt(path, before.address, first + number * DISTANCE) for number in range(count))
    return AddressAttempts(before.address, (*before.attempts, *made))


async def _attempt(path: PathUnderTest, address: str, delay: float) -> ConnectAttempt:
    """Connect to `address` after `delay` seconds, without TLS, and close the connection."""
    clock = path.clock
    if delay:
        await deferLater(clock, delay)
    trace, pauses = Trace(clock.seconds), clock.pauses
    error: PathError | None = None
    try:
        async with path.connection(address, waits=False, trace=trace, security=None):
            pass
    except PathError as failure:
        error = failure
    (phase,) = (phase for phase in trace.phases if phase.step is Step.CONNECT)
    return ConnectAttempt(phase.seconds or 0, phase.tcp, clock.pauses > pauses, error)


def _summarize(found: Sequence[AddressAttempts], problems: Sequence[Problem], untried: int) -> str:
    """Return the outcome in one line."""
    if problems:
        return worst(problems).text
    told = [
        f"{each.address} in {time(each.seconds)}" + (f" (rtt {time(each.rtt)})" if each.rtt else "")
        for each in found
        if each.seconds is not None
    ]
    text = f"connected to {listed(told)}"
    if lost := sum(each.resent for each in found):
        made = counted(sum(len(each.attempts) for each in found), "connection")
        text += f"; the SYN was sent again on {lost} of {made}"
    if unsent := [each.address for each in found if each.reach is Reach.NOT_SENT]:
        text += f"; this machine has no way to {listed(unsent)}"
    if untried:
        text += f"; {untried} of the addresses were not tried"
    return text
