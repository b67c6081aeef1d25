"""Servers that can't be reached, and machines that can't send: each is told by its exit code and in one line."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import CONNECT, connect, unmeasured
from tests.support.namespaces import ownNetwork
from tests.support.peers import need
from tests.support.pings import ping, probe
from tests.support.reactors import MULTIPLEXERS
from tests.support.servers import serving
from tests.support.terminal import Terminal

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a network")

REJECTS = {
    "icmp-port-unreachable": "Connection refused",
    "icmp-host-unreachable": "No route to host",
    "icmp-admin-prohibited": "No route to host",
    "icmp-net-unreachable": "Network is unreachable",
    "icmp-proto-unreachable": "Protocol not available",
    "tcp-reset": "Connection refused",
}
"""The ways in which a firewall rejects, and the kernel's words for each."""

PORT = 7000
"""The port that is rejected in the first way; the others follow."""


@pytest.fixture
def network() -> Iterator[None]:
    """A network with nothing but this machine, and no route to another."""
    with ownNetwork():
        yield


def iptables(*rule: str) -> None:
    """Add a rule for 127.0.0.1."""
    subprocess.run([need("iptables"), "-A", *rule], check=True)


def reject(port: int, protocol: str, way: str) -> str:
    """Reject what comes to `port`, and return that address."""
    iptables("INPUT", "-p", protocol, "--dport", str(port), "-j", "REJECT", f"--reject-with={way}")
    return f"127.0.0.1:{port}"


CONNECTING = """
import importlib, sys

name, *targets = sys.argv[1:]
if name == "uvloop":
    from echoup.reactor.uvloopreactor import install
    install()
else:
    importlib.import_module(f"twisted.internet.{name}reactor").install()
from twisted.internet.task import react

from echoup.client.exitcodes import PathError
from echoup.client.target.parse import parseTarget

async def main(reactor):
    for target in targets:
        try:
            client = await parseTarget(target).connect(reactor, 10.0, None)
            await client.exchange(b"hello")
        except PathError as error:
            print(int(error.code), error)

react(main)
"""
"""A program that connects to targets on the reactor with a name, and prints what fails."""


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize("reactor", MULTIPLEXERS)
def test_rejectionHasTheKernelsWords(reactor: str) -> None:
    """On every reactor, a connection or a datagram that a firewall rejects fails with the kernel's words."""
    expected = {
        reject(port, "tcp", way): f"4 cannot connect to 127.0.0.1:{port}: {words}"
        for port, (way, words) in enumerate(REJECTS.items(), PORT)
    }
    # Of the others UDP learns nothing (linux/net/ipv4/icmp.c, icmp_err_convert: `fatal`).
    for way in ("icmp-port-unreachable", "icmp-admin-prohibited", "icmp-proto-unreachable"):
        port = PORT + list(REJECTS).index(way)
        target = f"udp:{reject(port, 'udp', way)}"
        expected[target] = f"4 {target}: {REJECTS[way]}"
    ended = subprocess.run(
        [sys.executable, "-c", CONNECTING, reactor, *expected], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.stdout.splitlines(), ended.stderr) == (list(expected.values()), "")


@pytest.mark.usefixtures("network")
def test_commandsTellARejection() -> None:
    """`ping`, the pipe and the prompt, each on its own reactor, tell a rejection in one line with exit code 4."""
    target = reject(PORT, "tcp", "icmp-admin-prohibited")
    message = f"cannot connect to {target}: No route to host"
    pinged = probe(target)
    assert (pinged.found, pinged.error) == ((None, "connect", 4), message)
    assert pinged.phases["connect"]["error"] == "No route to host"
    ended = connect(target, b"hello")
    assert (ended.returncode, ended.stdout, ended.stderr.decode()) == (4, b"", f"echoup: {message}\n")
    with Terminal(*CONNECT, target) as terminal:
        assert terminal.exits() == 4
        assert terminal.text.splitlines() == [f"echoup: {message}"]


@pytest.mark.usefixtures("network")
def test_rejectionAfterTheBeginningTimesOut() -> None:
    """A rejection of an established connection, which may pass again, is no end; one with a reset is."""
    for way, code in (("icmp-port-unreachable", 5), ("tcp-reset", 7)):
        with serving("silent") as address:
            _, port = address.address
            established = ("-m", "length", "--length", "60:")
            iptables(
                *("INPUT", "-p", "tcp", "--dport", str(port), "--tcp-flags", "PSH", "PSH", *established),
                *("-j", "REJECT", f"--reject-with={way}"),
            )
            pinged = probe(address.target, "-W2")
            assert pinged.code == code
            assert "Failure" not in pinged.error


