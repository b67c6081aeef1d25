"""`reach` on paths to good and bad addresses."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.diagnoses import Diagnosis, diagnose, servedNetwork
from tests.support.namespaces import ownMounts, ownNetwork, replaced
from tests.support.routednetwork import SERVER, SERVER6, RoutedNetwork, whyNoRoutedNetwork
from tests.support.servers import blackHole

WHY_NOT = whyNoRoutedNetwork()

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)

NAME = "there.example"
SYN = "tcp dport 8081 tcp flags & (syn | ack) == syn"


@contextmanager
def twoAddresses(folder: Path) -> Iterator[RoutedNetwork]:
    """Make a path of two hops to a server with an address of each family; NAME has both."""
    hosts = folder / "hosts"
    hosts.write_text(f"{SERVER} {NAME}\n{SERVER6} {NAME}\n")
    with servedNetwork(folder) as (network, _), ownMounts(), replaced(Path("/etc/hosts"), hosts):
        yield network


def reached(target: str, *options: str) -> Diagnosis:
    """Return a diagnosis that is made up to the check `reach`."""
    return diagnose(target, "--only", "reach", *options)


def test_bothAddressesWork(tmp_path: Path) -> None:
    """Two addresses that work are fine, and the kernel's round-trip time is told for each."""
    with twoAddresses(tmp_path):
        check = reached(NAME, "--strict").check("reach")
    assert (check["status"], check["problems"]) == ("ok", [])
    found = {each["address"]: each for each in check["figures"]["addresses"]}
    assert {*found} == {SERVER, SERVER6}
    for each in found.values():
        assert (each["outcome"], each["synSentAgain"]) == ("works", 0)
        assert each["rtt"] > 0


@pytest.mark.slow
def test_oneAddressFails(tmp_path: Path) -> None:
    """One that is silent, and one that is rejected, are told beside the one that works, which the other checks use."""
    with twoAddresses(tmp_path) as network:
        for rule, cause in (("drop", "address-silent"), ("reject with tcp reset", "address-refused")):
            network.router.filter(f"ip6 nexthdr tcp {rule}")
            done = reached(NAME, "--timeout=2")
            network.router.run("nft delete table inet faults")
            (problem,) = done.check("reach")["problems"]
            assert (done.code, problem["status"], problem["cause"]) == (0, "warn", cause)
            assert SERVER6 in problem["text"]
            assert f"{SERVER} works" in problem["text"]


@pytest.mark.slow
def test_noAddressWorks(tmp_path: Path) -> None:
    """Where no address works, the exit code says whether they were silent, refused or unreachable."""
    with twoAddresses(tmp_path) as network:
        network.router.filter("meta nfproto ipv6 drop", "reject with icmp type host-unreachable")
        for options, code, cause in (
            (["-6", "--timeout=1"], 5, "address-silent"),
            (["-4"], 4, "address-unreachable"),
            ([], 4, "address-unreachable"),
        ):
            done = diagnose(NAME, *options)
            assert (done.code, done.causes("reach")) == (code, [cause])
            assert done.check("exact")["status"] == "skipped"


def test_noRoute(tmp_path: Path) -> None:
    """An address that this machine has no route to is only mentioned beside one that works, and fails alone."""
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 {NAME}\n{SERVER6} {NAME}\n")
    with ownNetwork(), ownMounts(), replaced(Path("/etc/hosts"), hosts), Daemon.start(tmp_path, listen=["*:8081"]):
        done = reached(NAME, "--strict")
        assert (done.code, done.causes("reach")) == (0, [])
        assert f"this machine has no way to {SERVER6}" in done.check("reach")["summary"]
        done = reached(SERVER)
        assert (done.code, done.causes("reach")) == (8, ["local-trouble"])


@pytest.mark.slow
def test_lostSYNs(tmp_path: Path) -> None:
    """Where a firewall drops every second SYN, the share of connections that had to wait is told."""
    with twoAddresses(tmp_path) as network:
        network.router.filter(f"{SYN} numgen inc mod 2 0 drop")
        done = reached(SERVER)
    (problem,) = done.check("reach")["problems"]
    assert (done.code, problem["status"], problem["cause"]) == (0, "warn", "syn-sent-again")
    (figures,) = done.check("reach")["figures"]["addresses"]
    assert figures["connections"] == 10
    assert 2 <= figures["synSentAgain"] <= 9
    assert figures["rtt"] < 1


def test_oneLostSYN(tmp_path: Path) -> None:
    """A single SYN that is lost is a chance: it is told, and it is no warning."""
    with twoAddresses(tmp_path) as network:
        network.router.filter(f"{SYN} numgen inc mod 100 0 drop")
        done = reached(SERVER, "--strict")
    assert (done.code, done.causes("reach")) == (0, [])
    assert "the SYN was sent again on 1 of 10 connections" in done.check("reach")["summary"]


@pytest.mark.slow
def test_fullAcceptQueue() -> None:
    """A server that doesn't accept, and whose queue is full, is silent; the advice says how to see that."""
    with blackHole() as address:
        done = diagnose(address.target, "--timeout=1")
    (problem,) = done.check("reach")["problems"]
    assert (done.code, problem["status"], problem["cause"]) == (5, "fail", "address-silent")
    assert "accept queue" in problem["meaning"]
    assert "Recv-Q" in problem["advice"]
