"""The fixtures of the tests of checks: a daemon, and a path of two hops."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.addresses import randomPort
from tests.support.authorities import Certificates
from tests.support.checks import RUNS
from tests.support.commands import listenTLS
from tests.support.daemon import Daemon
from tests.support.diagnoses import servedNetwork
from tests.support.namespaces import setNetwork
from tests.support.routednetwork import RoutedNetwork, whyNoRoutedNetwork

WHY_NOT = whyNoRoutedNetwork()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give each test the time for its repetitions."""
    item.add_marker(pytest.mark.timeout(300 * RUNS))


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Daemon]:
    """A daemon that listens on TCP and UDP at the same address, on TLS and on a Unix socket."""
    folder = tmp_path_factory.mktemp("daemon")
    address = f"127.0.0.1:{randomPort()}"
    listen = [address, listenTLS(certificates.server), f"unix:{folder}/socket"]
    with Daemon.start(folder, f"--udp={address}", listen=listen) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def _hops(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[RoutedNetwork]:
    """The path of `network`, outside of which this thread stays."""
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    large = certificates.issue("large", *(f"name{number}.example.org" for number in range(200)))
    options = (f"--tls-cert={certificates.server}",)
    listen = ("*:8081", "tls:*:8082", f"ssl:8083:privateKey={large}")
    with (
        Path("/proc/thread-self/ns/net").open("rb") as outside,
        servedNetwork(tmp_path_factory.mktemp("network"), *options, listen=listen) as (network, _),
    ):
        for node in (network.client, network.server):
            node.set(net__ipv4__tcp_no_metrics_save=1)  # otherwise a test's connections know those of others
        setNetwork(outside.fileno())
        yield network


@pytest.fixture
def network(_hops: RoutedNetwork) -> Iterator[RoutedNetwork]:
    """A path of two hops to a daemon on TCP and UDP, port 8081, and TLS, 8082 and, with a large certificate, 8083.

    A test leaves no fault on it.
    """
    with _hops.client.entered():
        yield _hops
