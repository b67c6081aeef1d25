"""The reactor's side of a command: its clock, its signals and its exit code."""

import os
import signal
import stat
import sys
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

import click

from echoup.client.exitcodes import ExitCode, PathError
from echoup.escaping import shown


def run(reactor: Any, command: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> int:
    """Run `command(reactor, *arguments)`, and return the exit code; SIGINT and SIGTERM end it, a second one at once."""
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
            signal.signal(number, signal.SIG_DFL)  # the second one ends the process at once
            reactor.callFromThread(lambda: running.cancel())  # noqa: PLW0108  # `running` may not exist yet

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        running = Deferred.fromCoroutine(command(reactor, *arguments))
        running.addBoth(finish)

    useMonotonicClock(reactor)
    reactor.callWhenRunning(start)
    reactor.run()
    if signals:
        return 128 + signals[0]
    try:
        if isinstance(results[0], Failure):
            results[0].raiseException()
    except PathError as error:
        if not (error.code == ExitCode.INTERRUPTED or (error.code == ExitCode.BROKEN_PIPE and _outputIsPipe())):
            complain(f"echoup: {error}")
        return error.code
    return ExitCode.OK


def complain(*lines: str) -> None:
    """Write `lines`, which may contain foreign text, to standard error, if that can be written."""
    try:
        click.echo("\n".join(map(shown, lines)), err=True)
    except OSError:
        # At the exit Python writes what is still buffered once more, and changes the exit code.
        sys.stderr = None


def _outputIsPipe() -> bool:
    """Return whether standard output is a pipe or a socket, whose reader may exit without that being an error."""
    mode = os.fstat(1).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
