"""The `echoup` command."""

import math
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from echoup.client.connect.systemerror import explainError
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.options import pathOptions
from echoup.client.run import complain, conclude, run
from echoup.client.standardio import useWaitingStreams


class Seconds(click.FloatRange):
    """A finite number of seconds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Refuse `nan` and `inf`, which FloatRange accepts."""
        seconds: float = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{seconds} is not a number of seconds", param, ctx)
        return seconds


def secondsOption(*names: str, default: float, text: str, isPositive: bool = True) -> Callable[[Any], Any]:
    """Return an option that takes seconds, more than 0 with `isPositive`; `text` is its help."""
    kind = Seconds(0, min_open=isPositive)
    return click.option(*names, type=kind, default=default, show_default=True, metavar="SECONDS", help=text)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="echoup", message="echoup %(version)s")
def cli() -> None:
    """Prove a network path: send bytes, and see whether the real application answered."""


@cli.command()
@pathOptions
@secondsOption(
    "--timeout",
    default=10.0,
    text="Give up when connecting, or waiting for a reply of which nothing comes, takes longer.",
)
def connect(target: Any, timeout: float) -> int:
    """Talk to the echo service at TARGET.

    TARGET is HOST, HOST:PORT, [V6]:PORT, udp: before one of these, or a Twisted client endpoint string (tcp:, tls:,
    unix:; unix:@NAME is an abstract socket); without one it is 127.0.0.1:8081.

    On a terminal it prompts for lines and prints the reply under each; Ctrl-D ends it. Otherwise it sends standard
    input, then its end, and writes all that comes back to standard output.

    UDP may lose what it carries, and doesn't tell. So each datagram has to be answered before the next is sent, and
    when one isn't within the --timeout that is the end.

    \b
    Exit codes: 0 all came back in upper case    7 closed or reset early
                1 wrong reply                    8 not sent: local trouble
                2 usage                        130 Ctrl-C
                3 name not resolved            141 output can't be written
                4 refused or unreachable       143 SIGTERM
                5 timed out
                6 TLS failed
    """  # noqa: D301  # \b keeps click from wrapping a paragraph
    if sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty():
        from twisted.internet import asyncioreactor

        from echoup.client.console import converse as talk

        asyncioreactor.install()
    else:
        from echoup.client.pipe import pipe as talk

    from twisted.internet import reactor

    return run(reactor, talk, target, timeout)


