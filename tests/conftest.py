"""What all tests share: their order, their random input, what they must clean up, and the figures they print."""

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

# Let a failed assertion in what they share show its values, as in a test module.
for path in Path(__file__).parent.glob("support/*.py"):
    if (name := f"tests.support.{path.stem}") not in sys.modules:
        pytest.register_assert_rewrite(name)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Prepare this process, which runs the tests or hands them out; Hypothesis draws from the same seed."""
    markProcesses()
    for number in getattr(config, "workerinput", {}).get("ignored", ()):
        disregard(number)
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = SEED


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Let a process that runs tests ignore the signals that the one that hands them out ignores."""
    node.workerinput["ignored"] = restoreSignals()


def pytest_report_header() -> str:
    """Name the seed."""
    return f"random input: TEST_SEED={SEED}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """With `-n auto`, let four tests a core run side by side: most of them wait."""
    return 4 * len(os.sched_getaffinity(0))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow tests first, so that none of them begins when all else has ended."""
    items.sort(key=lambda item: not item.get_closest_marker("slow"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a failure say how to repeat its random input; where TEST_PEERS=required, what is missing is a failure."""
    report = yield
    if report.skipped and " is missing: " in str(report.longrepr) and os.environ.get("TEST_PEERS") == "required":
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
