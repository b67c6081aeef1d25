"""Paths without a fault: nothing is said against them, whatever they consist of and however busy the machine is."""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from echoup.client.diagnose.finding import Finding, Status
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.diagnose.reports.report import DiagnosisReport
from echoup.client.diagnose.session import diagnose
from echoup.client.exitcodes import PathError
from echoup.client.target.parse import Target, parseTarget
from echoup.client.target.security import Security
from echoup.client.target.stream import StreamTarget
from tests.support.authorities import Certificates
from tests.support.checks import RUNS, alike, find
from tests.support.daemon import Daemon
from tests.support.proxies import haproxy
from tests.support.routednetwork import SERVER, SERVER6

pytestmark = pytest.mark.slow


@contextmanager
def loopback(request: pytest.FixtureRequest) -> Iterator[Target]:
    """Diagnose a daemon on 127.0.0.1, which serves UDP, too."""
    daemon: Daemon = request.getfixturevalue("daemon")
    yield parseTarget(daemon.address.target)


@contextmanager
def twoHops(request: pytest.FixtureRequest) -> Iterator[Target]:
    """Diagnose a daemon two hops away, over IPv4."""
    request.getfixturevalue("network")
    yield parseTarget(SERVER)


@contextmanager
def twoHopsOverIPv6(request: pytest.FixtureRequest) -> Iterator[Target]:
    """Diagnose a daemon two hops away, over IPv6."""
    request.getfixturevalue("network")
    yield parseTarget(f"[{SERVER6}]:8081")


@contextmanager
def throughHaproxy(request: pytest.FixtureRequest) -> Iterator[Target]:
    """Diagnose a daemon behind haproxy, which sends a PROXY header."""
    folder: Path = request.getfixturevalue("tmp_path")
    with (
        Daemon.start(folder, "--proxy-from=127.0.0.1/32") as daemon,
        haproxy(folder, f"{daemon.address.target} send-proxy-v2") as address,
    ):
        yield parseTarget(address.target)


@contextmanager
def throughHaproxyWithTLS(request: pytest.FixtureRequest) -> Iterator[Target]:
    """Diagnose a daemon behind haproxy, which ends TLS and begins another one."""
    daemon: Daemon = request.getfixturevalue("daemon")
    certificates: Certificates = request.getfixturevalue("certificates")
    folder: Path = request.getfixturevalue("tmp_path")
    server = f"{daemon.addresses[1].target.removeprefix('tls:')} ssl verify none"
    with haproxy(folder, server, f"ssl crt {certificates.server}") as address:
        host, port = address.address
        yield StreamTarget("", host, port, Security(certificates.authority, serverName="localhost"))


PATHS = (twoHops, twoHopsOverIPv6, loopback, throughHaproxy, throughHaproxyWithTLS)


@contextmanager
def busy() -> Iterator[None]:
    """Keep all processors that this process may use busy, twice over; in a normal run it may use only one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, alike(*before))
    processes = [multiprocessing.Process(target=spin, daemon=True) for _ in range(2 * len(os.sched_getaffinity(0)))]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        for process in processes:
            process.kill()
            process.join()


def spin() -> None:
    """Compute without end."""
    while True:
        pass


class Findings(DiagnosisReport):
    """What all checks of a diagnosis found."""

    def __init__(self) -> None:
        self.findings: dict[str, Finding] = {}

    def add(self, name: str, finding: Finding, seconds: float) -> None:
        """Record what a check found."""
        self.findings[name] = finding


async def allChecks(path: PathUnderTest, tell: Tell) -> Finding:
    """Make a diagnosis as the command does, and return all problems that it found, and which checks were OK."""
    report = Findings()
    problem = ""
    try:
        await diagnose(path.reactor, path.target, path.scope, report, isStrict=True)
    except PathError as error:
        problem = str(error)
    problems = tuple(each for found in report.findings.values() for each in found.problems)
    return Finding(problem, problems, {name: found.status is Status.OK for name, found in report.findings.items()})


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """The target of one of PATHS, which is the parameter."""
    with request.param(request) as target:
        yield target


@pytest.mark.parametrize(
    ("target", "isBusy"),
    [*((each, False) for each in PATHS), *((each, True) for each in alike(*PATHS))],
    indirect=["target"],
    ids=lambda value: value.__name__ if callable(value) else "busy" if value else "quiet",
)
def test_healthyPathIsHealthy(target: Target, isBusy: bool) -> None:
    """Of a path without a fault no check says anything, not even a note."""
    with busy() if isBusy else nullcontext():
        for _ in range(RUNS):
            found = find(allChecks, target)
            assert (found.problems, found.summary) == ((), "")
            assert all(found.figures[name] for name in ("reach", "half-close", "proxy", "buffering", "exact"))
