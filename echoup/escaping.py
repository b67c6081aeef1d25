"""Bytes and texts from outside, escaped so that a terminal or a log can show them.

Characters that aren't printable are escaped, with two exceptions, which are part of the character that people see:

- U+200C and U+200D, the joiners, where they join or part their neighbours: in an emoji sequence (UAX #29, GB11), next
  to a virama in the Indic scripts, and between letters of a cursive script (RFC 5892, A.1).
- The tags of the three flags that Unicode recommends for interchange (UTS #51, annex C).

Anywhere else they are invisible: two texts that differ only by them look the same.
"""

import re
import unicodedata
from codecs import getincrementaldecoder
from contextlib import suppress

NON_JOINER, JOINER = "\u200c", "\u200d"

NEAR = 8
"""Characters before an invisible one that decide whether it is shown, at most."""

LONGEST = 255
"""The most bytes of a word that a peer chose; no host name is longer."""

_PICTURES = "\u2190-\u21ff\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"
"""The blocks that have emoji which are joined to others."""

_PICTURE_BEFORE = re.compile(rf"[{_PICTURES}][\ufe0f\U0001f3fb-\U0001f3ff]*\Z")

_FLAGS = re.compile(
    "\U0001f3f4(?:"
    + "|".join("".join(chr(0xE0000 + ord(c)) for c in region) for region in ("gbeng", "gbsct", "gbwls"))
    + ")\U000e007f"
)
"""The flags of England, Scotland and Wales: a black flag, and tags that stay invisible."""

_UNDECIDED = re.compile(r"(?:[\u200c\u200d]|(?<=\U0001f3f4)[\U000e0020-\U000e007e]{1,5})\Z")
"""What is at the end of a text and depends on what follows it."""


def printable(data: bytes) -> str:
    r"""Return `data` as text without control characters, so that it can't command a terminal or forge a log line.

    The encoding is UTF-8; other bytes, and characters that aren't printable, become `\xNN` or `\uNNNN`.
    """
    return _escaped(data.decode(errors="backslashreplace"))


def shown(text: object) -> str:
    """Return `text`, which may come from outside, as one line without control characters."""
    return printable(str(text).encode(errors="backslashreplace"))


def word(data: bytes) -> str:
    r"""Return `data` as `printable` does, but as one word: blanks, quotation marks and `=` become `\xNN`, too."""
    return re.sub(r"[\s=\"']", lambda found: f"\\x{ord(found[0]):02x}", printable(data))


def shortWord(data: bytes) -> str:
    """Return `data` as `word` does, but at most LONGEST bytes of it, and then `...`: a peer could fill the log."""
    return word(data[:LONGEST]) + "..." * (len(data) > LONGEST)


def quotable(text: str) -> str:
    """Return `text` as one line for a value in quotation marks; those in it are escaped."""
    line = printable(text.encode(errors="surrogateescape"))
    return re.sub(r'(\\+)(?="|$)', r"\1\1", line).replace('"', '\\"')


class LineEscaper:
    """Escapes a stream as `printable` does, piece by piece; newlines stay newlines.

    A character whose bytes come in two pieces is shown with the second one. Nothing else is held back, except an
    invisible character at the end of a piece, until the next one decides whether it is shown.
    """

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")("backslashreplace")
        self._text = ""  # the end of what came
        self._done = 0  # characters of it that were returned

    def escape(self, data: bytes, isLast: bool = False) -> str:
        """Return what can be shown after `data`, the next piece; all of it if it `isLast`."""
        text = self._text + self._decoder.decode(data, isLast)
        undecided = None if isLast else _UNDECIDED.search(text, max(self._done, len(text) - NEAR))
        end = undecided.start() if undecided else len(text)
        escaped = _escaped(text, self._done, end, "\n")
        kept = max(0, end - NEAR)
        self._text, self._done = text[kept:], end - kept
        return escaped


def _escaped(text: str, start: int = 0, end: int | None = None, kept: str = "") -> str:
    """Return `text` from `start` to `end`, with all escaped but what is printable, in `kept`, or joins or tags."""
    part = text[start:end]
    if part.isprintable():
        return part
    return "".join(
        c if c.isprintable() or c in kept or _isPart(text, i) else c.encode("unicode_escape").decode()
        for i, c in enumerate(part, start)
    )


def _isPart(text: str, i: int) -> bool:
    """Return whether the invisible character at `i` is part of a visible one."""
    if "\U000e0020" <= text[i] <= "\U000e007f":
        flags = _FLAGS.finditer(text, max(0, i - NEAR), i + NEAR)
        return any(flag.start() < i < flag.end() for flag in flags)
    before, after = text[max(0, i - NEAR) : i], text[i + 1 : i + 2]
    letters = [c for c in before if not unicodedata.combining(c)]
    if text[i] not in (NON_JOINER, JOINER) or not letters:
        return False
    if _isVirama(before[-1]) or (after and _isVirama(after)):
        return unicodedata.category(letters[-1]) in ("Lo", "Mc", "Mn")
    if text[i] == JOINER:
        return bool(_PICTURE_BEFORE.search(before) and re.match(f"[{_PICTURES}]", after))
    from idna import valid_contextj

    with suppress(ValueError):  # one of them isn't a character
        return bool(after) and valid_contextj(letters[-1] + NON_JOINER + after, 1)
    return False


def _isVirama(c: str) -> bool:
    return unicodedata.combining(c) == 9
