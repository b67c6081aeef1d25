"""Write the manual pages from the help of the commands: `.venv/bin/python docs/man/generate.py`.

Name, synopsis, description and options come from the commands. `exit-status.roff` replaces the help's table of exit
codes, and `COMMAND.roff` is the rest of a page.
"""

import re
from inspect import cleandoc
from itertools import chain
from pathlib import Path
from textwrap import wrap

import click

from echoup.client.cli import cli

FOLDER = Path(__file__).parent
TABLE = "\b\nExit codes:"
"""How the table of exit codes begins; click doesn't fill a paragraph that begins with a backspace."""
WORDS = ("ARGS", "COMMAND", "HOST", "NAME", "OPTIONS", "PORT", "TARGET", "V6")
"""The words, next to what options take, that stand for something."""


def pages() -> dict[str, str]:
    """Return the pages by the names of their files."""
    root = click.Context(cli, info_name="echoup", **cli.context_settings)
    contexts = [root, *(click.Context(each, info_name=name, parent=root) for name, each in cli.commands.items())]
    return {f"{_pageName(context)}.1": "\n".join(_lines(context)) for context in contexts}


def _pageName(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def _lines(context: click.Context) -> list[str]:
    command, name = context.command, _pageName(context)
    parameters = command.get_params(context)
    words = {*WORDS, *(each.metavar for each in parameters if each.metavar)}
    description, _, rest = cleandoc(command.help or "").partition(TABLE)
    summary = command.get_short_help_str(80).rstrip(".")
    lines = [
        '.\\" Written by docs/man/generate.py.',
        f'.TH {_typed(name.upper())} 1 "" echoup "User Commands"',
        ".nh",  # a hyphen at the end of a line would become part of what is copied
        ".SH NAME",
        rf"{_typed(name)} \- {summary[0].lower()}{summary[1:]}",
        ".SH SYNOPSIS",
        f".B {context.command_path}",
        _marked(" ".join(command.collect_usage_pieces(context)), words),
        ".SH DESCRIPTION",
        *_paragraphs(description.split("\n\n"), words)[1:],
    ]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for each in command.commands.values():
            lines += [".TP", rf".BR {_typed(f'{name}-{each.name}')} (1)", *_filled(each.get_short_help_str(80), words)]
    lines += [".SH OPTIONS", *chain.from_iterable(_option(each, words) for each in parameters)]
    lines += _paragraphs([command.epilog or ""], words)
    lines.append((FOLDER / "exit-status.roff").read_text().rstrip())
    lines += _paragraphs(rest.split("\n\n")[1:], words)
    lines.append((FOLDER / f"{name}.roff").read_text())
    return lines


def _option(option: click.Parameter, words: set[str]) -> list[str]:
    """Return the entry of an option; none for an argument."""
    if not isinstance(option, click.Option):
        return []
    # Sorted, because click 8.2 gives the names of --help in any order.
    names = ", ".join(rf"\fB{_typed(name)}\fR" for name in sorted(option.opts, key=len))
    if not option.is_flag:
        choices = getattr(option.type, "choices", ())
        names += rf" \fI{option.metavar}\fR" if option.metavar else " " + "|".join(rf"\fB{each}\fR" for each in choices)
    text = f"{option.help} The default is {option.default}." if option.show_default else str(option.help)
    return [".TP", names, *_filled(text, words)]


def _paragraphs(texts: list[str], words: set[str]) -> list[str]:
    """Return paragraphs of the help; those that aren't filled there are commands, each with what it does."""
    lines = []
    for text in filter(None, map(str.strip, texts)):
        if text.startswith("\b"):
            for row in text.splitlines()[1:]:
                command, _, does = row.strip().partition("  ")
                lines += [".TP", rf"\fB{_typed(command)}\fR", *_filled(does, words)]
        else:
            lines += [".PP", *_filled(text, words)]
    return lines


def _filled(text: str, words: set[str]) -> list[str]:
    """Return text in short lines, each sentence with a line of its own (man-pages(7), "Use semantic newlines")."""
    sentences = re.split(r"(?<=[.;]) ", " ".join(text.split()))
    lines = [line for each in sentences for line in wrap(each, 60, break_long_words=False, break_on_hyphens=False)]
    return [_marked(line, words) for line in lines]


def _marked(text: str, words: set[str]) -> str:
    """Return text with its options bold, and the words that stand for something in italics."""
    text = re.sub(r"(?<![\w-])--?[a-zA-Z0-9][\w-]*", lambda found: rf"\fB{_typed(found[0])}\fR", _escaped(text))
    text = re.sub(rf"(?<![\w\\])({'|'.join(sorted(words))})(?!\w)", r"\\fI\1\\fR", text)
    return rf"\&{text}" if text.startswith(".") else text


def _typed(text: str) -> str:
    """Return text as it is typed: a hyphen of roff's isn't the character that a shell knows."""
    return text.replace("-", r"\-")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\e").replace("'", r"\(aq")


if __name__ == "__main__":
    for name, page in pages().items():
        (FOLDER / name).write_text(page)
