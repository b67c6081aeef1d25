"""Datagrams on a path of two hops, healthy and with faults, and the check `udp`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import DatagramProtocol

from echoup.addresses import joinAddress
from echoup.client.diagnose.checks.udp import check
from echoup.client.diagnose.finding import Finding, Status
from echoup.client.diagnose.scope import Scope
from echoup.client.exitcodes import ExitCode
from tests.support.addresses import unused
from tests.support.daemon import Daemon
from tests.support.datagrams import ports
from tests.support.diagnoses import diagnose, found, servedNetwork
from tests.support.routednetwork import SERVER, SERVER6, Node, whyNoRoutedNetwork

WHY_NOT = whyNoRoutedNetwork()

needsNetwork = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)

HOSTS = (SERVER, f"[{SERVER6}]:8081")

PATIENT = Scope(timeout=20)
"""For what has to be answered, however busy the machine is."""


@contextmanager
def filtered(router: Node, *rules: str) -> Iterator[None]:
    """Add `rules` to a router for a while."""
    router.filter(*rules)
    yield
    router.run("nft delete table inet faults")


def datagrams(host: str, scope: Scope = PATIENT) -> Finding:
    """Return what the check finds on the path to the UDP service of `host`."""
    return found(check, f"udp:{host}", scope)


def causes(finding: Finding) -> list[str]:
    """Return the causes of what was found."""
    return [problem.cause for problem in finding.problems]


@needsNetwork
def test_healthyRefusedAndDropped(tmp_path: Path) -> None:
    """Without a fault nothing is said, whatever the target; every size passes, and DSCP and ECN are kept.

    Where nothing answers, refused and silent are told apart; that is a fault of UDP targets only.
    """
    with servedNetwork(tmp_path) as (network, _):
        for host, largest in zip(HOSTS, (65_507, 65_527), strict=True):
            done = diagnose(f"udp:{host}", "--only=udp", "--strict")
            assert (done.code, done.check("udp")["status"]) == (0, "ok"), done.report
            stream = found(check, host, PATIENT)
            for figures in (done.check("udp")["figures"], stream.figures):
                assert (figures["lost"], figures["largest"], figures["sizesLost"]) == (0, largest, [])
                assert all({*each["arrived"]} == {each["sent"]} for each in figures["marks"])
            assert stream.status is Status.OK
        scope = Scope(timeout=0.5)
        for host in HOSTS:
            for rule, cause, code in (
                ("meta l4proto udp reject", "udp-refused", ExitCode.UNREACHABLE),
                ("meta l4proto udp drop", "udp-silent", ExitCode.TIMED_OUT),
            ):
                with filtered(network.router, rule):
                    asked, aside = datagrams(host, scope), found(check, host, scope)
                (problem,) = asked.problems
                assert (problem.cause, problem.code, problem.status) == (cause, code, Status.FAIL)
                assert aside.isSkipped
                assert ("connection refused" in aside.summary) == (cause == "udp-refused")
        network.client.filter("meta l4proto udp drop", hook="output")
        ours = datagrams(SERVER)
        assert ours.isSkipped
        assert ours.summary == "this machine sends nothing there: operation not permitted"


@pytest.mark.slow
@needsNetwork
def test_fragments(tmp_path: Path) -> None:
    """Where fragments are dropped, or packets above a size, the limit is found to the byte.

    A link with a smaller MTU, of which ICMP tells the sender, is no fault: larger datagrams travel in fragments.
    """
    with servedNetwork(tmp_path) as (network, _):
        for host, rule, whole in zip(
            HOSTS, ("ip frag-off & 0x1fff != 0 drop", "exthdr frag exists drop"), (1472, 1452), strict=True
        ):
            with filtered(network.router, rule):
                (problem,) = (finding := datagrams(host)).problems
            assert (problem.cause, problem.status) == ("udp-fragments-lost", Status.WARN)
            assert f"more than {whole} bytes, which travel in fragments, are lost" in finding.summary
            assert finding.figures["largest"] == whole
        # Those above 1300 bytes, without a word to the sender; fragments are within that except for the full ones.
        with filtered(network.router, "meta length > 1300 drop"):
            (problem,) = (finding := datagrams(SERVER)).problems
        assert (problem.cause, problem.code) == ("udp-whole-lost", ExitCode.TIMED_OUT)
        assert finding.figures["sizesLost"][0] == 1300 - 28 + 1
        network.router.run("ip link set s1 mtu 1400")
        network.server.run("ip link set s0 mtu 1400")
        for host, whole in zip(HOSTS, (1372, 1352), strict=True):
            finding = datagrams(host)
            assert finding.status is Status.OK, finding
            assert finding.figures["whole"] == whole


@pytest.mark.slow
@needsNetwork
def test_lossAndCopies(tmp_path: Path) -> None:
    """Loss is measured, and not taken for a limit to sizes; copies are counted."""
    with servedNetwork(tmp_path) as (network, _):
        with filtered(network.router, "meta l4proto udp numgen random mod 10 < 2 drop"):
            finding = datagrams(SERVER)
        assert causes(finding) == ["udp-loss"]
        assert 0.25 < finding.figures["lost"] < 0.47  # 1 - 0.8 ** 2 = 0.36, and 4.5 standard deviations of 600
        for host, kind in zip(HOSTS, ("ip", "ip6"), strict=True):
            server = SERVER6 if kind == "ip6" else SERVER
            rule = f'oifname "s1" udp dport 8081 dup to {server} device "s1"'
            chain = f"chain copies {{\ntype filter hook forward priority 0;\n{rule}\n}}"
            network.router.run("nft -f -", data=f"table {kind} copies {{\n{chain}\n}}")
            finding = datagrams(host)
            assert causes(finding) == ["udp-duplicates"]
            assert finding.status is Status.NOTE
            assert all(burst["duplicates"] > 150 for burst in finding.figures["bursts"])


@needsNetwork
def test_marks(tmp_path: Path) -> None:
    """DSCP and ECN that are cleared or changed are a note, over IPv4 and IPv6; a class that is dropped is a warning."""
    cases = {
        ("{ip} dscp set cs0",): (["dscp-cleared"], "the path clears DSCP (EF, AF41, CS1)"),
        ("{ip} dscp ef {ip} dscp set cs0",): (["dscp-cleared"], "the path clears DSCP (EF; AF41, CS1 is kept)"),
        ("{ip} dscp af41 {ip} dscp set cs3",): (["dscp-remarked"], "the path remarks DSCP: AF41 arrives as CS3"),
        ("{ip} ecn set not-ect",): (["ecn-cleared"], "the path clears ECN: ECT(1) arrives as Not-ECT"),
        ("{ip} ecn set ce",): (["ecn-congested"], "the path sets CE on every packet"),
        ("{ip} dscp set cs0", "{ip} ecn set not-ect"): (["tos-cleared"], "the answers have neither DSCP nor ECN"),
    }
    with servedNetwork(tmp_path) as (network, _):
        for host, ip in zip(HOSTS, ("ip", "ip6"), strict=True):
            for rules, (expected, words) in [*cases.items()][:: 1 if ip == "ip" else 3]:
                # On the way there only, so the answer leaves with what arrived.
                there = [f'oifname "s1" {rule.format(ip=ip)}' for rule in rules]
                with filtered(network.router, *there):
                    finding = datagrams(host)
                assert (causes(finding), finding.status) == (expected, Status.NOTE), (ip, rules)
                assert finding.summary.startswith(words), finding.summary
        assert datagrams(SERVER).status is Status.OK
        with filtered(network.router, "ip dscp ef drop"):
            finding = datagrams(SERVER)
        assert (causes(finding), finding.status) == (["tos-lost"], Status.WARN)


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


def test_relayThatReorders(tmp_path: Path) -> None:
    """Answers that overtake each other are a note; behind a relay that keeps the order nothing is said of that."""
    with Daemon.start(tmp_path, "--udp=127.0.0.1:0") as daemon:
        for change, expected in ((swap(), ["udp-reordering"]), (lambda datagram: [datagram], [])):
            address = unused().address

            def prepare(
                reactor: PosixReactorBase,
                change: Callable[[bytes], list[bytes]] = change,
                address: tuple[str, int] = address,
            ) -> None:
                relay = Relay(ports(daemon)[0], change)
                reactor.listenUDP(address[1], relay, address[0], 65_536)

            finding = found(check, f"udp:{joinAddress(*address)}", PATIENT, prepare)
            # A relay sends with a TOS of its own.
            assert causes(finding) == [*expected, "tos-cleared"]
