"""The command `echoup connect`."""

import sys
from typing import Any

import click

from echoup.client.commandline.habits import PathCommand
from echoup.client.commandline.options import pathOptions, secondsOption
from echoup.client.run import run


@click.command(cls=PathCommand)
@pathOptions
@secondsOption(
    "-W", "--timeout", default=10.0, text="Give up if connecting, or a wait for more of a reply, takes longer."
)
@click.option("--no-history", is_flag=True, help="Neither read nor write the history file.")
def connect(target: Any, timeout: float, no_history: bool) -> int:
    """Talk to the echo service at TARGET.

    TARGET is HOST, HOST:PORT, [V6]:PORT, tls: or udp: before one of these, or a Twisted client endpoint string (tcp:,
    tls:, unix:; unix:@NAME is an abstract socket). The default is 127.0.0.1:8081.

    On a terminal, connect prompts for lines and prints the reply under each. Ctrl-D ends it; Ctrl-Z suspends it.
    Otherwise it sends standard input, half-closes the connection, and writes the full reply to standard output.

    UDP may lose datagrams without notice. So connect sends each datagram only after the reply to the previous one, and
    gives up when a reply takes longer than the timeout.

    \b
    Exit codes: 0 everything uppercased          7 closed or reset early
                1 wrong reply                    8 not sent: local trouble
                2 usage                        130 Ctrl-C
                3 name not resolved            141 output can't be written
                4 refused or unreachable       143 SIGTERM
                5 timed out
                6 TLS failed
    """  # noqa: D301  # \b keeps click from wrapping a paragraph
    if sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty():
        from twisted.internet import asyncioreactor

        from echoup.client.conversation.console import converse

        asyncioreactor.install()
        command = [converse, target, timeout, not no_history]
    else:
        from echoup.client.conversation.pipe import pipe

        command = [pipe, target, timeout]

    from twisted.internet import reactor

    return run(reactor, *command)
