"""Endpoint descriptions, as Twisted writes them."""

import re

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


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
