"""Bytes and texts from outside can be shown, and command nothing."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.escaping import printable, quoted, shown, word
from tests.support.properties import given, st


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

    @given(st.binary() | st.text().map(str.encode))
    def test_anyBytesArePrintable(self, data: bytes) -> None:
        """Any bytes become one line without control characters."""
        assert printable(data).isprintable()


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

    @given(st.text(st.characters()))
    def test_anyTextIsPrintable(self, text: str) -> None:
        """Any text becomes one line, which a second call leaves unchanged."""
        assert shown(text).isprintable()
        assert shown(shown(text)) == shown(text)


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
        assert text.isprintable()
        assert not set(text) & set("='\"")


class QuotedTests(SynchronousTestCase):
    """`quoted` returns one value of a log line."""

    def test_quotationMarksAreEscaped(self) -> None:
        """The text is in quotation marks; those in it, and characters that can't be printed, are escaped."""
        for text, expected in (
            ("", '""'),
            ("bad certificate", '"bad certificate"'),
            ('say "no"', '"say \\"no\\""'),
            ("b'\\x00'", "\"b'\\x00'\""),
            ("\\", '"\\\\"'),
            ('\\"', '"\\\\\\""'),
            ("a\nb", '"a\\nb"'),
            ("\udcff", '"\\xff"'),
        ):
            assert quoted(text) == expected

    @given(st.text() | st.text('"\\a '))
    def test_anyTextEndsAtTheLastCharacter(self, text: str) -> None:
        """The quotation of any text ends at its last character, and not before."""
        line = quoted(text)
        assert line.isprintable()
        assert line[0] == line[-1] == '"'
        assert endOfQuotation(line) == len(line)


def endOfQuotation(line: str) -> int:
    """Return where the quotation ends with which `line` begins, as a program finds it that reads the log."""
    position = 1
    while line[position] != '"':
        position += 2 if line[position] == "\\" else 1
    return position + 1