UNROUTED = "192.0.2.1:1"


@pytest.mark.usefixtures("network")
def test_missingRouteIsLocal() -> None:
    """Without a route nothing is sent: that is no loss, has its own exit code, and is UNKNOWN for Nagios."""
    why = "Network is unreachable (this machine has no route there)"
    for target, what in ((UNROUTED, "connect to"), (f"udp:{UNROUTED}", "send to")):
        pinged = probe(target, "-i0", "--require=loss<10%", count=2)
        assert {(one["code"], one["verdict"], one["error"]) for one in pinged.probes} == {
            (8, None, f"cannot {what} {target}: {why}")
        }
        summary = pinged.summary
        assert (summary["sent"], summary["lost"], summary["unsent"], summary["outage"]) == (0, 0, 2, None)
        assert (pinged.code, pinged.error) == (8, f"2 of 2 not sent: cannot {what} {target}: {why}")
    ended = connect(UNROUTED, b"hello")
    assert (ended.returncode, ended.stderr.decode()) == (8, f"echoup: cannot connect to {UNROUTED}: {why}\n")
    plugin = ping("-c1", "--format=nagios", UNROUTED)
    assert (plugin.returncode, plugin.stdout.partition(";")[0]) == (
        3,
        f"ECHOUP UNKNOWN - 0 of 0 answered by {UNROUTED}",
    )


@pytest.mark.usefixtures("network")
def test_ownFirewallIsLocal() -> None:
    """A datagram that this machine's own firewall drops wasn't sent."""
    iptables("OUTPUT", "-p", "udp", "--dport", str(PORT), "-j", "DROP")
    target = f"udp:127.0.0.1:{PORT}"
    why = "Operation not permitted (this machine forbids it, usually a firewall)"
    pinged = probe(target, "--keep", "-i0", count=2)
    assert [one["error"] for one in pinged.probes] == [f"cannot send to {target}: {why}"] * 2
    assert (pinged.code, pinged.summary["unsent"]) == (8, 2)
    ended = connect(target, b"hello")
    assert (ended.returncode, ended.stderr.decode()) == (8, f"echoup: {target}: {why}\n")


@pytest.mark.usefixtures("network")
def test_missingPortsAreLocal() -> None:
    """Of many probes at once those for which there is no port are counted apart; the path's failures outrank them."""
    with serving("silent") as address:
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40003")
        pinged = probe(address.target, "-i0.01", "-W2", count=8)
    assert (pinged.summary["lost"], pinged.summary["unsent"], pinged.code) == (4, 4, 5)
    why = "Cannot assign requested address (this machine has no such address to send from, or no free port)"
    unsent = f"4 of 8 not sent: cannot connect to {address.target}: {why}"
    lost = f"4 of 8 failed: {address.target}: timed out: nothing came back in 2 s"
    assert pinged.error == f"{lost}; {unsent}"


SHORT = """
import os, resource, sys

from echoup.client.cli import main

resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv.pop(1)), 4096))
main()
"""
"""The command, with a limit of descriptors, its first argument, from when Python has begun."""


@pytest.mark.parametrize("arguments", ["ping -c2 -i0 localhost:1", "connect 127.0.0.1:1", "connect udp:localhost:1"])
def test_missingDescriptorsAreLocal(arguments: str) -> None:
    """Whatever there are too few descriptors for, the last line and the exit code tell local trouble."""
    codes = []
    for limit in range(5, 9):
        command = [sys.executable, "-c", SHORT, str(limit), *arguments.split()]
        ended = subprocess.run(command, input=b"hello", env=unmeasured(), capture_output=True, timeout=60, check=False)
        # Twisted logs that it can't make the pipe for signals, which the command does without.
        assert ended.stderr.splitlines()[-1].startswith(b"echoup: "), ended
        codes.append(ended.returncode)
        assert (b"Too many open files" in ended.stderr.splitlines()[-1]) == (ended.returncode == 8)
    assert (codes[0], {*codes} <= {4, 8}) == (8, True)
