"""The `echoup` command."""

import math
import sys
from typing import Any

import click

from echoup.client.options import pathOptions
from echoup.client.outcome import ExitCode
from echoup.client.run import run


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
@pathOptions
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

    TARGET is HOST, HOST:PORT, [V6]:PORT, udp: before one of these, or a Twisted client endpoint string (tcp:, tls:,
    unix:); without one it is 127.0.0.1:8081.

    On a terminal it prompts for lines and prints the reply under each; Ctrl-D ends it. Otherwise it sends standard
    input, then its end, and writes all that comes back to standard output.

    UDP may lose what it carries, and doesn't tell. So each datagram has to be answered before the next is sent, and
    when one isn't within the --timeout that is the end.

    \b
    Exit codes: 0 all came back in upper case    5 timed out
                1 wrong reply                    6 TLS failed
                2 usage                          7 closed or reset early
                3 name not resolved            130 Ctrl-C
                4 refused or unreachable       141 output can't be written
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
