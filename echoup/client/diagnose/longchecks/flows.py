"""The check `flows`: whether each of several equal paths is as good as the others."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from echoup.client.diagnose.amounts import percent, time
from echoup.client.diagnose.finding import Finding, Problem, Status, skipped
from echoup.client.diagnose.flowseries.binomial import Tally, lossy, slow
from echoup.client.diagnose.flowseries.datagrams import DatagramSeries
from echoup.client.diagnose.flowseries.series import FlowSeries
from echoup.client.diagnose.flowseries.streams import StreamSeries
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.exitcodes import ExitCode
from echoup.plurals import plural

NAMED = 8
"""Ports that a line names, at most; the figures have all."""

_MEANING = (
    "The network spreads connections over several equal paths (ECMP, link aggregation, a row of firewalls or "
    "balancers), chosen by addresses and ports, and one of them is {}. Most connections are fine, some never are."
)
_ADVICE = (
    "Trace the route from a good port and from a bad one (mtr --udp --localport PORT), and compare: where they part, "
    "look for a link with errors, or a member of a group that forwards nothing."
)


@dataclass(frozen=True)
class ProtocolFlows:
    """What was found over one protocol."""

    name: str
    tallies: Sequence[Tally]
    """The flows; the probes of both series together."""
    lossy: Collection[int] = ()
    """The ports of those that lost more than the others in both series."""
    slow: Collection[int] = ()
    """The ports of those that were slower than the others in both series."""

    @property
    def isAnswered(self) -> bool:
        """Whether there was any answer."""
        return any(tally.answered for tally in self.tallies)


async def check(path: PathUnderTest, tell: Tell) -> Finding:
    """Send equal probes from many source ports, over UDP and over TCP, and judge whether some differ."""
    kinds = [DatagramSeries] if path.isDatagram else [DatagramSeries, StreamSeries]
    return describe([await measure(kind(path, path.scope.flows), tell) for kind in kinds])


async def measure(series: FlowSeries, tell: Tell) -> ProtocolFlows:
    """Make a series of probes, and another one over the same flows where some of them differ from the others."""
    tell(f"probing {series.count} flows over {series.name}")
    try:
        first = await series.run()
        if not (lossy(first) or slow(first)):
            return ProtocolFlows(series.name, first)
        tell(f"probing {series.count} flows over {series.name} once more")
        second = await series.run()
    finally:
        series.close()
    both = [one.plus(other) for one, other in zip(first, second, strict=True)]
    return ProtocolFlows(series.name, both, lossy(first) & lossy(second), slow(first) & slow(second))


def describe(found: Sequence[ProtocolFlows]) -> Finding:
    """Return what was found over the protocols."""
    summaries, problems = [], []
    for flows in found:
        problems += (these := _problems(flows))
        summaries.append("; ".join(problem.text for problem in these) or _summary(flows))
    if not any(flows.isAnswered for flows in found):
        return skipped("; ".join(summaries))
    return Finding("; ".join(summaries), tuple(problems), {flows.name.lower(): _figures(flows) for flows in found})


def _problems(flows: ProtocolFlows) -> list[Problem]:
    """Return what is wrong with some of the flows."""
    bad = [tally for tally in flows.tallies if tally.port in flows.lossy]
    dead = [tally for tally in bad if not tally.answered]
    lossy = [tally for tally in bad if tally.answered]
    slow = [tally for tally in flows.tallies if tally.port in flows.slow and tally not in bad]
    others = f"the others lose {percent(_loss([tally for tally in flows.tallies if tally not in bad]), 1)}"
    problems = []
    if dead:
        text = f"{_some(dead, flows, 'is', 'are')} dead: nothing is answered from {_ports(dead)}"
        seen = (f"{sum(tally.sent for tally in dead)} probes from there, in two series: all lost; {others}",)
        meaning = _MEANING.format("dead")
        problems.append(Problem(Status.FAIL, "dead-flows", text, seen, meaning, _ADVICE, ExitCode.TIMED_OUT))
    if lossy:
        text = f"{_some(lossy, flows, 'loses', 'lose')} {percent(_loss(lossy))}: {_ports(lossy)}"
        lines = [f"port {each.port}: {each.lost} of {each.sent} probes lost, in two series" for each in lossy[:NAMED]]
        problems.append(Problem(Status.WARN, "lossy-flows", text, (*lines, others), _MEANING.format("lossy"), _ADVICE))
    if slow:
        usual = time(_latency([tally for tally in flows.tallies if tally not in slow]))
        text = f"{_some(slow, flows, 'takes', 'take')} {time(_latency(slow))}, the others {usual}: {_ports(slow)}"
        lines = [
            f"port {each.port}: {time(_latency([each]))}, at least {time(min(each.latencies))}" for each in slow[:NAMED]
        ]
        meaning = _MEANING.format("longer, or overloaded")
        problems.append(Problem(Status.WARN, "slow-flows", text, tuple(lines), meaning, _ADVICE))
    return [replace(each, isOfDatagrams=flows.name == DatagramSeries.name) for each in problems]


def _summary(flows: ProtocolFlows) -> str:
    """Return what was measured where no flow differs."""
    if not flows.isAnswered:
        return f"no right answer came over {flows.name}"
    loss = f"{percent(_loss(flows.tallies), 1)} lost" if _loss(flows.tallies) else "nothing lost"
    return f"{len(flows.tallies)} {flows.name} flows are alike: {loss}, {time(_latency(flows.tallies))}"


def _some(tallies: Sequence[Tally], flows: ProtocolFlows, one: str, several: str) -> str:
    """Return how many of the flows these are, and the verb for that number."""
    return f"{len(tallies)} of {len(flows.tallies)} {flows.name} flows {one if len(tallies) == 1 else several}"


def _ports(tallies: Sequence[Tally]) -> str:
    """Return the source ports in words."""
    ports = sorted(tally.port for tally in tallies)
    more = f" and {len(ports) - NAMED} more" if len(ports) > NAMED else ""
    return f"source {plural(len(ports), 'port')} {', '.join(map(str, ports[:NAMED]))}{more}"


def _loss(tallies: Sequence[Tally]) -> float:
    return sum(tally.lost for tally in tallies) / max(sum(tally.sent for tally in tallies), 1)


def _latency(tallies: Sequence[Tally]) -> float:
    """Return the median of their medians, in seconds; 0 without any."""
    return median([median(tally.latencies) for tally in tallies if tally.latencies] or [0])


def _figures(flows: ProtocolFlows) -> dict[str, Any] | None:
    if not flows.isAnswered:
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
                "isLossy": tally.port in flows.lossy,
                "isSlow": tally.port in flows.slow,
            }
            for tally in flows.tallies
        ],
    }
