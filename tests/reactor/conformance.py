"""Twisted's own reactor tests, on `UvloopReactor`: for trial, in a process and a folder of their own.

The environment variable CONFORMANCE_MODULE is a module of `twisted.internet.test`. With CONFORMANCE_TIMEOUT the
exceptions aren't skipped, and a test fails after that many seconds.
"""

import os
import shutil
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from twisted.internet.test.reactormixins import ReactorBuilder
from twisted.trial.unittest import SynchronousTestCase

from tests.reactor.exceptions import EXCEPTIONS, SUFFIX

_MODULE = os.environ["CONFORMANCE_MODULE"]
_TIMEOUT = os.environ.get("CONFORMANCE_TIMEOUT")


def _skipping(test: Callable[..., None], reason: str) -> Callable[..., None]:
    @wraps(test)
    def skipped(self: SynchronousTestCase) -> None:
        test(self)

    vars(skipped)["skip"] = reason
    return skipped


def _withPythonForAll(test: Callable[..., None]) -> Callable[..., None]:
    """Run the child processes of `test` with a Python that every user may run; this one may be for root only."""
    from twisted.internet.test import test_process

    python = shutil.which("python3", path="/usr/bin")
    if python is None:
        return _skipping(test, "no Python that another user may use")

    @wraps(test)
    def patched(self: SynchronousTestCase) -> None:
        self.patch(test_process, "pyExe", python.encode())
        test(self)

    return patched


def _givingUpItsSocket(test: Callable[..., Any]) -> Callable[..., Any]:
    """Let `test` take over a connection: it closes the `socket` of Twisted's transports, which streams don't have."""
    from echoup.reactor.ports import ServerStream

    @wraps(test)
    def patched(self: SynchronousTestCase, *arguments: object, **named: object) -> object:
        name = "socket"
        setattr(ServerStream, name, property(lambda stream: SimpleNamespace(close=stream._uv.abort)))
        self.addCleanup(delattr, ServerStream, "socket")
        return test(self, *arguments, **named)

    return patched


def _cases() -> dict[str, Any]:
    ReactorBuilder._reactors = ["echoup.reactor.uvloopreactor.UvloopReactor"]
    module = import_module(f"twisted.internet.test.{_MODULE}")
    return {
        name: case
        for name, case in vars(module).items()
        if name.endswith(SUFFIX) and issubclass(case, ReactorBuilder) and case.__module__ == module.__name__
    }


def _adapt(cases: dict[str, Any]) -> None:
    for case in cases.values():
        case.timeout = float(_TIMEOUT or 60)
        if hasattr(case, "test_changeUID"):
            case.test_changeUID = _withPythonForAll(case.test_changeUID)
        if case.__name__.startswith(("AdoptStreamConnectionTests", "UNIXAdoptStreamConnectionTests")):
            case.getConnectedClientAndServer = _givingUpItsSocket(case.getConnectedClientAndServer)
    for test, reason in EXCEPTIONS.get(_MODULE, {}).items():
        name, _, method = test.partition(".")
        case = cases[name + SUFFIX]
        if not _TIMEOUT:
            setattr(case, method, _skipping(getattr(case, method), reason))


_found = _cases()
_adapt(_found)
globals().update(_found)
