"""Packets that are too large for a path of two hops, and the check `mtu`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from echoup.client.diagnose.checks.packetsize import check
from echoup.client.diagnose.finding import Finding, Status
from echoup.client.diagnose.scope import Scope
from tests.support.authorities import Certificates
from tests.support.diagnoses import diagnose, examine, servedNetwork
from tests.support.routednetwork import CLIENT, CLIENT6, SERVER, SERVER6, Node, whyNoRoutedNetwork

WHY_NOT = whyNoRoutedNetwork()

TARGETS = {SERVER: 1448, f"[{SERVER6}]:8081": 1428}
"""The server's addresses, and how much of a packet of 1500 bytes TCP can fill."""

THERE, BACK = "iifname c1 meta length > 1300 drop", "iifname s1 meta length > 1300 drop"

SCOPE = Scope(timeout=2)
"""A black hole is named after a timeout and a few seconds."""

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


@contextmanager
def filtered(router: Node, *rules: str, hook: str = "forward") -> Iterator[None]:
    """Add `rules` to a router for a while."""
    router.filter(*rules, hook=hook)
    yield
    router.run("nft delete table inet faults")


def causes(found: Finding) -> list[str]:
    """Return the causes of its problems."""
    return [problem.cause for problem in found.problems]


def passed(found: Finding) -> tuple[int, int]:
    """Return the sizes of the largest packets that passed, over TCP and UDP."""
    tcp, udp = (found.figures[protocol] for protocol in ("tcp", "udp"))
    return (tcp["largest"] or tcp["sendMSS"]) + tcp["headers"], udp["packet"]


def test_report(tmp_path: Path) -> None:
    """The command names the black hole, and exits as after a timeout; without one it finds nothing."""
    with servedNetwork(tmp_path) as (network, _):
        assert diagnose(SERVER, "--only=mtu", "--strict").code == 0
        with filtered(network.router, THERE):
            done = diagnose(SERVER, "--only=mtu", "--timeout=1")
        assert (done.code, done.causes("mtu")) == (5, ["mtu-black-hole"])


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_blackHolesAreToldApart(tmp_path: Path, target: str) -> None:
    """What drops large packets without a word is found, the way on which it does, and the largest that passes."""
    with servedNetwork(tmp_path) as (network, _):
        healthy = examine(check, target)
        assert (causes(healthy), passed(healthy)) == ([], (1500, 1500))

        with filtered(network.router, THERE):
            there = examine(check, target, SCOPE)
        assert (causes(there), passed(there)) == (["mtu-black-hole"], (1300, 1300))
        assert there.status is Status.FAIL
        hanging = [each for each in there.figures["tcp"]["requests"] if each["fate"] != "passed"]
        assert hanging[0]["size"] == TARGETS[target]
        assert all(each["unacknowledged"] and each["lost"] and each["backoff"] for each in hanging)

        with filtered(network.router, BACK):
            back = examine(check, target, SCOPE)
        assert (causes(back), passed(back)) == (["mtu-black-hole-back"], (1300, 1300))
        assert any("the last, short segment" in line for line in back.problems[0].seen)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_smallerMTUIsHarmlessWhereRoutersSaySo(tmp_path: Path, target: str) -> None:
    """A smaller MTU on the way is no fault where ICMP says so, and a black hole where that is filtered."""
    with servedNetwork(tmp_path) as (network, _):
        network.router.run(*(f"ip route add {server} dev s1 mtu 1300" for server in (SERVER, SERVER6)))
        network.router.run(*(f"ip route add {client} dev c1 mtu 1300" for client in (CLIENT, CLIENT6)))
        silence = ("icmp type destination-unreachable drop", "icmpv6 type packet-too-big drop")
        with filtered(network.router, *silence, hook="output"):
            found = examine(check, target, SCOPE)
        assert (causes(found), passed(found)) == (["mtu-black-hole"], (1300, 1300))

        for _ in range(2):  # the second time, both ends know
            found = examine(check, target, SCOPE)
            assert (causes(found), passed(found)) == ([], (1300, 1300))
            assert found.figures["udp"]["isAnnounced"]


def test_clampedMSSIsANote(tmp_path: Path) -> None:
    """An MSS that is changed on the way is a note, with what UDP can do beside it."""
    with servedNetwork(tmp_path) as (network, _):
        network.router.filter("tcp option maxseg size set 1000")
        for target in TARGETS:
            found = examine(check, target)
            assert (found.status, causes(found)) == (Status.NOTE, ["mss-clamped"])
            assert found.figures["tcp"]["sendMSS"] == 988
            assert found.figures["udp"]["packet"] == 1500


@pytest.mark.slow
def test_datagramsAlone(tmp_path: Path) -> None:
    """A target of UDP has only datagrams; they vanish silently, or not at all, or there is no answer."""
    with servedNetwork(tmp_path) as (network, _):
        target = f"udp:{SERVER}"
        assert not examine(check, target).problems
        with filtered(network.router, THERE):
            found = examine(check, target, SCOPE)
        assert (causes(found), found.status, found.figures["udp"]["packet"]) == (["mtu-silent"], Status.WARN, 1300)
        with filtered(network.router, "udp dport 8081 drop"):
            found = examine(check, target, SCOPE)
            assert (found.isSkipped, found.summary) == (True, "UDP isn't answered")
            found = examine(check, SERVER)
            assert not found.problems
            assert found.summary.endswith("; UDP isn't answered")


@pytest.mark.slow
@pytest.mark.parametrize("rule", [THERE, BACK])
def test_blackHoleThatTCPGetsAround(tmp_path: Path, rule: str) -> None:
    """A kernel that finds a smaller size after some seconds hides a black hole; that is a warning."""
    with servedNetwork(tmp_path) as (network, _):
        for node in (network.client, network.server):
            node.set(net__ipv4__tcp_mtu_probing=1)
        with filtered(network.router, rule):
            found = examine(check, SERVER, replace(SCOPE, timeout=10))
        assert (causes(found), found.status, passed(found)[0]) == (["mtu-recovered"], Status.WARN, 1300)
        assert ("back from the server" in found.problems[0].text) == (rule is BACK)


@pytest.mark.slow
def test_blackHoleUnderTLS(tmp_path: Path, certificates: Certificates) -> None:
    """With TLS the sizes are about right."""
    tls = (f"--tls-cert={certificates.server}",)
    with servedNetwork(tmp_path, *tls, listen=("tls:*:8081",)) as (network, _):
        assert not examine(check, f"tls:{SERVER}").problems
        with filtered(network.router, THERE):
            found = examine(check, f"tls:{SERVER}", SCOPE)
        assert causes(found) == ["mtu-black-hole"]
        assert 1270 <= found.figures["tcp"]["largest"] + 22 + found.figures["tcp"]["headers"] <= 1300


def test_handshakeInABlackHole(tmp_path: Path, certificates: Certificates) -> None:
    """A certificate of several segments doesn't come back through a black hole, and that is what is said."""
    large = certificates.issue("large", *(f"name{number}.example.org" for number in range(200)))
    with servedNetwork(tmp_path, f"--tls-cert={large}", listen=("tls:*:8081",)) as (network, _):
        assert not examine(check, f"tls:{SERVER}").problems
        with filtered(network.router, BACK):
            found = examine(check, f"tls:{SERVER}", SCOPE)
        assert (causes(found), found.status) == (["mtu-black-hole-back"], Status.FAIL)
        assert found.summary.startswith("the TLS handshake hangs")
