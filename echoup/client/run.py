"""The reactor's side of a command: its clock, its signals and its exit code."""

import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import FrameType
from typing import Any

import click

from echoup.client.connect.systemerror import explainError
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.standardio import isPipe
from echoup.escaping import shown


def run(reactor: Any, command: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> int:
    """Run `command(reactor, *arguments)`; SIGINT and SIGTERM end it, a second one at once.

    Return the exit code of a command that returned, or that a signal ended; raise what it raises otherwise.
    """
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
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return ExitCode.OK


def explainFailure(error: Exception) -> tuple[int, str] | None:
    """Return the exit code and the words for a mistake of the user, or for trouble of this machine or the path.

    Return None for any other error, which is a fault of the program.
    """
    if isinstance(error, click.ClickException):
        return error.exit_code, error.format_message()
    if isinstance(error, PathError):
        return error.code, str(error)
    if isinstance(error, OSError):
        code, why = explainError(error)
        return (code, why) if code is ExitCode.LOCAL else None
    return None


def conclude(error: PathError) -> int:
    """Print `error`, unless the user caused it, and return its exit code."""
    if not (error.code == ExitCode.INTERRUPTED or (error.code == ExitCode.BROKEN_PIPE and isPipe(1))):
        complain(f"echoup: {error}")
    return error.code


def complain(*lines: str) -> None:
    """Write `lines`, which may contain foreign text, to standard error, if it is writable."""
    if sys.stderr:
        with suppress(PathError):
            sys.stderr.write("".join(f"{shown(line)}\n" for line in lines))
