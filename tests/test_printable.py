"""Foreign bytes are shown, and do nothing."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echoup.printable import printable


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

    @settings(deadline=None)
    @given(st.binary() | st.text().map(str.encode))
    def test_anyBytes(self, data: bytes) -> None:
        """Whatever the bytes, what is shown is one line without control characters."""
        assert printable(data).isprintable()
