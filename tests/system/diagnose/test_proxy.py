"""Proxies with and without a distance behind them, and paths without a proxy."""

from contextlib import ExitStack
from pathlib import Path
from socket import AF_INET

import pytest

from echoup.client.diagnose.checks import distance
from echoup.client.diagnose.finding import Status
from tests.support.addresses import Address
from tests.support.authorities import Certificates
from tests.support.checks import RUNS, causesOf, find
from tests.support.daemon import Daemon
from tests.support.proxies import haproxy, nginx
from tests.support.relay import StreamRelay
from tests.support.routednetwork import SERVER, RoutedNetwork


def test_distanceBehindHaproxyIsNamed(network: RoutedNetwork, tmp_path: Path) -> None:
    """Behind haproxy, two hops away, the application is near, or 20 ms away, which is a note with that figure."""
    daemon = Address(AF_INET, (SERVER, 8081))
    for port, delay in ((9001, 0.0), (9002, 0.01)):
        with network.server.entered(), ExitStack() as stack:
            relay = stack.enter_context(StreamRelay(daemon, delay))
            address = stack.enter_context(haproxy(tmp_path, relay.target, address=Address(AF_INET, (SERVER, port))))
            with network.client.entered():
                found = find(distance.check, address.target)
        assert causesOf(found) == ["proxy"] * bool(delay)
    assert found.status is Status.NOTE
    assert f"behind what acknowledges our bytes at {SERVER}:9002" in found.problems[0].text
    assert found.figures["behind"] >= 2 * delay
    assert found.figures["rtt"] < delay


@pytest.mark.parametrize("proxy", ["none", "haproxy", "haproxy with TLS", "nginx"])
def test_nearApplicationIsFine(daemon: Daemon, tmp_path: Path, certificates: Certificates, proxy: str) -> None:
    """Nothing is said where the application is on the same machine as what ends the connection, if not in it."""
    with ExitStack() as stack:
        target = daemon.address.target
        if proxy == "nginx":
            target = stack.enter_context(nginx(tmp_path, target)).target
        elif proxy != "none":
            bind = f"ssl crt {certificates.server}" if "TLS" in proxy else ""
            target = stack.enter_context(haproxy(tmp_path, target, bind)).target
        for _ in range(RUNS):
            found = find(distance.check, target)
            assert found.problems == ()
            assert found.figures["probes"] >= 12
            assert len(found.figures["certificates"]) == ("TLS" in proxy)
