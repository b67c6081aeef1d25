"""The reactor's side of a command: its clock, its signals, its threads and its exit code."""

import os
import signal
import stat
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

import click

from echoup.client.outcome import ExitCode, PathError


def run(reactor: Any, command: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> int:
    """Run `command(reactor, *arguments)`, and return the exit code; SIGINT and SIGTERM end it."""
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from echoup.clock import useMonotonicClock

    results: list[Failure | None] = []
    signals: list[int] = []

    def start() -> None:
        def finish(result: Failure | None) -> None:
            results.append(result)
            reactor.stop()

        def end(number: int, frame: FrameType | None) -> None:
            signals.append(number)
            reactor.callFromThread(running.cancel)

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        running = Deferred.fromCoroutine(command(reactor, *arguments))
        running.addBoth(finish)

    useMonotonicClock(reactor)
    _resolveInDaemonThreads(reactor)
    reactor.callWhenRunning(start)
    reactor.run()
    if signals:
        return 128 + signals[0]
    try:
        if isinstance(results[0], Failure):
            results[0].raiseException()
    except PathError as error:
        if not (error.code == ExitCode.INTERRUPTED or (error.code == ExitCode.BROKEN_PIPE and _outputIsPipe())):
            click.echo(f"echoup: {error}", err=True)
        return error.code
    return ExitCode.OK


def _resolveInDaemonThreads(reactor: Any) -> None:
    """Let names be resolved in threads that nobody waits for at the end.

    A resolver takes as long as it likes, and the reactor's own threads would keep the process until it is done.
    """
    from functools import partial
    from threading import Thread

    from twisted.internet._resolver import GAIResolver
    from twisted.python.threadpool import ThreadPool

    pool = ThreadPool(0, 1)
    pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]  # it is only called
    pool.start()
    reactor.installNameResolver(GAIResolver(reactor, lambda: pool))


def _outputIsPipe() -> bool:
    """Is standard output something whose reader may go away, which is nothing to complain about?"""
    mode = os.fstat(1).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
