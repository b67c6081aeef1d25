"""Foreign bytes, for a person to read."""

import re


def printable(data: bytes) -> str:
    r"""Return `data` as text in which nothing can command a terminal or forge a line of a log.

    It is taken for UTF-8; what isn't, and what can't be printed, is shown as `\xNN` or `\uNNNN`.
    """
    text = data.decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(text: object) -> str:
    """Return `text`, which may be foreign, as one line in which nothing can command a terminal."""
    return printable(str(text).encode(errors="backslashreplace"))


def word(data: bytes) -> str:
    r"""Return `data` as `printable` does, and as one word: blanks, quotation marks and `=` are `\xNN`, too."""
    return re.sub(r"[\s=\"']", lambda found: f"\\x{ord(found[0]):02x}", printable(data))


def quoted(text: str) -> str:
    """Return `text` in quotation marks, between which nothing can end them: one value of a line of a log."""
    line = printable(text.encode(errors="surrogateescape"))
    return '"' + re.sub(r'(\\+)(?="|$)', r"\1\1", line).replace('"', '\\"') + '"'
