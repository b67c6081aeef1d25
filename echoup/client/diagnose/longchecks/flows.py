"""The check `flows`: whether each of several equal paths is as good as the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from echoup.client.diagnose.finding import Finding, Problem, Status, skipped
from echoup.client.diagnose.flowseries.binomial import Tally, lossy, slow
from echoup.client.diagnose.flowseries.datagrams import DatagramSeries
from echoup.client.diagnose.flowseries.series import Series
from echoup.client.diagnose.flowseries.streams import StreamSeries
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.exitcodes import ExitCode

NAMED = 8
"""Ports that a line names, at most; the figures have all."""

_MEANING = (
    "The network spreads connections over several equal paths (ECMP, link aggregation, a row of firewalls or "
    "balancers), chosen by addresses and ports, and one of them is {what}. Most connections are fine, some never are."
)
_ADVICE = (
    "Trace the route from a good port and from a bad one (mtr --udp --localport PORT), and compare: where they part, "
    "look for a link with errors, or a member of a group that forwards nothing."
)


@dataclass(frozen=True)
class ProtocolFlows:
    """What was found over one protocol."""

    name: str
    why: str = ""
    """Why nothing was measured; empty if it was."""
    tallies: Sequence[Tally] = ()
    """The flows; the probes of both series together."""
    lossy: Sequence[Tally] = ()
    """Those that lost more than the others in both series."""
    slow: Sequence[Tally] = ()
    """Those that were slower than the others in both series."""


async def check(path: PathUnderTest, tell: Tell) -> Finding:
    """Send equal probes from many source ports, over UDP and over TCP, and judge whether some differ."""
    kinds = [DatagramSeries] if path.isDatagram else [DatagramSeries, StreamSeries]
    found = [await measure(kind(path, path.scope.flows), tell) for kind in kinds]
    return describe(found)


async def measure(series: Series, tell: Tell) -> ProtocolFlows:
    """Make a series of probes, and another one over the same flows where some of them differ from the others."""
    tell(f"probing {series.count} flows over {series.name}")
    try:
        if why := await series.open():
            return ProtocolFlows(series.name, why)
        first = await series.run()
        if not (lossy(first) or slow(first)):
            return ProtocolFlows(series.name, tallies=first)
        tell(f"probing {series.count} flows over {series.name} once more")
        second = await series.run()
    finally:
        series.close()
    both = [one.plus(other) for one, other in zip(first, second, strict=True)]

    def confirmed(judge: Callable[[Sequence[Tally]], Sequence[Tally]]) -> list[Tally]:
        again = {id(tally) for tally in judge(second)}
        known = {id(tally) for tally in judge(first)}
        return [
            tally
            for tally, one, other in zip(both, first, second, strict=True)
            if id(one) in known and id(other) in again
        ]

    return ProtocolFlows(series.name, tallies=both, lossy=confirmed(lossy), slow=confirmed(slow))


def describe(found: Sequence[ProtocolFlows]) -> Finding:
    """Return what was found over the protocols."""
    measured = [each for each in found if not each.why]
    if not measured:
        return skipped("; ".join(each.why for each in found))
    problems = [problem for each in measured for problem in _problems(each)]
    summary = "; ".join(each.why or _summary(each) for each in found)
    return Finding(summary, tuple(problems), {each.name.lower(): _figures(each) for each in found})


def _problems(flows: ProtocolFlows) -> list[Problem]:
    """Return what is wrong with some of the flows."""
    count, name = len(flows.tallies), flows.name
    dead = [tally for tally in flows.lossy if not tally.isAnswered]
    lossy = [tally for tally in flows.lossy if tally.isAnswered]
    rest = [tally for tally in flows.tallies if tally not in flows.lossy]
    others = f"the others lose {_loss(rest):.1%}"
    problems = []
    if dead:
        are = "is" if len(dead) == 1 else "are"
        text = f"{len(dead)} of {count} {name} flows {are} dead: nothing is answered from {_ports(dead)}"
        seen = [f"{sum(tally.sent for tally in dead)} probes from there, in two series: all lost; {others}"]
        meaning = _MEANING.format(what="dead")
        problems.append(Problem(Status.FAIL, "dead-flows", text, tuple(seen), meaning, _ADVICE, ExitCode.TIMED_OUT))
    if lossy:
        text = f"{len(lossy)} of {count} {name} flows {_verb('lose', lossy)} {_loss(lossy):.0%}: {_ports(lossy)}"
        seen = [
            f"port {tally.port}: {tally.lost} of {tally.sent} probes lost, in two series" for tally in lossy[:NAMED]
        ]
        meaning = _MEANING.format(what="lossy")
        problems.append(Problem(Status.WARN, "lossy-flows", text, (*seen, others), meaning, _ADVICE))
    if slow := [tally for tally in flows.slow if tally not in flows.lossy]:
        usual = _latency([tally for tally in flows.tallies if tally not in slow])
        slower = f"{len(slow)} of {count} {name} flows {_verb('take', slow)} {_ms(_latency(slow))}"
        text = f"{slower}, the others {_ms(usual)}: {_ports(slow)}"
        seen = [
            f"port {each.port}: {_ms(_latency([each]))}, at least {_ms(min(each.latencies))}" for each in slow[:NAMED]
        ]
        meaning = _MEANING.format(what="longer, or overloaded")
        problems.append(Problem(Status.WARN, "slow-flows", text, tuple(seen), meaning, _ADVICE))
    return problems


def _summary(flows: ProtocolFlows) -> str:
    if problems := _problems(flows):
        return "; ".join(problem.text for problem in problems)
    loss = f"{_loss(flows.tallies):.1%} lost" if _loss(flows.tallies) else "nothing lost"
    return f"{len(flows.tallies)} {flows.name} flows are alike: {loss}, {_ms(_latency(flows.tallies))}"


def _verb(word: str, tallies: Sequence[Tally]) -> str:
    return f"{word}s" if len(tallies) == 1 else word


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def _ports(tallies: Sequence[Tally]) -> str:
    """Return the source ports in words."""
    ports = sorted(tally.port for tally in tallies)
    named = ", ".join(map(str, ports[:NAMED]))
    more = f" and {len(ports) - NAMED} more" if len(ports) > NAMED else ""
    return f"source port{'s' if len(ports) > 1 else ''} {named}{more}"


def _loss(tallies: Sequence[Tally]) -> float:
    return sum(tally.lost for tally in tallies) / max(sum(tally.sent for tally in tallies), 1)


def _latency(tallies: Sequence[Tally]) -> float:
    """Return the median of their medians, in seconds; 0 without any."""
    return median([median(tally.latencies) for tally in tallies if tally.latencies] or [0])


def _figures(flows: ProtocolFlows) -> dict[str, Any] | None:
    if flows.why:
        return None
    return {
        "loss": _loss(flows.tallies),
        "latency": _latency(flows.tallies),
        "flows": [
            {
                "port": tally.port,
                "sent": tally.sent,
                "lost": tally.lost,
                "latency": median(tally.latencies) if tally.latencies else None,
                "isLossy": tally in flows.lossy,
                "isSlow": tally in flows.slow,
            }
            for tally in flows.tallies
        ],
    }
