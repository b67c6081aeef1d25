"""Endpoint descriptions, as Twisted writes them."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

_FIELD = re.compile(r"(?:^|:)((?:\\.|[^\\:=]|\\$)*)(?:=((?:\\.|[^\\:]|\\$)*))?", re.DOTALL)


def splitDescription(description: str) -> tuple[list[str], dict[str, str]]:
    r"""Take `KIND:VALUE:...:NAME=VALUE:...` apart into the values, of which the kind is the first, and the named ones.

    The grammar is that of `twisted.internet.endpoints`: a `\` makes the character after it an ordinary one, and a
    named value may contain a `=`. Every text has some meaning; a lone `\` at the end stands for itself.
    """
    values: list[str] = []
    named: dict[str, str] = {}
    for field in _FIELD.finditer(description):
        first, second = field.groups()
        if second is None:
            values.append(_unquoted(first))
        else:
            named[_unquoted(first)] = _unquoted(second)
    return values, named


def applyTo(function: Callable[..., T], values: list[str], named: dict[str, str]) -> T:
    """Return what `function` makes of the fields of a description; raise ValueError if it doesn't take them."""
    try:
        return function(*values, **named)
    except TypeError as error:
        raise ValueError(str(error).partition("() ")[2] or str(error)) from None


@contextmanager
def parsing(description: str, kind: str) -> Iterator[None]:
    """Turn whatever goes wrong with `description` into a ValueError of one line: Twisted's parsers let anything out."""
    try:
        yield
    except Exception as error:  # TypeError, KeyError, IndexError ...
        why = str(error) if isinstance(error, ValueError) else repr(error)
        article = "an" if kind == "ssl" else "a"
        raise ValueError(f"{description!r} is not {article} {kind} endpoint: {why}") from None


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
