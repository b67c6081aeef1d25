"""Packets that are too large for a path of two hops, and the check `mtu`."""

from pathlib import Path

import pytest

from echoup.client.diagnose.checks.packetsize import check
from echoup.client.diagnose.finding import Finding, Status
from echoup.client.exitcodes import ExitCode
from tests.support.checks import alike, causesOf, find
from tests.support.diagnoses import servedNetwork
from tests.support.routednetwork import CLIENT, CLIENT6, SERVER, SERVER6, RoutedNetwork, whyNoRoutedNetwork

WHY_NOT = whyNoRoutedNetwork()

TARGETS = {SERVER: 1448, f"[{SERVER6}]:8081": 1428}
"""The server's addresses, and how much of a packet of 1500 bytes TCP can fill."""

THERE, BACK = "iifname c1 meta length > 1300 drop", "iifname s1 meta length > 1300 drop"

TIMEOUT = 2
"""A black hole is named after a timeout and a few seconds."""


def passed(found: Finding) -> tuple[int, int]:
    """Return the sizes of the largest packets that passed, over TCP and UDP."""
    tcp, udp = (found.figures[protocol] for protocol in ("tcp", "udp"))
    return (tcp["largest"] or tcp["sendMSS"]) + tcp["headers"], udp["packet"]


@pytest.mark.slow
@pytest.mark.parametrize("target", alike(*TARGETS))
def test_blackHolesAreToldApart(network: RoutedNetwork, target: str) -> None:
    """What drops large packets without a word is found, the way on which it does, and the largest that passes."""
    healthy = find(check, target)
    assert (causesOf(healthy), passed(healthy)) == ([], (1500, 1500))

    with network.router.filtered(THERE):
        there = find(check, target, timeout=TIMEOUT)
    assert (causesOf(there), passed(there)) == (["mtu-black-hole"], (1300, 1300))
    assert (there.status, there.problems[0].code) == (Status.FAIL, ExitCode.TIMED_OUT)
    hanging = [each for each in there.figures["tcp"]["requests"] if each["fate"] != "passed"]
    assert hanging[0]["size"] == TARGETS[target]
    assert all(each["unacknowledged"] and each["lost"] and each["backoff"] for each in hanging)

    with network.router.filtered(BACK):
        back = find(check, target, timeout=TIMEOUT)
    assert (causesOf(back), passed(back)) == (["mtu-black-hole-back"], (1300, 1300))
    assert any("the last, short segment" in line for line in back.problems[0].seen)


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
@pytest.mark.slow
@pytest.mark.parametrize("target", alike(*TARGETS))
def test_smallerMTUIsHarmlessWhereRoutersSaySo(tmp_path: Path, target: str) -> None:
    """A smaller MTU on the way is no fault where ICMP says so, and a black hole where that is filtered."""
    with servedNetwork(tmp_path) as (network, _):
        network.router.run(*(f"ip route add {server} dev s1 mtu 1300" for server in (SERVER, SERVER6)))
        network.router.run(*(f"ip route add {client} dev c1 mtu 1300" for client in (CLIENT, CLIENT6)))
        silence = ("icmp type destination-unreachable drop", "icmpv6 type packet-too-big drop")
        with network.router.filtered(*silence, hook="output"):
            found = find(check, target, timeout=TIMEOUT)
        assert (causesOf(found), passed(found)) == (["mtu-black-hole"], (1300, 1300))

        for _ in range(2):  # the second time, both ends know
            found = find(check, target, timeout=TIMEOUT)
            assert (causesOf(found), passed(found)) == ([], (1300, 1300))
            assert found.figures["udp"]["isAnnounced"]


def test_clampedMSSIsANote(network: RoutedNetwork) -> None:
    """An MSS that is changed on the way is a note, with what UDP can do beside it."""
    with network.router.filtered("tcp option maxseg size set 1000"):
        for target in alike(*TARGETS):
            found = find(check, target)
            assert (found.status, causesOf(found)) == (Status.NOTE, ["mss-clamped"])
            assert found.figures["tcp"]["sendMSS"] == 988
            assert found.figures["udp"]["packet"] == 1500


@pytest.mark.slow
def test_datagramsAlone(network: RoutedNetwork) -> None:
    """A target of UDP has only datagrams; they vanish silently, or not at all, or there is no answer."""
    target = f"udp:{SERVER}"
    assert not find(check, target).problems
    with network.router.filtered(THERE):
        found = find(check, target, timeout=TIMEOUT)
    assert (causesOf(found), found.status, found.figures["udp"]["packet"]) == (["mtu-silent"], Status.WARN, 1300)
    with network.router.filtered("udp dport 8081 drop"):
        found = find(check, target, timeout=TIMEOUT)
        assert (found.isSkipped, found.summary) == (True, "UDP isn't answered")
        found = find(check, SERVER)
        assert not found.problems
        assert found.summary.endswith("; UDP isn't answered")


@pytest.mark.slow
@pytest.mark.parametrize("rule", alike(THERE, BACK))
def test_blackHoleThatTCPGetsAround(network: RoutedNetwork, rule: str) -> None:
    """A kernel that finds a smaller size after some seconds hides a black hole; that is a warning."""
    ends = network.client, network.server
    for node in ends:
        node.set(net__ipv4__tcp_mtu_probing=1)
    try:
        with network.router.filtered(rule):
            found = find(check, SERVER, timeout=10)
    finally:
        for node in ends:
            node.set(net__ipv4__tcp_mtu_probing=0)
    assert (causesOf(found), found.status, passed(found)[0]) == (["mtu-recovered"], Status.WARN, 1300)
    assert ("back from the server" in found.problems[0].text) == (rule is BACK)


@pytest.mark.slow
def test_blackHoleUnderTLS(network: RoutedNetwork) -> None:
    """With TLS the sizes are about right."""
    target = f"tls:{SERVER}:8082"
    assert not find(check, target).problems
    with network.router.filtered(THERE):
        found = find(check, target, timeout=TIMEOUT)
    assert causesOf(found) == ["mtu-black-hole"]
    assert 1270 <= found.figures["tcp"]["largest"] + 22 + found.figures["tcp"]["headers"] <= 1300


@pytest.mark.slow
def test_handshakeInABlackHole(network: RoutedNetwork) -> None:
    """A certificate of several segments doesn't come back through a black hole, and that is what is said."""
    target = f"tls:{SERVER}:8083"
    assert not find(check, target).problems
    with network.router.filtered(BACK):
        found = find(check, target, timeout=TIMEOUT)
    assert (causesOf(found), found.status) == (["mtu-black-hole-back"], Status.FAIL)
    assert found.summary.startswith("the TLS handshake hangs")
