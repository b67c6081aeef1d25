"""Paths, servers and machines that allow only so many connections, and those that allow more."""

import json
import subprocess
from contextlib import ExitStack
from pathlib import Path
from socket import AF_INET

import pytest

from echoup.client.diagnose.finding import Status
from echoup.client.diagnose.longchecks import many
from tests.support.addresses import Address
from tests.support.checks import causesOf, find, findAll
from tests.support.daemon import Daemon
from tests.support.diagnoses import DIAGNOSE, servedNetwork
from tests.support.proxies import haproxy
from tests.support.routednetwork import SERVER, whyNoRoutedNetwork

WHY_NOT = whyNoRoutedNetwork()

FIREWALL = """
table ip faults {
    set dropped { type ipv4_addr; size 65535; flags dynamic; }
    set rejected { type ipv4_addr; size 65535; flags dynamic; }
    chain counted {
        type filter hook forward priority 0;
        tcp dport 9001 ct state new add @dropped { ip saddr ct count over 30 } drop
        tcp dport 9002 ct state new add @rejected { ip saddr ct count over 30 } reject with tcp reset
    }
}
"""
"""Of one client, 30 connections to each of two ports."""

EXPECTED = {
    9001: ("many-silent", "no answer to SYN", 30),
    9002: ("many-refused", "refused", 30),
    9003: ("many-reset", "reset at once", 20),
    9004: ("many-unanswered", "connected, but not answered", 25),
}
"""By port: the cause, how the next connection fails, and how many work."""


@pytest.mark.slow
@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_limitsAreFoundAndNamed(tmp_path: Path) -> None:
    """Each limit is found to the connection and named as what it is, and nothing is said against a path without one.

    Firewalls drop and reject, a daemon has a limit for one peer, and haproxy is full. Then this machine has
    too few ports, and the command too few descriptors.
    """
    with servedNetwork(tmp_path, listen=("*:8081", "*:9001", "*:9002")) as (network, daemon), ExitStack() as stack:
        network.router.run("nft -f -", data=FIREWALL)
        with network.server.entered():
            full = Address(AF_INET, (SERVER, 9004))
            stack.enter_context(haproxy(tmp_path, "127.0.0.1:8081", settings=("maxconn 25",), address=full))
            (tmp_path / "limited").mkdir()
            limit = "--max-connections-per-peer=20"
            stack.enter_context(Daemon.start(tmp_path / "limited", limit, listen=["*:9003"]))
        *found, healthy = findAll(many.check, *(f"{SERVER}:{port}" for port in EXPECTED), f"{SERVER}:8081", many=60)
        limited = [
            "sh",
            "-c",
            'ulimit -n 64 && exec "$@"',
            "sh",
            *DIAGNOSE,
            "--json",
            "--only=many",
            "--many=60",
            SERVER,
        ]
        done = subprocess.run(limited, capture_output=True, text=True, timeout=60, check=True)
        (fewDescriptors,) = (each for each in json.loads(done.stdout)["checks"] if each["name"] == "many")
        network.client.set(net__ipv4__ip_local_port_range="40000 40019")
        fewPorts = find(many.check, SERVER, many=60)
        assert "Traceback" not in daemon.text
    for (port, (cause, how, number)), finding in zip(EXPECTED.items(), found, strict=True):
        assert causesOf(finding) == [cause], (port, finding)
        assert (finding.figures["failed"], finding.figures["held"]) == (how, number), port
        assert finding.figures["replaceable"], port
    assert (healthy.problems, healthy.figures["held"]) == ((), 60)
    assert [(each["status"], each["cause"]) for each in fewDescriptors["problems"]] == [("note", "many-own-limit")]
    assert 0 < fewDescriptors["figures"]["held"] < 32
    assert (fewPorts.status, causesOf(fewPorts), fewPorts.figures["held"]) == (Status.NOTE, ["many-own-limit"], 20)
