"""Endpoint descriptions, as Twisted writes them."""

import inspect
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

MAXIMUM_PATH = 107
"""Bytes in the path of a Unix socket, or in its abstract name (unix(7))."""

_FIELD = re.compile(r"(?:^|:)((?:\\.|[^\\:=]|\\$)*)(?:=((?:\\.|[^\\:]|\\$)*))?", re.DOTALL)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def splitDescription(description: str) -> tuple[list[str], dict[str, str]]:
    r"""Take `KIND:VALUE:...:NAME=VALUE:...` apart into the values, of which the kind is the first, and the named ones.

    The grammar is that of `twisted.internet.endpoints`: a `\` makes the next character an ordinary one, and a named
    value may contain a `=`. Every text is valid; a lone `\` at the end stands for itself.
    """
    values: list[str] = []
    named: dict[str, str] = {}
    for first, second in (field.groups() for field in _FIELD.finditer(description)):
        if second is None:
            values.append(_unquoted(first))
        else:
            named[_unquoted(first)] = _unquoted(second)
    return values, named


def applyTo(function: Callable[..., T], values: list[str], named: dict[str, str]) -> T:
    """Call `function` with the fields of a description, and return its result; raise ValueError if they don't fit."""
    signature = inspect.signature(function)
    try:
        signature.bind(*values, **named)
    except TypeError:
        raise ValueError(_mistake(signature, values, named)) from None
    return function(*values, **named)


def _mistake(signature: inspect.Signature, values: list[str], named: dict[str, str]) -> str:
    """Return what is wrong with fields that don't fit `signature`."""
    fields = {name: field for name, field in signature.parameters.items() if field.kind in _NAMED}
    given = [name for name, field in fields.items() if field.kind is field.POSITIONAL_OR_KEYWORD][: len(values)]
    required = [name for name, field in fields.items() if field.default is field.empty]
    if unknown := [name for name in named if name not in fields]:
        return f"unknown field {unknown[0]}"
    if twice := [name for name in given if name in named]:
        return f"{twice[0]} is given twice"
    if missing := [name for name in required if name not in (*given, *named)]:
        return f"{missing[0]} is missing"
    return "too many values"


def wholeNumber(text: str) -> int:
    """Return the whole number, of 9 digits at most, that `text` is; raise ValueError for anything else."""
    if not re.fullmatch("-?[0-9]{1,9}", text):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def socketPath(text: str) -> str:
    """Return the path that system calls take for `text`, the address of a Unix socket; raise ValueError if it has none.

    `@NAME` is an abstract name, before which system calls take a NUL (unix(7)); `./@NAME` is a file.
    """
    isAbstract = text.startswith("@")
    name = text[isAbstract:]
    if not name:
        raise ValueError(f"the {'name' if isAbstract else 'path'} is missing")
    if len(os.fsencode(name)) > MAXIMUM_PATH:
        raise ValueError(f"longer than the {MAXIMUM_PATH} bytes that a Unix socket takes")
    return "\0" + name if isAbstract else name


@contextmanager
def parsing(description: str, kind: str) -> Iterator[None]:
    """Turn a ValueError into one that names `description`, an invalid endpoint of `kind`, and gives the reason."""
    try:
        yield
    except ValueError as error:
        hint = r"; in an endpoint string, write each : of an IPv6 address as \:" if "::" in description else ""
        raise ValueError(f"{description!r} is not a valid {kind} endpoint: {error}{hint}") from None


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
