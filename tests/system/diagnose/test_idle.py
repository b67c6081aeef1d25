"""Paths that forget idle connections, each in its way, and a path that doesn't."""

from contextlib import ExitStack
from pathlib import Path
from socket import AF_INET

import pytest

from echoup.client.diagnose.longchecks import idle
from tests.support.addresses import Address
from tests.support.checks import causesOf, findAll
from tests.support.diagnoses import servedNetwork
from tests.support.proxies import haproxy
from tests.support.routednetwork import SERVER, whyNoRoutedNetwork

WHY_NOT = whyNoRoutedNetwork()

FIREWALL = """
table inet faults {
    ct timeout five { protocol tcp; l3proto ip; policy = { established : 5 }; }
    ct timeout twenty { protocol tcp; l3proto ip; policy = { established : 20 }; }
    ct timeout three { protocol udp; l3proto ip; policy = { unreplied : 3, replied : 3 }; }
    set seen { type inet_service; size 65535; flags dynamic, timeout; timeout 10m; }
    chain timeouts {
        type filter hook prerouting priority 0;
        tcp dport { 9001, 9002 } ct timeout set "five"
        tcp dport { 9003, 9004 } ct timeout set "twenty"
        udp dport 9001 ct timeout set "three"
    }
    chain forgotten {
        type filter hook forward priority 0;
        tcp dport { 9001, 9003 } ct state invalid drop
        tcp dport { 9002, 9004 } ct state invalid reject with tcp reset
        ct state established accept
        udp dport 9001 udp sport @seen drop
        udp dport 9001 add @seen { udp sport }
    }
}
"""
"""Connections to 9001 and 9002 are forgotten after 5 s, those to 9003 and 9004 after 20 s; then the odd ports drop what
comes, and the even ones reset it. Of UDP, a source port is forgotten after 3 s, and not accepted again."""

PROXIES = {
    9005: ("127.0.0.1:8081", "timeout client 5s"),
    9006: ("127.0.0.1:8081", "timeout client 20s"),
    9007: (f"{SERVER}:9008 source 127.0.0.1", "timeout client 1h"),
}
"""The servers behind haproxy, by its port, and its patience."""

BEHIND = """
table inet faults {
    ct timeout five { protocol tcp; l3proto ip; policy = { established : 5 }; }
    chain timeouts { type filter hook output priority 0; tcp dport 9008 ct timeout set "five"; }
    chain forgotten { type filter hook input priority 0; tcp dport 9008 ct state invalid drop; }
}
"""
"""Between haproxy and the server, connections to 9008 are forgotten after 5 s."""

EXPECTED = {
    9001: ("idle-silent", "silent", 5, True),
    9002: ("idle-rejected", "RST at the next byte", 5, True),
    9003: ("idle-silent", "silent", 20, True),
    9004: ("idle-rejected", "RST at the next byte", 20, True),
    9005: ("idle-closed", "FIN while idle", 5, False),
    9006: ("idle-closed", "FIN while idle", 20, False),
    9007: ("idle-unanswered", "acknowledged, but not answered", 5, False),
}
"""By port: the cause, how connections are cut, after how many seconds, and whether TCP keepalive helps."""


def starved() -> float:
    """Return the seconds for which this thread has waited for a processor, during which it sees no end come."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


@pytest.mark.slow
@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_cutsAreTimedAndNamed(tmp_path: Path) -> None:
    """Idle timeouts of 5 s and 20 s are found to a second, each named as what it is; a path without one is not accused.

    The firewall of a router drops or resets what it has forgotten, haproxy closes in order, and behind another haproxy
    a firewall forgets without a word. The healthy path is idle for as long, with UDP.
    """
    ports = [port for port in EXPECTED if port not in PROXIES]
    listen = ("*:8081", *(f"*:{port}" for port in (*ports, 9008)))
    with servedNetwork(tmp_path, "--udp=*:9001", listen=listen) as (network, _), ExitStack() as stack:
        network.router.run("nft -f -", data=FIREWALL)
        network.router.set(net__netfilter__nf_conntrack_tcp_loose=0)
        network.server.run("nft -f -", data=BEHIND)
        network.server.set(net__netfilter__nf_conntrack_tcp_loose=0)
        with network.server.entered():
            for port, (server, patience) in PROXIES.items():
                folder = tmp_path / str(port)
                folder.mkdir()
                settings = ("timeout server 1h", patience)
                stack.enter_context(
                    haproxy(folder, server, settings=settings, address=Address(AF_INET, (SERVER, port)))
                )
        targets = [f"{SERVER}:{port}" for port in EXPECTED]
        targets += [f"udp:{SERVER}:9001", f"{SERVER}:8081"]
        before = starved()
        *found, datagrams, healthy = findAll(idle.check, *targets, idle=27)
        within = 1 + min(starved() - before, 1)
    for (port, (cause, how, after, isKept)), finding in zip(EXPECTED.items(), found, strict=True):
        figures = finding.figures["connections"]
        assert [each for each in causesOf(finding) if "datagrams" not in each] == [cause], port
        assert figures["cut"]["how"] == how, port
        assert abs(figures["cut"]["after"] - after) <= within, (port, figures)
        assert figures["keepalive"]["lived"] is isKept, port
    assert causesOf(datagrams) == ["idle-datagrams-silent"]
    assert abs(datagrams.figures["datagrams"]["cut"]["after"] - 3) <= within
    assert healthy.problems == ()
    assert healthy.figures["connections"]["lived"] >= 27
    assert healthy.figures["datagrams"]["lived"] >= 27
