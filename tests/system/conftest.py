"""The fixtures of the tests of the real commands."""

from collections.abc import Iterator
from resource import RLIMIT_NOFILE, getrlimit, setrlimit

import pytest

from tests.support.authorities import Certificates
from tests.support.daemon import Daemon
from tests.support.reactors import REACTORS


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark each test in this folder."""
    item.add_marker("system")


@pytest.fixture(params=REACTORS)
def reactor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run all daemons of a test on the same reactor, once on each of REACTORS; return its name."""
    name: str = request.param
    monkeypatch.setattr(Daemon, "reactor", name)
    return name


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The certificates for all tests of a run."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def manyConnections(reactor: str, manyDescriptors: None) -> None:
    """Allow a test a thousand connections, or skip it on the select reactor."""
    if reactor == "select":
        pytest.skip("the select reactor serves at most 880 connections")


@pytest.fixture
def manyDescriptors() -> Iterator[None]:
    """Raise this process's limit of open files to the hard limit."""
    soft, hard = getrlimit(RLIMIT_NOFILE)
    setrlimit(RLIMIT_NOFILE, (hard, hard))
    yield
    setrlimit(RLIMIT_NOFILE, (soft, hard))
