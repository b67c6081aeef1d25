"""Flows that lose among others that don't, on a path of two hops, and the check `flows`.

FLOW_RUNS is how often a path on which no flow differs is probed: 100 for the rate of false alarms.
"""

import os
from pathlib import Path

import pytest

from echoup.client.diagnose.finding import Finding, Status
from echoup.client.diagnose.longchecks.flows import check
from echoup.client.diagnose.scope import Scope
from tests.support.diagnoses import diagnose, examine, servedNetwork
from tests.support.routednetwork import SERVER, SERVER6, whyNoRoutedNetwork

RUNS = int(os.environ.get("FLOW_RUNS", "2"))

WHY_NOT = whyNoRoutedNetwork()

HALF = "numgen random mod 2 0 drop"

EQUAL = [f"iifname c1 meta l4proto {protocol} numgen random mod 20 0 drop" for protocol in ("udp", "tcp")]
"""A loss of 5 % on all flows."""

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


def find(target: str, flows: int = 32) -> Finding:
    """Return what the check finds."""
    return examine(check, target, Scope(flows=flows))


def named(found: Finding, protocol: str) -> list[int]:
    """Return the ports of the flows that are lossy."""
    return [flow["port"] for flow in found.figures[protocol]["flows"] if flow["isLossy"]]


@pytest.mark.slow
def test_lossyFlowIsFoundAmong32(tmp_path: Path) -> None:
    """One flow of 32 that loses half is found, on the way there and back, over UDP and TCP, IPv4 and IPv6."""
    with servedNetwork(tmp_path) as (network, _):
        network.router.filter(f"iifname c1 udp sport and 31 == 3 {HALF}", f"iifname s1 tcp dport and 31 == 5 {HALF}")
        for target in (SERVER, f"[{SERVER6}]:8081"):
            found = find(target)
            assert [problem.cause for problem in found.problems] == ["lossy-flows"] * 2
            assert found.status is Status.WARN
            assert [port % 32 for port in named(found, "udp")] == [3]
            assert [port % 32 for port in named(found, "tcp")] == [5]


@pytest.mark.slow
def test_deadFlows(tmp_path: Path) -> None:
    """The flows of a path that is dead are a failure, and their ports are named."""
    with servedNetwork(tmp_path) as (network, _):
        rules = [f"iifname c1 {protocol} sport and 3 == 1 drop" for protocol in ("udp", "tcp")]
        network.router.filter(*rules)
        done = diagnose(SERVER, "--only=flows", "--flows=8")
        assert (done.code, done.causes("flows")) == (5, ["dead-flows"] * 2)
        for problem in done.check("flows")["problems"]:
            assert problem["text"].startswith("2 of 8 ")


@pytest.mark.slow
@pytest.mark.parametrize("rules", [[], EQUAL], ids=["healthy", "equal loss"])
def test_falseAlarmsAreRare(tmp_path: Path, rules: list[str]) -> None:
    """A flow is named in at most 1 of 100 runs where none differs: without losses, and where all lose 5 %."""
    with servedNetwork(tmp_path) as (network, _):
        if rules:
            network.router.filter(*rules)
        alarms = [found.summary for found in (find(SERVER) for _ in range(RUNS)) if found.problems]
        assert len(alarms) <= RUNS / 100, alarms
