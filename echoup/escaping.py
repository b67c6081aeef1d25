"""Bytes and texts from outside, escaped so that a terminal or a log can show them."""

import re


def printable(data: bytes) -> str:
    r"""Return `data` as text without control characters, so that it can't command a terminal or forge a log line.

    The encoding is UTF-8; other bytes, and characters that can't be printed, become `\xNN` or `\uNNNN`.
    """
    text = data.decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(text: object) -> str:
    """Return `text`, which may come from outside, as one line without control characters."""
    return printable(str(text).encode(errors="backslashreplace"))


def word(data: bytes) -> str:
    r"""Return `data` as `printable` does, but as one word: blanks, quotation marks and `=` become `\xNN`, too."""
    return re.sub(r"[\s=\"']", lambda found: f"\\x{ord(found[0]):02x}", printable(data))


def quoted(text: str) -> str:
    """Return `text` in quotation marks, as one value of a log line; quotation marks in it are escaped."""
    line = printable(text.encode(errors="surrogateescape"))
    return '"' + re.sub(r'(\\+)(?="|$)', r"\1\1", line).replace('"', '\\"') + '"'
