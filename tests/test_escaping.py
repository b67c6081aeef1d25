"""Bytes and texts from outside can be shown, and command nothing."""

import re

from twisted.trial.unittest import SynchronousTestCase

from echoup.escaping import LONGEST, LineEscaper, printable, quotable, shortWord, shown, word
from tests.support.properties import given, st

JOINED = (
    "👨\u200d👩\u200d👧",
    "👩🏽\u200d❤\ufe0f\u200d👨🏽",
    "🏳\ufe0f\u200d🌈",
    "🙂\u200d↔\ufe0f",
    "🏴" + "".join(chr(0xE0000 + ord(c)) for c in "gbeng\x7f"),
    "می\u200cخواهم",
    "ب\u064e\u200cب",
    "क्\u200dष",
    "ර්\u200dය",
    "র\u200d্যাব",
    "അവന്\u200d",
)
"""Text in which each invisible character is part of a visible one: emoji, a flag, and Persian and Indic words."""

HIDDEN = (
    "a\u200db",
    "a\u200cb",
    "\u200d",
    "\u200d👨",
    "👨\u200d",
    "👨\u200da",
    "👨\u200d\u200d👩",
    "a\u200d👨",
    "س\u200c",
    "س\u200ca",
    "ا\u200cل",
    "س\u200c\u202eس",
    "a\u094d\u200db",
    "a\u200d\u094d",
    "\ue000\u200cس",
    "a\U000e0061",
    "🏴\U000e0067\U000e0062",
    "🏴" + "".join(chr(0xE0000 + ord(c)) for c in "usca\x7f"),
    "\u202eA\u2066\u00ad\ufeff\u200b\u2028",
)
"""Text in which no invisible character has a part in what is seen."""

PARTS = st.text(sorted(set("".join((*JOINED, *HIDDEN, "\n\\\xe9")))))
"""Text of all these characters, in any order."""


def isShowable(text: str) -> bool:
    """Return whether `text` is printable, but for joiners and tags that follow a character outside of ASCII."""
    return re.sub(r"(?<=[^\x00-\x7f])[\u200c\u200d\U000e0020-\U000e007f]", "", text).isprintable()


class PrintableTests(SynchronousTestCase):
    """`printable` returns text that can't command a terminal."""

    def test_unprintableBytesAreEscaped(self) -> None:
        """Printable text stays, and everything else is escaped."""
        for data, text in (
            (b"HELLO", "HELLO"),
            (b"A\nB\tC", "A\\nB\\tC"),
            ("你好 é".encode(), "你好 é"),
            (b"\xff", "\\xff"),
            (b"\x1b[2J\r", "\\x1b[2J\\r"),
            ("\u202eA".encode(), "\\u202eA"),
        ):
            assert printable(data) == text

    def test_joinersInsideCharacterAreKept(self) -> None:
        """A joined emoji, a flag and a word with joiners are shown as they are, also next to other text."""
        for text in JOINED:
            for whole in (text, f"a {text} b", f"{text}\\"):
                assert printable(whole.encode()) == whole, ascii(whole)

    def test_hiddenCharactersAreEscaped(self) -> None:
        """A joiner or a tag that changes nothing that is seen is escaped, like other invisible characters."""
        for text in HIDDEN:
            escaped = printable(text.encode())
            assert escaped.isprintable(), ascii(escaped)
            assert escaped == "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

    @given(st.binary() | st.text().map(str.encode) | PARTS.map(str.encode))
    def test_anyBytesArePrintable(self, data: bytes) -> None:
        """Any bytes become one line without control characters."""
        assert isShowable(printable(data))


class ShownTests(SynchronousTestCase):
    """`shown` returns one line."""

    def test_unprintableCharactersAreEscaped(self) -> None:
        """The text of any object is shown; characters that can't be printed or encoded are escaped."""
        for text, expected in (
            ("a é", "a é"),
            (ValueError("a\nb"), "a\\nb"),
            ("\x1b\udcff\u202e", "\\x1b\\udcff\\u202e"),
        ):
            assert shown(text) == expected

    @given(st.text(st.characters()) | PARTS)
    def test_anyTextIsPrintable(self, text: str) -> None:
        """Any text becomes one line, which a second call leaves unchanged."""
        assert isShowable(shown(text))
        assert shown(shown(text)) == shown(text)


