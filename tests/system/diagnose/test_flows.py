"""Flows that lose among others that don't, on a path of two hops, and the check `flows`."""

import pytest

from echoup.client.diagnose.finding import Finding, Status
from echoup.client.diagnose.flowseries import series
from echoup.client.diagnose.longchecks import flows
from echoup.client.exitcodes import ExitCode
from tests.support.addresses import randomPort
from tests.support.checks import RUNS, alike, causesOf, find
from tests.support.routednetwork import SERVER, SERVER6, RoutedNetwork

LOSSY = (
    "iifname c1 udp sport and 31 == 3 numgen random mod 2 0 drop",
    "iifname s1 tcp dport and 31 == 5 numgen inc mod 2 0 drop",
)
"""Half of what one flow sends, and every second packet that another gets: TCP waits long after several in a row."""

EQUAL = [f"iifname c1 meta l4proto {protocol} numgen random mod 20 0 drop" for protocol in ("udp", "tcp")]
"""A loss of 5 % on all flows."""


def named(found: Finding, protocol: str) -> list[int]:
    """Return the ports of the flows that are lossy."""
    return [flow["port"] for flow in found.figures[protocol]["flows"] if flow["isLossy"]]


@pytest.mark.slow
@pytest.mark.parametrize("target", alike(SERVER, f"[{SERVER6}]:8081"))
def test_lossyFlowIsFoundAmong32(network: RoutedNetwork, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    """One flow of 32 that loses half is found, on the way there and back, over UDP and TCP."""
    # Ports that don't wrap around, so each remainder by 32 is that of one flow.
    monkeypatch.setattr(series, "randrange", lambda *_: randomPort())
    with network.router.filtered(*LOSSY):
        found = find(flows.check, target, flows=32)
    assert causesOf(found) == ["lossy-flows"] * 2
    assert found.status is Status.WARN
    assert [port % 32 for port in named(found, "udp")] == [3]
    assert [port % 32 for port in named(found, "tcp")] == [5]


@pytest.mark.slow
def test_deadFlows(network: RoutedNetwork) -> None:
    """The flows of a path that is dead are a failure, and are counted."""
    with network.router.filtered(*(f"iifname c1 {protocol} sport and 3 == 1 drop" for protocol in ("udp", "tcp"))):
        found = find(flows.check, SERVER, flows=8)
    assert causesOf(found) == ["dead-flows"] * 2
    for problem in found.problems:
        assert problem.text.startswith("2 of 8 ")
        assert problem.code is ExitCode.TIMED_OUT


@pytest.mark.slow
@pytest.mark.parametrize("rules", alike([], EQUAL))
def test_falseAlarmsAreRare(network: RoutedNetwork, rules: list[str]) -> None:
    """A flow is named in at most 1 of 100 runs where none differs: without losses, and where all lose 5 %."""
    runs = 2 * RUNS if RUNS > 1 else 1
    with network.router.filtered(*rules):
        alarms = [
            found.summary for found in (find(flows.check, SERVER, flows=32) for _ in range(runs)) if found.problems
        ]
    assert len(alarms) <= runs / 100, alarms
