"""What all tests share: their order, their random input, what they must clean up, and the figures they print."""

import gc
import os
from collections.abc import Callable, Generator, Iterator
from typing import cast

import pytest
from twisted.internet.base import ReactorBase
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogPublisher,
)

from tests.support.chance import SEED, beginTest
from tests.support.leftovers import markProcesses, outlasting

# Let a failed assertion in them show its values, as those of test modules do.
for name in ("daemon", "doubles", "gates", "pings", "terminal", "tlspeer", "uvlooptests", "ways"):
    pytest.register_assert_rewrite(f"tests.support.{name}")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Prepare this process, which runs the tests or hands them out; Hypothesis draws from the same seed."""
    markProcesses()
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = SEED


def pytest_report_header() -> str:
    """Name the seed."""
    return f"random input: TEST_SEED={SEED}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """With `-n auto`, let three tests a core run side by side: most of them wait."""
    return 3 * len(os.sched_getaffinity(0))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow tests first, so that none of them begins when all else has ended."""
    items.sort(key=lambda item: not item.get_closest_marker("slow"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a failure say how to repeat its random input; a missing program is one where TEST_PEERS=required."""
    report = yield
    if report.skipped and "apt-get install" in str(report.longrepr) and os.environ.get("TEST_PEERS") == "required":
        report.outcome = "failed"
    if report.failed:
        report.sections.append(("random input", f"TEST_SEED={SEED} repeats it"))
    return report


@pytest.fixture(scope="session", autouse=True)
def _lastProcess() -> Iterator[None]:
    """Fail a run that leaves a process behind."""
    yield
    assert not outlasting()


@pytest.fixture(autouse=True)
def _ownTest(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give a test the random input that is its own, and fail it if a process that it has started outlives it."""
    beginTest(request.node.nodeid)
    yield
    if request.cls is None:
        # pytest sets this variable, so what the test itself has started began with it.
        assert not outlasting(f"PYTEST_CURRENT_TEST={request.node.nodeid} (call)")


@pytest.fixture
def clean() -> Iterator[None]:
    """Fail a test function on the reactor that leaves a connection, a timer or an error, as trial fails a TestCase."""
    from twisted.internet import reactor as installed

    reactor = cast("ReactorBase", installed)
    errors: list[LogEvent] = []
    observe = FilteringLogObserver(cast("ILogObserver", errors.append), [LogLevelFilterPredicate(LogLevel.error)])
    globalLogPublisher.addObserver(observe)
    yield
    gc.collect()  # a Deferred tells of an error that nobody handled when it is deleted
    globalLogPublisher.removeObserver(observe)
    assert not errors
    assert set(reactor.getReaders()) <= reactor._internalReaders
    assert not reactor.getDelayedCalls()


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a measured figure in the summary of the run, whether or not the test passes."""

    def note(text: str) -> None:
        request.node.user_properties.append(("figure", f"{request.node.name}: {text}"))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures of all tests."""
    reports = [report for name in ("passed", "failed") for report in terminalreporter.getreports(name)]
    figures = [text for report in reports for name, text in report.user_properties if name == "figure"]
    if figures:
        terminalreporter.section("figures")
        for text in sorted(figures):
            terminalreporter.write_line(text)