def _requirement(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[Any]:
    """Parse the requirements."""
    if not values:
        return []
    from echoup.client.ping.requirement import parseRequirement

    try:
        return [parseRequirement(value) for value in values]
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@cli.command()
@pathOptions
@click.option("-c", "--count", type=click.IntRange(1), metavar="COUNT", help="Stop after so many probes.")
@secondsOption(
    "-i",
    "--interval",
    default=1.0,
    text="Begin a probe so long after the one before; 0: as soon as that is over.",
    isPositive=False,
)
@secondsOption("-W", "--timeout", default=5.0, text="Give a probe up, in whatever step it is, when it takes longer.")
@click.option(
    "-s",
    "--size",
    type=click.IntRange(1, 2**30),
    default=56,
    show_default=True,
    metavar="BYTES",
    help="Send so many.",
)
@click.option("--keep", is_flag=True, help="Keep the connection (udp: the port) for all probes.")
@click.option("--half-close", is_flag=True, help="Send our end as well, and demand the rest and the server's end.")
@click.option("-v", "--verbose", is_flag=True, help="Show each step: how long it took, and what is known of it.")
@click.option("-q", "--quiet", is_flag=True, help="Show the summary only.")
@click.option(
    "--require",
    "requirements",
    multiple=True,
    callback=_requirement,
    metavar="TEXT",
    help="Fail unless it's so: 'p99<5ms', 'loss<1%', 'outage<=2s'; repeatable.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "nagios", "prometheus"]),
    default="text",
    show_default=True,
    help="What to write.",
)
@click.option("--json", is_flag=True, help="The same as --format json.")
def ping(
    target: Any,
    count: int | None,
    interval: float,
    timeout: float,
    size: int,
    keep: bool,
    half_close: bool,
    verbose: bool,
    quiet: bool,
    requirements: list[Any],
    form: str,
    json: bool,
) -> int:
    """Probe the path to the echo service at TARGET, and say what is wrong with it, and where.

    Each probe sends text that nobody can have seen before, and checks every byte of the reply. It is made on a
    connection of its own, unless told otherwise, and begins when it is due, whether or not those before are over.
    Without a --count that goes on until Ctrl-C.

    TARGET is HOST, HOST:PORT, [V6]:PORT, udp: before one of these, or a Twisted client endpoint string (tcp:, tls:,
    unix:; unix:@NAME is an abstract socket); without one it is 127.0.0.1:8081.

    \b
    Exit codes: 0 all came back in upper case    6 TLS failed
                1 wrong reply, or a --require    7 closed or reset early
                  that isn't met                 8 not sent: local trouble
                2 usage                        130 Ctrl-C
                3 name not resolved            141 output can't be written
                4 refused or unreachable       143 SIGTERM
                5 timed out
    A wrong reply counts most; else it is the first failure that does. Lost probes alone are forgiven where a
    --require limits the loss, or the outage and that is over at the end. Probes that weren't sent, because this
    machine has no route or no file descriptors left, for example, count as neither answered nor lost.
    """  # noqa: D301  # as above
    if keep and half_close:
        raise click.UsageError("--keep and --half-close contradict each other: a connection ends only once")
    if json and form not in ("text", "json"):
        raise click.UsageError(f"--json and --format {form} contradict each other")
    if count is None and form in ("nagios", "prometheus"):
        raise click.UsageError(f"--format {form} needs a --count")

    from twisted.internet import reactor

    from echoup.client.ping.datagram import MAXIMUM
    from echoup.client.ping.schedule import Schedule
    from echoup.client.ping.session import ping as talk
    from echoup.client.target.datagram import DatagramTarget

    if isinstance(target, DatagramTarget):
        if half_close:
            raise click.UsageError("--half-close is for streams, not for UDP")
        if size > MAXIMUM:
            raise click.UsageError(f"a UDP datagram has at most {MAXIMUM} bytes")
    report = _makeReport("json" if json else form, quiet, verbose)
    schedule = Schedule(count, interval, timeout, size, keep, half_close)
    try:
        code = run(reactor, talk, target, schedule, report, requirements)
    except MemoryError:
        raise click.UsageError(f"there is not enough memory for a --size of {size}") from None
    return report.status if form == "nagios" else code


def _makeReport(form: str, quiet: bool, verbose: bool) -> Any:
    if form == "json":
        from echoup.client.ping.reports.jsonlines import JSONReport

        return JSONReport(_write, quiet)
    if form == "nagios":
        from echoup.client.ping.reports.nagios import NagiosReport

        return NagiosReport(_write)
    if form == "prometheus":
        from echoup.client.ping.reports.prometheus import PrometheusReport

        return PrometheusReport(_write)
    from echoup.client.ping.reports.text import TextReport

    isTerminal = sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return TextReport(_write, quiet, verbose, isTerminal)


def _write(text: str) -> None:
    """Write `text` to standard output; Python has none where it was closed before the start."""
    if sys.stdout:
        sys.stdout.write(text)


def main() -> None:
    """Run the command line and exit; a mistake of the user is one line on stderr."""
    useWaitingStreams()
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        complain(*error.format_message().splitlines())
        code = ExitCode.USAGE
    except click.ClickException as error:
        complain(f"echoup: {error.format_message()}")
        code = error.exit_code
    except PathError as error:
        code = conclude(error)
    except (click.Abort, KeyboardInterrupt):
        code = ExitCode.INTERRUPTED
    except OSError as error:
        code, why = explainError(error)
        if code is not ExitCode.LOCAL:
            raise
        complain(f"echoup: {why}")
    sys.exit(code)
