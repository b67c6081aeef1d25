"""Foreign bytes, for a person to read."""


def printable(data: bytes) -> str:
    r"""Return `data` as text in which nothing can command a terminal or forge a line of a log.

    It is taken for UTF-8; what isn't, and what can't be printed, is shown as `\xNN` or `\uNNNN`.
    """
    text = data.decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
