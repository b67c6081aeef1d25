"""Paths without a fault: nothing is said against them, whatever the path consists of and however busy the machine is.

DIAGNOSE_RUNS is the number of diagnoses of each path: one in a normal run, and 50 in `.ci/run --all`.
"""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.addresses import randomPort
from tests.support.authorities import Certificates
from tests.support.commands import listenTLS
from tests.support.daemon import Daemon
from tests.support.diagnoses import diagnose, servedNetwork
from tests.support.proxies import haproxy
from tests.support.routednetwork import SERVER, SERVER6, whyNoRoutedNetwork

RUNS = int(os.environ.get("DIAGNOSE_RUNS", "1"))
WHY_NOT = whyNoRoutedNetwork()

pytestmark = pytest.mark.slow


@contextmanager
def loopback(folder: Path, certificates: Certificates) -> Iterator[list[str]]:
    """Serve TCP and UDP on 127.0.0.1; yield the arguments of a diagnosis."""
    address = f"127.0.0.1:{randomPort()}"
    with Daemon.start(folder, f"--udp={address}", listen=[address]):
        yield [address]


@contextmanager
def twoHops(folder: Path, certificates: Certificates) -> Iterator[list[str]]:
    """Serve two hops away, over IPv4."""
    with servedNetwork(folder):
        yield [SERVER]


@contextmanager
def twoHopsOverIPv6(folder: Path, certificates: Certificates) -> Iterator[list[str]]:
    """Serve two hops away, over IPv6."""
    with servedNetwork(folder):
        yield [f"[{SERVER6}]"]


@contextmanager
def throughHaproxy(folder: Path, certificates: Certificates) -> Iterator[list[str]]:
    """Serve behind haproxy, which sends a PROXY header."""
    with ExitStack() as stack:
        daemon = stack.enter_context(Daemon.start(folder, "--proxy-from=127.0.0.1/32"))
        yield [stack.enter_context(haproxy(folder, f"{daemon.address.target} send-proxy-v2")).target]


@contextmanager
def throughHaproxyWithTLS(folder: Path, certificates: Certificates) -> Iterator[list[str]]:
    """Serve with TLS, behind haproxy, which ends TLS and begins another one."""
    with Daemon.start(folder, listen=[listenTLS(certificates.server)]) as daemon:
        server = f"{daemon.address.target.removeprefix('tls:')} ssl verify none"
        with haproxy(folder, server, f"ssl crt {certificates.server}") as address:
            yield ["--cafile", certificates.authority, "--server-name", "localhost", address.target]


@contextmanager
def busy() -> Iterator[None]:
    """Keep every processor busy, twice over."""
    processes = [multiprocessing.Process(target=spin, daemon=True) for _ in range(2 * (os.cpu_count() or 1))]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def spin() -> None:
    """Compute without end."""
    while True:
        pass


needsNetwork = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


@pytest.mark.parametrize("isBusy", [False, True], ids=["quiet", "busy"])
@pytest.mark.parametrize(
    "serve",
    [
        loopback,
        pytest.param(twoHops, marks=needsNetwork),
        pytest.param(twoHopsOverIPv6, marks=needsNetwork),
        throughHaproxy,
        throughHaproxyWithTLS,
    ],
)
def test_healthyPathIsHealthy(tmp_path: Path, certificates: Certificates, serve: object, isBusy: bool) -> None:
    """Of a path without a fault no check says anything, not even a note."""
    with ExitStack() as stack:
        arguments = stack.enter_context(serve(tmp_path, certificates))  # type: ignore[operator]
        if isBusy:
            stack.enter_context(busy())
        for _ in range(RUNS):
            done = diagnose(arguments[-1], "--strict", *arguments[:-1])
            problems = [problem for check in done.report["checks"] for problem in check["problems"]]
            assert (done.code, problems) == (0, [])
