"""The command `echoup ping`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import click

from echoup.client.commandline.habits import PathCommand
from echoup.client.commandline.options import badParameter, pathsOptions, secondsOption
from echoup.client.exitcodes import PathError
from echoup.client.run import conclude, run
from echoup.client.standardio import isTerminal, show


def _requirements(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[Any]:
    """Parse the requirements."""
    if not values:
        return []
    from echoup.client.ping.requirement import parseRequirement

    with badParameter():
        return [parseRequirement(value) for value in values]


@click.command(cls=PathCommand, short_help="Probe the path to each TARGET, and say what fails, and where.")
@pathsOptions
@click.option("-c", "--count", type=click.IntRange(1), metavar="COUNT", help="Stop after COUNT probes.")
@secondsOption(
    "-i",
    "--interval",
    default=1.0,
    text="Time between the starts of two probes; 0: start each when the previous one ends.",
    isPositive=False,
)
@secondsOption("-W", "--timeout", default=5.0, text="Give up on a probe after this time, whatever step it is in.")
@secondsOption("-w", "--deadline", default=None, text="End after this time, whatever is under way.")
@click.option(
    "-s",
    "--size",
    type=click.IntRange(1, 2**30),
    default=56,
    show_default=True,
    metavar="BYTES",
    help="Payload size in bytes.",
)
@click.option("--keep", is_flag=True, help="Use one connection (over UDP: one port) for all probes.")
@click.option("--half-close", is_flag=True, help="Half-close after the payload, and wait for the server to close.")
@click.option("-v", "--verbose", is_flag=True, help="Show the time and the details of each step.")
@click.option(
    "-D", "--timestamps", is_flag=True, help="Begin the line of each probe with the time in seconds since 1970."
)
@click.option("-q", "--quiet", is_flag=True, help="Show only the summary.")
@click.option(
    "--require",
    "requirements",
    multiple=True,
    callback=_requirements,
    metavar="LIMIT",
    help="Fail unless LIMIT is met, such as 'p99<5ms', 'loss<1%', 'TLS<50ms' or 'certificate>14d'; repeatable.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "nagios", "prometheus"]),
    default="text",
    show_default=True,
    metavar="FORMAT",
    help="Output format: text, json, nagios or prometheus.",
)
@click.option("--json", is_flag=True, help="Same as --format json.")
def ping(
    targets: list[Any],
    count: int | None,
    interval: float,
    timeout: float,
    deadline: float | None,
    size: int,
    keep: bool,
    half_close: bool,
    verbose: bool,
    timestamps: bool,
    quiet: bool,
    requirements: list[Any],
    form: str,
    json: bool,
) -> int:
    """Probe the path to the echo service at each TARGET, and say what fails, and where.

    Each probe sends random text and checks every byte of the reply. By default a probe makes its own connection, and
    starts on schedule even if earlier probes are still under way. Several TARGETs are probed at the same time. Without
    --count or --deadline, probing continues until Ctrl-C; Ctrl-\\ prints the statistics so far.

    TARGET is HOST, HOST:PORT, [V6]:PORT, tls: or udp: before one of these, or a Twisted client endpoint string (tcp:,
    tls:, unix:; unix:@NAME is an abstract socket). The default is 127.0.0.1:8081.

    \b
    Exit codes: 0 everything uppercased          6 TLS failed
                1 wrong reply, or a --require    7 closed or reset early
                  that isn't met                 8 not sent: local trouble
                2 usage                        130 Ctrl-C
                3 name not resolved            141 output can't be written
                4 refused or unreachable       143 SIGTERM
                5 timed out

    A wrong reply decides the exit code; otherwise the first failure does, in the order of the TARGETs. A deadline that
    comes before a result, or before COUNT of them, is a timeout. A limit on the loss forgives lost probes; so
    does a limit on the outage, if the outage has ended. Probes that this machine could not send, for example for lack
    of a route or a file descriptor, count as neither answered nor lost.

    With --format nagios, the exit codes are those of a plugin: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. A usage error is
    UNKNOWN.
    """  # noqa: D301  # as above
    if keep and half_close:
        raise click.UsageError("--keep and --half-close are mutually exclusive: a half-closed connection can't be kept")
    if json and form not in ("text", "json"):
        raise click.UsageError(f"--json and --format {form} are mutually exclusive")
    if count is None and deadline is None and form in ("nagios", "prometheus"):
        raise click.UsageError(f"--format {form} needs --count, such as -c 3, or --deadline")
    _checkNames([str(target) for target in targets])

    from twisted.internet import reactor

    from echoup.client.ping.schedule import Schedule
    from echoup.client.ping.session import ping as talk

    schedule = Schedule(count, interval, timeout, size, keep, half_close, deadline)
    for target in targets:
        _checkTarget(target, schedule, requirements)
    probe = partial(run, reactor, talk, targets, schedule)
    try:
        if form == "nagios":
            return _check(probe, requirements)
        return probe(_makeReport("json" if json else form, quiet, verbose, timestamps), requirements)
    except MemoryError:
        raise click.UsageError(f"not enough memory for --size {size}") from None


def _checkNames(names: list[str]) -> None:
    """Raise UsageError if there are too many targets, or two that the report couldn't tell apart."""
    from echoup.client.ping.session import MAXIMUM

    if len(names) > MAXIMUM:
        raise click.UsageError(f"there are {len(names)} TARGETs, and at most {MAXIMUM} can be probed at once")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise click.UsageError(f"there are two TARGETs for {twice}")


def _checkTarget(target: Any, schedule: Any, requirements: list[Any]) -> None:
    """Raise UsageError if probes of `target` can't be as `schedule` says, or can never meet a requirement."""
    from echoup.client.ping.datagram import MAXIMUM
    from echoup.client.target.datagram import DatagramTarget

    if isinstance(target, DatagramTarget):
        if schedule.halfClose:
            raise click.UsageError("--half-close needs a stream, not UDP")
        if schedule.size > MAXIMUM:
            raise click.UsageError(
                f"--size {schedule.size} does not fit a UDP datagram, which has at most {MAXIMUM} bytes"
            )
    with badParameter("--require"):
        for requirement in requirements:
            requirement.check(target, schedule)


def _check(probe: Callable[..., int], requirements: list[Any]) -> int:
    """Run `probe` as a check of Nagios, and return its status; raise PathError if there is no line that tells it."""
    from echoup.client.ping.reports.nagios import NagiosReport

    lines: list[str] = []
    report = NagiosReport(lines.append)
    failure = None
    try:
        probe(report, requirements)
    except PathError as error:
        if not lines:
            raise
        failure = error
    show("".join(lines))
    if failure:
        conclude(failure)
    return report.status


def _makeReport(form: str, quiet: bool, verbose: bool, timestamps: bool) -> Any:
    if form == "json":
        from echoup.client.ping.reports.jsonlines import JSONReport

        return JSONReport(show, quiet)
    if form == "prometheus":
        from echoup.client.ping.reports.prometheus import PrometheusReport

        return PrometheusReport(show)
    from echoup.client.ping.reports.text import TextReport

    return TextReport(show, quiet, verbose, isTerminal(), timestamps)
