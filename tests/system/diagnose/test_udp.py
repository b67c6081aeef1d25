"""Datagrams on a path of two hops, healthy and with faults, and the check `udp`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.interfaces import IReactorUDP
from twisted.internet.protocol import DatagramProtocol

from echoup.client.diagnose.checks.udp import check
from echoup.client.diagnose.finding import Finding, Status
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.exitcodes import ExitCode
from tests.support.addresses import unused
from tests.support.checks import alike, causesOf, find
from tests.support.daemon import Daemon
from tests.support.datagrams import ports
from tests.support.diagnoses import servedNetwork
from tests.support.routednetwork import SERVER, SERVER6, RoutedNetwork, whyNoRoutedNetwork

WHY_NOT = whyNoRoutedNetwork()


HOSTS = (SERVER, f"[{SERVER6}]:8081")

PATIENCE = 20
"""Seconds for what has to be answered, however busy the machine is."""


def look(host: str, **scope: Any) -> Finding:
    """Return what the check finds on the path to the UDP service of `host`."""
    return find(check, f"udp:{host}", **{"timeout": PATIENCE, **scope})


@pytest.mark.parametrize("host", alike(*HOSTS))
def test_healthyPathIsOK(network: RoutedNetwork, host: str) -> None:
    """Without a fault nothing is said, whatever the target; every size passes, and DSCP and ECN are kept."""
    for found in (look(host), find(check, host, timeout=PATIENCE)):
        assert found.status is Status.OK
        largest = 65_507 if host is SERVER else 65_527
        assert (found.figures["lost"], found.figures["largest"], found.figures["sizesLost"]) == (0, largest, [])
        assert all({*each["arrived"]} == {each["sent"]} for each in found.figures["marks"])


def test_refusedAndDropped(network: RoutedNetwork) -> None:
    """Where nothing answers, refused and silent are told apart; that is a fault of UDP targets only."""
    for host in alike(*HOSTS):
        for rule, cause, code in (
            ("meta l4proto udp reject", "udp-refused", ExitCode.UNREACHABLE),
            ("meta l4proto udp drop", "udp-silent", ExitCode.TIMED_OUT),
        ):
            with network.router.filtered(rule):
                asked, aside = look(host, timeout=0.5), find(check, host, timeout=0.5)
            (problem,) = asked.problems
            assert (problem.cause, problem.code, problem.status) == (cause, code, Status.FAIL)
            assert aside.isSkipped
            assert ("connection refused" in aside.summary) == (cause == "udp-refused")
    with network.client.filtered("meta l4proto udp drop", hook="output"):
        ours = look(SERVER)
    assert ours.isSkipped
    assert ours.summary == "this machine sends nothing there: operation not permitted"


@pytest.mark.slow
@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_fragments(tmp_path: Path) -> None:
    """Where fragments are dropped, or packets above a size, the limit is found to the byte.

    A link with a smaller MTU, of which ICMP tells the sender, is no fault: larger datagrams travel in fragments.
    """
    with servedNetwork(tmp_path) as (network, _):
        rules = "ip frag-off & 0x1fff != 0 drop", "exthdr frag exists drop"
        for host, rule, whole in alike(*zip(HOSTS, rules, (1472, 1452), strict=True)):
            with network.router.filtered(rule):
                (problem,) = (finding := look(host)).problems
            assert (problem.cause, problem.status) == ("udp-fragments-lost", Status.WARN)
            assert f"more than {whole} bytes, which travel in fragments, are lost" in finding.summary
            assert finding.figures["largest"] == whole
        # Those above 1300 bytes, without a word to the sender; fragments are within that except for the full ones.
        with network.router.filtered("meta length > 1300 drop"):
            (problem,) = (finding := look(SERVER)).problems
        assert (problem.cause, problem.code) == ("udp-whole-lost", ExitCode.TIMED_OUT)
        assert finding.figures["sizesLost"][0] == 1300 - 28 + 1
        network.router.run("ip link set s1 mtu 1400")
        network.server.run("ip link set s0 mtu 1400")
        for host, whole in alike(*zip(HOSTS, (1372, 1352), strict=True)):
            finding = look(host)
            assert finding.status is Status.OK, finding
            assert finding.figures["whole"] == whole


@pytest.mark.slow
def test_loss(network: RoutedNetwork) -> None:
    """Loss is measured, and not taken for a limit to sizes."""
    with network.router.filtered("meta l4proto udp numgen random mod 10 < 2 drop"):
        finding = look(SERVER)
    assert causesOf(finding) == ["udp-loss"]
    assert 0.25 < finding.figures["lost"] < 0.47  # 1 - 0.8 ** 2 = 0.36, and 4.5 standard deviations of 600


@pytest.mark.parametrize(("host", "server", "kind"), alike((HOSTS[0], SERVER, "ip"), (HOSTS[1], SERVER6, "ip6")))
def test_copies(network: RoutedNetwork, host: str, server: str, kind: str) -> None:
    """Datagrams that come twice are counted."""
    rule = f'oifname "s1" udp dport 8081 dup to {server} device "s1"'
    chain = f"chain copies {{\ntype filter hook forward priority 0;\n{rule}\n}}"
    network.router.run("nft -f -", data=f"table {kind} copies {{\n{chain}\n}}")
    try:
        finding = look(host)
    finally:
        network.router.run(f"nft delete table {kind} copies")
    assert causesOf(finding) == ["udp-duplicates"]
    assert finding.status is Status.NOTE
    assert all(burst["duplicates"] > 150 for burst in finding.figures["bursts"])


@pytest.mark.parametrize(("host", "ip"), alike(*zip(HOSTS, ("ip", "ip6"), strict=True)))
def test_marks(network: RoutedNetwork, host: str, ip: str) -> None:
    """DSCP and ECN that are cleared or changed are a note; a class that is dropped is a warning."""
    cases = {
        ("{ip} dscp set cs0",): (["dscp-cleared"], "the path clears DSCP (EF, AF41, CS1)"),
        ("{ip} dscp ef {ip} dscp set cs0",): (["dscp-cleared"], "the path clears DSCP (EF; AF41, CS1 is kept)"),
        ("{ip} dscp af41 {ip} dscp set cs3",): (["dscp-remarked"], "the path remarks DSCP: AF41 arrives as CS3"),
        ("{ip} ecn set not-ect",): (["ecn-cleared"], "the path clears ECN: ECT(1) arrives as Not-ECT"),
        ("{ip} ecn set ce",): (["ecn-congested"], "the path sets CE on every packet"),
        ("{ip} dscp set cs0", "{ip} ecn set not-ect"): (["tos-cleared"], "the answers have neither DSCP nor ECN"),
    }
    for rules, (expected, words) in cases.items():
        # On the way there only, so the answer leaves with what arrived.
        with network.router.filtered(*(f'oifname "s1" {rule.format(ip=ip)}' for rule in rules)):
            finding = look(host)
        assert (causesOf(finding), finding.status) == (expected, Status.NOTE), rules
        assert finding.summary.startswith(words), finding.summary
    with network.router.filtered(f"{ip} dscp ef drop"):
        finding = look(host)
    assert (causesOf(finding), finding.status) == (["tos-lost"], Status.WARN)


class Relay(DatagramProtocol):
    """A relay in front of a service, whose answers go back as `change` says."""

    noisy = False

    def __init__(self, service: tuple[str, int], change: Callable[[bytes], list[bytes]]) -> None:
        self.service, self.change = service, change

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Pass a datagram on, or its answer back."""
        assert self.transport
        if addr != self.service:
            self.client = addr
            self.transport.write(datagram, self.service)
        else:
            for answer in self.change(datagram):
                self.transport.write(answer, self.client)


