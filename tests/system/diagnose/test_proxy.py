"""Proxies with and without a distance behind them, and paths without a proxy.

DIAGNOSE_RUNS is how many times each healthy path is checked.
"""

from contextlib import ExitStack
from pathlib import Path
from socket import AF_INET

import pytest

from echoup.client.diagnose.checks import distance
from tests.support.addresses import Address
from tests.support.authorities import Certificates
from tests.support.balancers import haproxy, nginx
from tests.support.checks import REPETITIONS, checked
from tests.support.daemon import Daemon
from tests.support.diagnoses import diagnose
from tests.support.relay import StreamRelay
from tests.support.routednetwork import SERVER, routedNetwork, whyNoRoutedNetwork

WHY_NOT = whyNoRoutedNetwork()


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
@pytest.mark.parametrize("delay", [0.0, 0.01])
def test_distanceBehindHaproxyIsNamed(tmp_path: Path, delay: float) -> None:
    """Behind haproxy, two hops away, the application is near, or 20 ms away, which is a note with that figure."""
    with ExitStack() as stack:
        network = stack.enter_context(routedNetwork())
        with network.server.entered():
            daemon = stack.enter_context(Daemon.start(tmp_path))
            relay = stack.enter_context(StreamRelay(daemon.address, delay))
            stack.enter_context(haproxy(tmp_path, relay.target, Address(AF_INET, (SERVER, 8081))))
        done = diagnose(SERVER, "--only=proxy", "--strict")
    found = done.check("proxy")
    assert done.causes("proxy") == ["proxy"] * bool(delay)
    assert done.code == bool(delay)
    if delay:
        (problem,) = found["problems"]
        assert problem["status"] == "note"
        assert f"behind what acknowledges our bytes at {SERVER}:8081" in problem["text"]
        assert found["figures"]["behind"] >= 2 * delay
        assert found["figures"]["rtt"] < delay


@pytest.mark.parametrize("proxy", ["none", "haproxy", "haproxy with TLS", "nginx"])
def test_nearApplicationIsFine(tmp_path: Path, certificates: Certificates, proxy: str) -> None:
    """Nothing is said where the application is on the same machine as what ends the connection, if not in it."""
    with ExitStack() as stack:
        target = stack.enter_context(Daemon.start(tmp_path)).address.target
        if proxy == "nginx":
            target = stack.enter_context(nginx(tmp_path, target)).target
        elif proxy != "none":
            options = f"ssl crt {certificates.server}" if "TLS" in proxy else ""
            target = "tls:" * bool(options) + stack.enter_context(haproxy(tmp_path, target, options=options)).target
        for _ in range(REPETITIONS):
            done = checked(target, distance.check)
            assert done.causes == []
            assert done.finding
            assert done.finding.figures["probes"] >= 12
            assert len(done.finding.figures["certificates"]) == ("TLS" in proxy)
