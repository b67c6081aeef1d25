"""The `echoup` command."""

import math
import os
import signal
import stat
import sys
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

import click

from echoup.client.outcome import ExitCode, PathError


def _target(ctx: click.Context, param: click.Parameter, value: str) -> Any:
    """Parse a TARGET."""
    from echoup.client.target import parseTarget

    try:
        return parseTarget(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _finite(ctx: click.Context, param: click.Parameter, value: float) -> float:
    """Refuse what FloatRange lets through."""
    if not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a number of seconds")
    return value


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="echoup", message="echoup %(version)s")
def cli() -> None:
    """Prove a network path: send bytes, and see whether the real application answered."""


@cli.command()
@click.argument("target", default="127.0.0.1:8081", callback=_target)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    callback=_finite,
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up when connecting, or waiting for a reply of which nothing comes, takes longer.",
)
def connect(target: Any, timeout: float) -> int:
    """Talk to the echo service at TARGET.

    TARGET is HOST, HOST:PORT, [V6]:PORT, or a Twisted client endpoint string (tcp:, unix:); without one it is
    127.0.0.1:8081.

    On a terminal it prompts for lines and prints the reply under each; Ctrl-D ends it. Otherwise it sends standard
    input, then its end, and writes all that comes back to standard output.

    \b
    Exit codes: 0 all came back in upper case    5 timed out
                1 wrong reply                    7 closed or reset early
                2 usage                        130 Ctrl-C
                3 name not resolved            141 output can't be written
                4 refused or unreachable
    """  # noqa: D301  # \b is how click is told to leave a paragraph as it is
    if sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty():
        from twisted.internet import asyncioreactor

        asyncioreactor.install()
        from twisted.internet import reactor

        from echoup.client.console import converse as talk
    else:
        # The default reactor, epoll, can't watch files and has to spin on them.
        from twisted.internet import pollreactor

        pollreactor.install()
        from twisted.internet import reactor

        from echoup.client.pipe import pipe as talk

    return run(reactor, talk, target, timeout)


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


def main() -> None:
    """Run the command line and exit; whatever the user got wrong is one line on stderr."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = ExitCode.USAGE
    except click.ClickException as error:
        click.echo(f"echoup: {error.format_message()}", err=True)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = ExitCode.INTERRUPTED
    sys.exit(code)