def swap() -> Callable[[bytes], list[bytes]]:
    """Return what lets every tenth answer wait for the next one, unless it is the last for a while."""
    held: list[bytes] = []
    count = iter(range(10**6))

    def change(datagram: bytes) -> list[bytes]:
        if held:
            return [datagram, held.pop()]
        if len(datagram) == 64 and next(count) % 10 == 5:
            held.append(datagram)
            return []
        return [datagram]

    return change


def test_relayThatReorders(daemon: Daemon) -> None:
    """Answers that overtake each other are a note; behind a relay that keeps the order nothing is said of that."""
    for change, expected in ((swap(), ["udp-reordering"]), (lambda datagram: [datagram], [])):

        async def checkBehindRelay(
            path: PathUnderTest, tell: Tell, change: Callable[[bytes], list[bytes]] = change
        ) -> Finding:
            relay = Relay(ports(daemon)[0], change)
            host, port = path.target.host, path.target.port
            relaying: Any = IReactorUDP(path.reactor).listenUDP(port, relay, host, 65_536)
            try:
                return await check(path, tell)
            finally:
                await relaying.stopListening()

        finding = find(checkBehindRelay, f"udp:{unused().target}", timeout=PATIENCE)
        # A relay sends with a TOS of its own.
        assert causesOf(finding) == [*expected, "tos-cleared"]