class LineEscaperTests(SynchronousTestCase):
    """`LineEscaper` escapes a stream, however it is split."""

    def test_newlinesStay(self) -> None:
        """Newlines stay newlines, everything else is escaped as in a line; no newline is added."""
        escaper = LineEscaper()
        assert (
            escaper.escape(b"\x1b]0;title\x07\x1b[31mRED\r\nA\tB\n\n") == "\\x1b]0;title\\x07\\x1b[31mRED\\r\nA\\tB\n\n"
        )
        assert escaper.escape(b"END") == "END"
        assert escaper.escape(b"", isLast=True) == ""

    def test_splitCharacterIsWhole(self) -> None:
        """A character is shown once all its bytes have come; an unfinished one is escaped at the end."""
        escaper = LineEscaper()
        assert [escaper.escape(bytes([byte])) for byte in "é你".encode()] == ["", "é", "", "", "你"]
        assert escaper.escape("👍".encode()[:3]) == ""
        assert escaper.escape(b"", isLast=True) == "\\xf0\\x9f\\x91"

    def test_nothingVisibleIsHeldBack(self) -> None:
        """What can be shown is returned at once; a joiner waits for what it joins."""
        escaper = LineEscaper()
        pieces = [escaper.escape(c.encode()) for c in "a👨\u200d👩\u200db"]
        assert pieces == ["a", "👨", "", "\u200d👩", "", "\\u200db"]

    @given(st.lists(st.binary(max_size=5)) | PARTS.map(lambda text: [bytes([byte]) for byte in text.encode()]))
    def test_anySplitShowsTheSame(self, pieces: list[bytes]) -> None:
        """However a stream is split, the same is shown as for the whole of it, and little of it is kept."""
        escaper = LineEscaper()
        split = "".join(map(escaper.escape, pieces)) + escaper.escape(b"", isLast=True)
        whole = LineEscaper().escape(b"".join(pieces), isLast=True)
        assert split == whole
        assert all(map(isShowable, split.split("\n")))
        assert whole.replace("\n", "\\n") == printable(b"".join(pieces))


class WordTests(SynchronousTestCase):
    """`word` returns one word of a log line, which is no field of its own."""

    def test_separatorsAreEscaped(self) -> None:
        """Characters that end a word or make it another field are escaped, too."""
        for data, text in (
            (b"example.org", "example.org"),
            ("é".encode(), "é"),
            (b"a peer=b", "a\\x20peer\\x3db"),
            (b'"it\'s"', "\\x22it\\x27s\\x22"),
            (b"a\nb", "a\\nb"),
            ("a\u00a0b\u2003c".encode(), "a\\xa0b\\u2003c"),
        ):
            assert word(data) == text

    @given(st.binary() | st.text().map(str.encode) | st.text(" \t='\"a").map(str.encode))
    def test_anyBytesAreOneWord(self, data: bytes) -> None:
        """Any bytes become at most one word, without quotation marks and `=`."""
        text = word(data)
        assert len(text.split()) == (1 if data else 0)
        assert isShowable(text)
        assert not set(text) & set("='\"")

    def test_longWordIsCut(self) -> None:
        """Of a word that a peer chose, only the first bytes are shown: it could fill the log."""
        assert shortWord(b"=" + b"a" * (LONGEST - 1)) == "\\x3d" + "a" * (LONGEST - 1)
        assert shortWord("é".encode() * LONGEST) == "é" * (LONGEST // 2) + "\\xc3..."


class QuotableTests(SynchronousTestCase):
    """`quotable` returns text for quotation marks."""

    def test_quotationMarksAreEscaped(self) -> None:
        """Quotation marks, backslashes before one, and characters that can't be printed are escaped."""
        for text, expected in (
            ("", ""),
            ("bad certificate", "bad certificate"),
            ('say "no"', 'say \\"no\\"'),
            ("b'\\x00'", "b'\\x00'"),
            ("\\", "\\\\"),
            ('\\"', '\\\\\\"'),
            ("a\nb", "a\\nb"),
            ("\udcff", "\\xff"),
        ):
            assert quotable(text) == expected

    @given(st.text() | st.text('"\\a '))
    def test_anyTextEndsAtTheLastCharacter(self, text: str) -> None:
        """The quotation of any text ends at its last character, and not before."""
        line = f'"{quotable(text)}"'
        assert isShowable(line)
        assert endOfQuotation(line) == len(line)


def endOfQuotation(line: str) -> int:
    """Return where the quotation ends with which `line` begins, as a program finds it that reads the log."""
    position = 1
    while line[position] != '"':
        position += 2 if line[position] == "\\" else 1
    return position + 1
