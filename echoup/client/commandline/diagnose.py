"""The command `echoup diagnose`."""

from typing import Any

import click

from echoup.client.commandline.habits import PathCommand
from echoup.client.commandline.options import pathOptions, secondsOption
from echoup.client.diagnose.scope import CHECKS, Scope
from echoup.client.run import run
from echoup.client.standardio import isTerminal, show


@click.command(cls=PathCommand, short_help="Find out what is wrong with the path to TARGET, and where.")
@pathOptions
@click.option(
    "--only", multiple=True, type=click.Choice(CHECKS), metavar="NAME", help="Make only this check; repeatable."
)
@click.option(
    "--skip", multiple=True, type=click.Choice(CHECKS), metavar="NAME", help="Leave this check out; repeatable."
)
@secondsOption("-W", "--timeout", default=5.0, text="Wait this long for each step: a connection, a reply.")
@click.option(
    "--flows", type=click.IntRange(2, 256), metavar="N", help="Probe from N source ports, and find those that lose."
)
@secondsOption("--idle", default=None, text="Find after what time, up to this, an idle connection is cut.")
@secondsOption("--load", default=None, text="Measure the latency beside a flood that lasts this long each way.")
@click.option("--many", type=click.IntRange(1, 2**16), metavar="N", help="Hold N connections at the same time.")
@click.option("--strict", is_flag=True, help="Exit with 1 also for notes and warnings.")
@click.option("--json", is_flag=True, help="Write one JSON object.")
def diagnose(
    target: Any,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    timeout: float,
    flows: int | None,
    idle: float | None,
    load: float | None,
    many: int | None,
    strict: bool,
    json: bool,
) -> int:
    """Find out what is wrong with the path to the echo service at TARGET, and where.

    Each check measures one thing about the path, and needs no privileges. Together they take about ten seconds, and
    the time that --idle and --load are given. The report has a line for each check, under a warning what was seen, what
    it means and what to try, and in the last line the most probable cause.

    The checks are resolve, reach, mtu, udp, tls, half-close, proxy, buffering and exact, and with the option of that
    name flows, load, many and idle.

    TARGET is HOST, HOST:PORT, [V6]:PORT, tls: or udp: before one of these, or a Twisted client endpoint string (tcp:,
    tls:, unix:; unix:@NAME is an abstract socket). The default is 127.0.0.1:8081.

    \b
    Exit codes: 0 no check failed                7 closed or reset early
                1 wrong reply, or with           8 not sent: local trouble
                  --strict a warning           130 Ctrl-C
                2 usage                        141 output can't be written
                3 name not resolved            143 SIGTERM
                4 refused or unreachable
                5 timed out
                6 TLS failed
    """  # noqa: D301  # \b keeps click from wrapping a paragraph
    from twisted.internet import reactor

    from echoup.client.diagnose.reports.jsonobject import DiagnosisJSON
    from echoup.client.diagnose.reports.text import DiagnosisText
    from echoup.client.diagnose.session import diagnose as examine

    scope = Scope(frozenset(only), frozenset(skip), timeout, flows or 0, idle or 0, load or 0, many or 0)
    for name, extent in {"flows": flows, "idle": idle, "load": load, "many": many}.items():
        if extent and not scope.includes(name):
            raise click.UsageError(f"--{name} asks for a check that --only or --skip leaves out")
        if not extent and name in only:
            raise click.UsageError(f"--only {name} needs --{name} as well, which says how far to go")
    if not any(map(scope.includes, CHECKS)):
        raise click.UsageError("--only and --skip leave no check")
    report = DiagnosisJSON(show) if json else DiagnosisText(show, isTerminal())
    return run(reactor, examine, target, scope, report, strict)
