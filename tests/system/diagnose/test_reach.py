"""`reach` on paths to good and bad addresses."""

from collections.abc import Iterator
from contextlib import contextmanager
from socket import AF_INET6, create_server

import pytest

from echoup.client.diagnose.checks.reach import check
from echoup.client.diagnose.finding import Finding, Status
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.exitcodes import ExitCode
from echoup.client.target.stream import StreamTarget
from tests.support.checks import find
from tests.support.namespaces import ownNetwork
from tests.support.routednetwork import SERVER, SERVER6, RoutedNetwork, routedNetwork, whyNoRoutedNetwork
from tests.support.servers import blackHole

WHY_NOT = whyNoRoutedNetwork()

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)

BOTH = SERVER, SERVER6
SYN = "tcp dport 8081 tcp flags & (syn | ack) == syn"


@contextmanager
def servers() -> Iterator[RoutedNetwork]:
    """Make a path of two hops to a server that the kernel connects to, at an address of each family."""
    with routedNetwork() as network:
        with network.server.entered():
            listening = create_server(("", 8081), family=AF_INET6, backlog=100, dualstack_ipv6=True)
        with listening:
            yield network


def reached(*addresses: str, timeout: float = 5) -> tuple[str | None, Finding]:
    """Return the address that is used, and what the check finds."""
    used: list[str | None] = []

    async def checkThem(path: PathUnderTest, tell: Tell) -> Finding:
        path.addresses = [*addresses]
        finding = await check(path, tell)
        used.append(path.address)
        return finding

    finding = find(checkThem, StreamTarget("", "there", 8081), timeout=timeout)
    return used[0], finding


def causes(finding: Finding) -> list[tuple[Status, str]]:
    """Return the status and the cause of each problem."""
    return [(problem.status, problem.cause) for problem in finding.problems]


def test_addressesFailOrWork() -> None:
    """An address that is silent, or rejected, is told beside one that works, which is used; without a fault none is."""
    with servers() as network:
        address, finding = reached(*BOTH)
        assert (address, causes(finding)) == (SERVER, [])
        for each in finding.figures["addresses"]:
            assert (each["outcome"], each["synSentAgain"]) == ("works", 0)
            assert each["rtt"] > 0
        for rule, cause, code in (
            ("drop", "address-silent", ExitCode.TIMED_OUT),
            ("reject with tcp reset", "address-refused", ExitCode.UNREACHABLE),
            ("reject with icmpx type host-unreachable", "address-unreachable", ExitCode.UNREACHABLE),
        ):
            network.router.filter(f"ip daddr {SERVER} meta l4proto tcp {rule}")
            address, finding = reached(*BOTH, timeout=1)
            assert (address, causes(finding)) == (SERVER6, [(Status.WARN, cause)])
            _, finding = reached(SERVER, timeout=1)
            assert causes(finding) == [(Status.FAIL, cause)]
            assert finding.problems[0].code is code
            network.router.run("nft delete table inet faults")


def test_noRoute() -> None:
    """An address that this machine has no route to is only mentioned beside one that works, and fails alone."""
    with ownNetwork(), create_server(("127.0.0.1", 8081)):
        address, finding = reached(SERVER6, "127.0.0.1")
        assert (address, causes(finding)) == ("127.0.0.1", [])
        assert finding.summary.endswith(f"this machine has no way to {SERVER6}")
        _, finding = reached(SERVER)
        assert causes(finding) == [(Status.FAIL, "local-trouble")]


@pytest.mark.slow
def test_lostSYNs() -> None:
    """Where a firewall drops every second SYN, the share of connections that had to wait is told; one is chance."""
    with servers() as network:
        network.router.filter(f"{SYN} numgen inc mod 2 0 drop")
        _, finding = reached(SERVER)
        assert causes(finding) == [(Status.WARN, "syn-sent-again")]
        (figures,) = finding.figures["addresses"]
        assert figures["connections"] == 10
        assert 2 <= figures["synSentAgain"] <= 9
        assert figures["rtt"] < 1
        network.router.run("nft delete table inet faults")
        network.router.filter(f"{SYN} numgen inc mod 100 0 drop")
        _, finding = reached(SERVER)
        assert causes(finding) == []
        assert "the SYN was sent again on 1 of 10 connections" in finding.summary


def test_fullAcceptQueue() -> None:
    """A server that doesn't accept, and whose queue is full, is silent; the advice says how to see that."""
    with blackHole() as address:
        (problem,) = find(check, address.target, timeout=1).problems
    assert (problem.code, problem.status, problem.cause) == (ExitCode.TIMED_OUT, Status.FAIL, "address-silent")
    assert "accept queue" in problem.meaning
    assert "Recv-Q" in problem.advice


@pytest.mark.slow
def test_queueFillsUp() -> None:
    """A queue that has room for some connections, and fills up, is told by the share of those that wait."""
    with ownNetwork(), create_server(("127.0.0.1", 8081), backlog=2):
        _, finding = reached("127.0.0.1", timeout=1.5)
    assert causes(finding) == [(Status.WARN, "syn-sent-again")]
    (figures,) = finding.figures["addresses"]
    assert figures["unanswered"] >= 2
