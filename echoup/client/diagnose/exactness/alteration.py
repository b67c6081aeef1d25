"""What was done to the bytes of a reply, without I/O."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from echoup.escaping import printable
from echoup.plurals import counted
from echoup.upper import upper
from echoup.verdict import firstDifference

BEFORE, AFTER = 4, 12
"""How many bytes around the first wrong one are shown."""

WINDOW = 1024
"""How many bytes after the first wrong one are compared with the known conversions."""


@dataclass(frozen=True)
class Alteration:
    """How a reply differs from the right one."""

    cause: str
    """A short name of it for programs."""
    words: str
    """What was done, in words."""
    offset: int
    """The offset in the reply of the first wrong byte."""
    expected: bytes
    """A few bytes of the right reply from around the offset."""
    received: bytes
    """What came in their place."""

    @property
    def evidence(self) -> str:
        """Where the reply goes wrong, and how."""
        return f'from byte {self.offset}: expected "{printable(self.expected)}", received "{printable(self.received)}"'


def _text(decode: str, errors: str, encode: str = "utf-8") -> Callable[[bytes], bytes]:
    return lambda data: data.decode(decode, errors).encode(encode, "replace")


def _upperText(data: bytes) -> bytes:
    return data.decode(errors="surrogateescape").upper().encode(errors="surrogateescape")


def _upperLatin(data: bytes) -> bytes:
    return data.decode("latin-1").upper().encode("latin-1", "replace")


CAUSES = LINE_ENDS, EIGHTH_BIT, CONTROLS, TELNET, ENCODING, CASE, ADDED, UNKNOWN = (
    "line-ends-changed",
    "8th-bit-stripped",
    "control-bytes-changed",
    "telnet-commands-changed",
    "text-reencoded",
    "case-changed",
    "bytes-added",
    "bytes-changed",
)
"""The causes."""

_COMMAND = re.compile(rb"\xff(?:[\xfb-\xfe].|\xfa.*?\xff\xf0|[^\xff\xfa-\xfe])", re.DOTALL)
"""A telnet command (RFC 854)."""

_CONVERSIONS: tuple[tuple[str, str, Callable[[bytes], bytes]], ...] = (
    (LINE_ENDS, "CR LF became LF", lambda data: data.replace(b"\r\n", b"\n")),
    (LINE_ENDS, "LF became CR LF", lambda data: data.replace(b"\n", b"\r\n")),
    (LINE_ENDS, "LF without CR became CR LF", lambda data: re.sub(rb"(?<!\r)\n", b"\r\n", data)),
    (LINE_ENDS, "every CR was dropped", lambda data: data.replace(b"\r", b"")),
    (LINE_ENDS, "every LF was dropped", lambda data: data.replace(b"\n", b"")),
    (LINE_ENDS, "CR became LF", lambda data: data.replace(b"\r", b"\n")),
    (LINE_ENDS, "LF became CR", lambda data: data.replace(b"\n", b"\r")),
    (LINE_ENDS, "CR LF and CR became LF", lambda data: data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")),
    (LINE_ENDS, "CR became CR LF or CR NUL", lambda data: re.sub(rb"\r(?!\n)", b"\r\0", data)),
    (EIGHTH_BIT, "the 8th bit of each byte was cleared", lambda data: bytes(byte & 127 for byte in data)),
    (EIGHTH_BIT, "bytes with the 8th bit set were dropped", lambda data: bytes(byte for byte in data if byte < 128)),
    (CONTROLS, "NUL was dropped", lambda data: data.replace(b"\0", b"")),
    (CONTROLS, "NUL became a blank", lambda data: data.replace(b"\0", b" ")),
    (CONTROLS, "XON and XOFF were dropped", lambda data: data.translate(None, b"\x11\x13")),
    (
        CONTROLS,
        "control bytes were dropped",
        lambda data: bytes(byte for byte in data if byte in b"\t\r\n" or 31 < byte != 127),
    ),
    (TELNET, "IAC (0xFF) was doubled", lambda data: data.replace(b"\xff", b"\xff\xff")),
    (TELNET, "two IAC (0xFF) became one", lambda data: data.replace(b"\xff\xff", b"\xff")),
    (TELNET, "telnet commands were taken out", lambda data: _COMMAND.sub(b"", data).replace(b"\xff\xff", b"\xff")),
    (TELNET, "IAC (0xFF) was dropped", lambda data: data.replace(b"\xff", b"")),
    (ENCODING, "the bytes were taken for Latin-1 and encoded as UTF-8", _text("latin-1", "strict")),
    (ENCODING, "what isn't UTF-8 became U+FFFD", _text("utf-8", "replace")),
    (ENCODING, "what isn't UTF-8 was dropped", _text("utf-8", "ignore")),
    (ENCODING, "what isn't ASCII became U+FFFD", _text("ascii", "replace")),
    (ENCODING, "what isn't ASCII became ?", _text("utf-8", "replace", "ascii")),
    (ENCODING, "the UTF-8 was encoded as Latin-1", _text("utf-8", "replace", "latin-1")),
    (CASE, "letters other than a to z were turned into upper case, too", _upperText),
    (CASE, "the letters of Latin-1 were turned into upper case, too", _upperLatin),
    (CASE, "the reply is in lower case", lambda data: upper(data).lower()),
    (CASE, "upper and lower case were exchanged", lambda data: data.swapcase()),
)  # fmt: skip


def findAlteration(sent: bytes, received: bytes) -> Alteration | None:
    """Return what is wrong with `received`, the reply to `sent`; None if it is right as far as it goes."""
    expected = upper(sent)
    if expected.startswith(received):
        return None
    offset = firstDifference(received, expected)
    start = max(offset - BEFORE, 0)
    cause, words = _nameAddition(expected, received) or _nameConversion(
        sent[: offset + 4 * WINDOW], received[: offset + WINDOW]
    )
    return Alteration(cause, words, offset, expected[start : offset + AFTER], received[start : offset + AFTER])


def _nameAddition(expected: bytes, received: bytes) -> tuple[str, str] | None:
    """Return the cause and the words for bytes that surround the right reply; None if that isn't what was done."""
    added = len(received) - len(expected)
    if added > 0 and received.startswith(expected):
        return ADDED, f"{counted(added, 'byte')} followed that nobody sent"
    if added > 0 and received.endswith(expected):
        return ADDED, f"{counted(added, 'byte')} came first that nobody sent"
    return None


def _nameConversion(sent: bytes, received: bytes) -> tuple[str, str]:
    """Return the cause and the words for the conversion that made `received` of the reply to `sent`."""
    made = [
        (cause, words, result)
        for cause, words, convert in _CONVERSIONS
        # The conversion may be before the application, behind it or on both sides.
        for result in (upper(convert(sent)), convert(upper(sent)), convert(upper(convert(sent))))
    ]
    for cause, words, result in made:
        if result == received:
            return cause, words
    lineEnds = [(words, convert) for cause, words, convert in _CONVERSIONS if cause == LINE_ENDS]
    for there, convert in lineEnds:
        for back, convertBack in lineEnds:
            if convertBack(upper(convert(sent))) == received:
                return LINE_ENDS, f"{there} on the way there, {back} on the way back"
    for cause, words, result in made:
        if result.startswith(received):  # the rest is missing, or wasn't compared
            return cause, words
    return UNKNOWN, "changed"
