"""The hooks and fixtures of all tests: order, random input, checks for leftovers, and printed figures."""

import gc
import os
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, cast

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
from tests.support.signals import disregard, restoreSignals

# A failed assertion in tests/support shows its values, as in a test module.
for path in Path(__file__).parent.glob("support/*.py"):
    if (name := f"tests.support.{path.stem}") not in sys.modules:
        pytest.register_assert_rewrite(name)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Mark the processes of this run, ignore the signals that xdist's controller ignores, and seed Hypothesis."""
    markProcesses()
    for number in getattr(config, "workerinput", {}).get("ignored", ()):
        disregard(number)
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = SEED


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of xdist which signals the controller ignores."""
    node.workerinput["ignored"] = restoreSignals()


def pytest_report_header() -> str:
    """Print the seed."""
    return f"random input: TEST_SEED={SEED}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return four processes a core for `-n auto`: most tests wait."""
    return 4 * len(os.sched_getaffinity(0))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow tests first, so that none of them begins when all the others have ended."""
    items.sort(key=lambda item: not item.get_closest_marker("slow"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the seed to a failure's report; with TEST_PEERS=required, a skip for a missing program is a failure."""
    report = yield
    if report.skipped and " is missing: " in str(report.longrepr) and os.environ.get("TEST_PEERS") == "required":
        report.outcome = "failed"
    if report.failed:
        report.sections.append(("random input", f"TEST_SEED={SEED} repeats it"))
    return report


@pytest.fixture(scope="session", autouse=True)
def _lastProcess() -> Iterator[None]:
    """Fail the run if a process outlives it."""
    yield
    assert not outlasting()


@pytest.fixture(autouse=True)
def _ownTest(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give each test its own random input, and fail it if a process that it started outlives it."""
    beginTest(request.node.nodeid)
    yield
    if request.cls is None:
        # pytest sets this variable, so the processes that the test itself has started inherit it.
        assert not outlasting(f"PYTEST_CURRENT_TEST={request.node.nodeid} (call)")


@pytest.fixture
def clean() -> Iterator[None]:
    """Fail a test function that leaves a connection, a timer or an error in the reactor, as trial fails a TestCase."""
    from twisted.internet import reactor as installed

    reactor = cast("ReactorBase", installed)
    errors: list[LogEvent] = []
    observe = FilteringLogObserver(cast("ILogObserver", errors.append), [LogLevelFilterPredicate(LogLevel.error)])
    globalLogPublisher.addObserver(observe)
    yield
    gc.collect()  # a Deferred logs an unhandled error when it is deleted
    globalLogPublisher.removeObserver(observe)
    assert not errors
    assert set(reactor.getReaders()) <= reactor._internalReaders
    assert not reactor.getDelayedCalls()


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A function that prints a measured figure in the summary of the run, even if the test fails."""

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
