"""Foreign bytes are shown, and do nothing."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.escaping import printable, quoted, shown, word
from tests.support.properties import given, st


class PrintableTests(SynchronousTestCase):
    """What a server sends can't command the terminal."""

    def test_forms(self) -> None:
        """Text is shown as it is, and everything else as an escape."""
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
    def test_anyBytes(self, data: bytes) -> None:
        """Whatever the bytes, what is shown is one line without control characters."""
        assert printable(data).isprintable()


class ShownTests(SynchronousTestCase):
    """A text that somebody else has chosen is one line."""

    def test_forms(self) -> None:
        """Of anything its text is shown, and what can't be printed or encoded is an escape."""
        for text, expected in (
            ("a é", "a é"),
            (ValueError("a\nb"), "a\\nb"),
            ("\x1b\udcff\u202e", "\\x1b\\udcff\\u202e"),
        ):
            assert shown(text) == expected

    @given(st.text(st.characters()))
    def test_anyText(self, text: str) -> None:
        """Whatever the text, what is shown is one line, and shown again it's the same."""
        assert shown(text).isprintable()
        assert shown(shown(text)) == shown(text)


class WordTests(SynchronousTestCase):
    """A name that somebody else has chosen is one word of a line of a log, and no more than a value."""

    def test_forms(self) -> None:
        """What could end the word, or make it another field, is an escape, too."""
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
    def test_anyBytes(self, data: bytes) -> None:
        """Whatever the bytes, it's at most one word, without quotation marks and `=`."""
        text = word(data)
        assert len(text.split()) == (1 if data else 0)
        assert text.isprintable()
        assert not set(text) & set("='\"")


class QuotedTests(SynchronousTestCase):
    """A text is one value of a line of a log."""

    def test_forms(self) -> None:
        """It stands between quotation marks; its own ones, and what can't be printed, are escapes."""
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
    def test_anyText(self, text: str) -> None:
        """Whatever the text, it ends at the last character, and nowhere before."""
        line = quoted(text)
        assert line.isprintable()
        assert line[0] == line[-1] == '"'
        assert endOfQuotation(line) == len(line)


def endOfQuotation(line: str) -> int:
    """Return where the quotation ends with which `line` begins, as somebody finds it who reads the log."""
    position = 1
    while line[position] != '"':
        position += 2 if line[position] == "\\" else 1
    return position + 1
