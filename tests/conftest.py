"""What all tests share: their order, what they must leave behind, and the figures that they print."""

import gc
from collections.abc import Callable, Iterator
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put trial's TestCases first: those that need the reactor can't have it once pytest-twisted runs it."""
    items.sort(key=lambda item: not isinstance(item, pytest.Function) or item.cls is None)


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test function that leaves a connection, a timer or an error behind, as trial fails a TestCase."""
    if request.cls:
        yield
        return
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
