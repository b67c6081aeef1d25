"""Commands that understand what users of similar programs type, and say what to type instead."""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import click

_PORT = "the port is part of TARGET, as in HOST:PORT"
_UDP = "for UDP begin TARGET with udp:"
_OPTIONS = {"-p": _PORT, "--port": _PORT, "-u": _UDP, "--udp": _UDP, "-w": "the timeout is -W"}
"""Options of nc(1) and its relatives."""

_SCHEMES = {
    "http": ("", 80),
    "https": ("tls:", 443),
    "ssl": ("tls:", None),
    "tcp": ("", None),
    "tls": ("tls:", None),
    "udp": ("udp:", None),
}
"""What stands for the scheme of a URL in a TARGET, and its default port."""


class PathCommand(click.Command):
    """A command with a TARGET and durations."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        keywords.setdefault("epilog", "A DURATION is a number of seconds, or has a unit: 250us, 500ms, 5s, 2m.")
        super().__init__(*arguments, **keywords)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; explain a port that is a word or an option of its own."""
        ctx.allow_extra_args = True
        try:
            rest = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if hint := _OPTIONS.get(error.option_name):
                raise click.UsageError(f"No such option '{error.option_name}'; {hint}", ctx) from None
            raise
        if ctx.resilient_parsing:
            return rest
        given = ctx.params["target"]
        target, *others = (given or ("",)) if isinstance(given, tuple) else (given, *rest)
        if joined := joinWords(target, others):
            raise click.UsageError(f"TARGET is one word: write {joined} instead of {target} {others[0]}", ctx)
        if rest:
            raise click.UsageError(f"unexpected {' '.join(rest)} after TARGET {target}", ctx)
        return rest


class Commands(click.Group):
    """A group of such commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; explain an option of a command in front of it."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            for command in self.commands.values():
                if any(error.option_name in option.opts for option in command.params):
                    hint = f"options follow the command, as in echoup {command.name} {error.option_name}"
                    raise click.UsageError(f"No such option '{error.option_name}' of echoup; {hint}", ctx) from None
            raise

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command; explain a TARGET in its place."""
        word = args[0]
        if word not in self.commands and not word.startswith("-"):
            target = joinWords(word, args[1:]) or (word if word == "localhost" or set(word) & set(".:") else "")
            if isTarget(target := suggestTarget(target) or target):
                hint = f"to talk to it: echoup connect {target}; to probe it: echoup ping {target}"
                raise click.UsageError(f"{word!r} is not a command; {hint}", ctx)
        return super().resolve_command(ctx, args)


def isTarget(text: str) -> bool:
    """Return whether `text` is a TARGET."""
    from echoup.client.target.parse import parseTarget

    with suppress(ValueError):
        return bool(text and parseTarget(text))
    return False


def joinWords(target: str, rest: Sequence[str]) -> str:
    """Return the TARGET that is meant by `target`, a host, with its port in the word after it; empty if none is."""
    if len(rest) != 1 or not re.fullmatch("[0-9]{1,5}", rest[0]):
        return ""
    from echoup.addresses import joinAddress  # imports Twisted, which completion and help needn't wait for

    kind, colon, host = target.partition(":") if target.startswith(("tcp:", "tls:", "udp:")) else ("", "", target)
    joined = kind + colon + joinAddress(host.strip("[]"), int(rest[0]))
    return joined if isTarget(joined) else ""


def suggestTarget(url: str) -> str:
    """Return the TARGET that is meant by a URL; empty if none is."""
    scheme, slashes, rest = url.partition("://")
    if not slashes or scheme.lower() not in _SCHEMES:
        return ""
    kind, port = _SCHEMES[scheme.lower()]
    address = rest.partition("/")[0].rpartition("@")[2]
    if port and not address.rpartition("]")[2].count(":"):
        address = f"{address}:{port}"
    return kind + address if isTarget(kind + address) else ""
