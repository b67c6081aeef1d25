"""The transformation changes a to z, and no other byte."""

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from echoup.upper import translate, upper
from tests.support.properties import given, st

EVERY_BYTE = bytes(range(256))


class UpperTests(SynchronousTestCase):
    """`upper` changes a to z and nothing else."""

    def test_onlyLowercaseLettersChange(self) -> None:
        """Of the 256 byte values exactly a to z change, each to its letter of A to Z."""
        expected = bytes(byte - 32 if ord("a") <= byte <= ord("z") else byte for byte in range(256))
        assert upper(bytes(range(256))) == expected

    def test_lettersOutsideASCIIStay(self) -> None:
        """Letters outside ASCII stay, also those whose upper case is longer."""
        assert upper("é ß ŉ ﬃ 你好 a".encode()) == "é ß ŉ ﬃ 你好 A".encode()

    @given(st.lists(st.binary()))
    def test_splitDoesNotMatter(self, chunks: list[bytes]) -> None:
        """However a stream is split, the result is the same."""
        assert b"".join(map(upper, chunks)) == upper(b"".join(chunks))

    @given(st.binary())
    def test_lengthStays(self, data: bytes) -> None:
        """The result is as long as the data."""
        assert len(upper(data)) == len(data)

    @given(st.binary())
    def test_upperCaseStays(self, data: bytes) -> None:
        """Bytes in upper case stay unchanged."""
        assert upper(upper(data)) == upper(data)

    def test_everyByteInEveryPlace(self) -> None:
        """Every byte value becomes what `bytes.upper` makes of it in every place, at all sizes around the limit."""
        for size in range(300):
            for begin in range(0, 256, 16):
                data = (EVERY_BYTE * 3)[begin : begin + size]
                assert upper(data) == data.upper()
                assert translate(data, EVERY_BYTE.upper()) == data.upper()

    @given(st.binary(min_size=100, max_size=5000), st.integers(0, 100), st.integers(0, 4000))
    def test_bothImplementationsAgree(self, data: bytes, begin: int, size: int) -> None:
        """The result is that of `bytes.upper`, wherever in memory the bytes begin and however many there are."""
        part = data[begin : begin + size]
        assert upper(part) == part.upper()

    def test_resultIsTheSameWithoutStringzilla(self) -> None:
        """Without stringzilla the result is the same."""
        program = """if True:
            import sys
            sys.modules["stringzilla"] = None
            from echoup.upper import translate, upper
            assert "stringzilla" not in repr(translate)
            data = bytes(range(256)) * 3
            for size in range(769):
                assert upper(data[:size]) == data[:size].upper()
            print("the same")
        """
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert result.stdout == "the same\n"
