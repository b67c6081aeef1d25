"""The transformation is exactly the ASCII one."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from echoup.upper import upper


class UpperTests(SynchronousTestCase):
    """`upper` changes a to z and nothing else."""

    def test_everyByte(self) -> None:
        """Of all 256 byte values exactly a to z change, each by the same distance."""
        expected = bytes(byte - 32 if ord("a") <= byte <= ord("z") else byte for byte in range(256))
        assert upper(bytes(range(256))) == expected

    def test_otherScripts(self) -> None:
        """Letters outside ASCII pass as they are, also those whose upper case is longer."""
        assert upper("é ß ŉ ﬃ 你好 a".encode()) == "é ß ŉ ﬃ 你好 A".encode()

    @settings(deadline=None)
    @given(st.lists(st.binary()))
    def test_anySplit(self, chunks: list[bytes]) -> None:
        """However a stream is split, the result is the same."""
        assert b"".join(map(upper, chunks)) == upper(b"".join(chunks))

    @settings(deadline=None)
    @given(st.binary())
    def test_length(self, data: bytes) -> None:
        """As many bytes come out as went in."""
        assert len(upper(data)) == len(data)

    @settings(deadline=None)
    @given(st.binary())
    def test_twice(self, data: bytes) -> None:
        """What is in upper case already stays as it is."""
        assert upper(upper(data)) == upper(data)
