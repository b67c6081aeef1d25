"""Paths, servers and machines that allow only so many connections, and those that allow more."""

import json
import subprocess
from contextlib import ExitStack
from pathlib import Path
from socket import AF_INET

import pytest

from tests.support.addresses import Address
from tests.support.daemon import Daemon
from tests.support.diagnoses import DIAGNOSE, servedNetwork
from tests.support.parallelchecks import check
from tests.support.peers import need, running
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

HAPROXY = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen few
    bind :9005
    maxconn 25
    server it 127.0.0.1:8081
"""

EXPECTED = {
    9001: ("many-silent", "no answer to SYN", 30),
    9002: ("many-refused", "refused", 30),
    9003: ("many-unanswered", "connected, but not answered", 50),
    9004: ("many-reset", "reset at once", 20),
    9005: ("many-unanswered", "connected, but not answered", 25),
}
"""By port: the cause, how the next connection fails, and how many work."""


@pytest.mark.slow
@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_limitsAreFoundAndNamed(tmp_path: Path) -> None:
    """Each limit is found to the connection and named as what it is, and nothing is said against a path without one.

    Firewalls drop and reject, a daemon and haproxy are full, a daemon has a limit for one peer. Then this machine has
    too few ports, and the command too few descriptors.
    """
    listening = Address(AF_INET, ("0.0.0.0", 9005))  # noqa: S104  # the network is the test's own
    with servedNetwork(tmp_path, listen=("*:8081", "*:9001", "*:9002")) as (network, daemon), ExitStack() as stack:
        network.router.run("nft -f -", data=FIREWALL)
        configuration = tmp_path / "haproxy.cfg"
        configuration.write_text(HAPROXY)
        command = [need("haproxy"), "-db", "-f", str(configuration)]
        with network.server.entered():
            stack.enter_context(running(command, listening, tmp_path / "haproxy.log"))
            for port, limit in ((9003, "--max-connections=50"), (9004, "--max-connections-per-peer=20")):
                folder = tmp_path / str(port)
                folder.mkdir()
                stack.enter_context(Daemon.start(folder, limit, listen=[f"*:{port}"]))
        *found, healthy = check("many", *(f"{SERVER}:{port}" for port in EXPECTED), f"{SERVER}:8081", many=60)

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
        (fewPorts,) = check("many", SERVER, many=60)
        assert "Traceback" not in daemon.text
    for (port, (cause, how, number)), finding in zip(EXPECTED.items(), found, strict=True):
        assert [problem["cause"] for problem in finding["problems"]] == [cause], (port, finding)
        assert (finding["figures"]["failed"], finding["figures"]["held"]) == (how, number), port
        assert finding["figures"]["replaceable"], port
    assert (healthy["status"], healthy["figures"]["held"]) == ("ok", 60)
    for finding in (fewDescriptors, fewPorts):
        assert [(problem["status"], problem["cause"]) for problem in finding["problems"]] == [
            ("note", "many-own-limit")
        ]
    assert 0 < fewDescriptors["figures"]["held"] < 32
    assert fewPorts["figures"]["held"] == 20
