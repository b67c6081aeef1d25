"""The transformation is exactly the ASCII one."""

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from echoup.upper import translate, upper
from tests.support.properties import given, st

EVERY_BYTE = bytes(range(256))


class UpperTests(SynchronousTestCase):
    """`upper` changes a to z and nothing else."""

    def test_everyByte(self) -> None:
        """Of all 256 byte values exactly a to z change, each by the same distance."""
        expected = bytes(byte - 32 if ord("a") <= byte <= ord("z") else byte for byte in range(256))
        assert upper(bytes(range(256))) == expected

    def test_otherScripts(self) -> None:
        """Letters outside ASCII pass as they are, also those whose upper case is longer."""
        assert upper("é ß ŉ ﬃ 你好 a".encode()) == "é ß ŉ ﬃ 你好 A".encode()

    @given(st.lists(st.binary()))
    def test_anySplit(self, chunks: list[bytes]) -> None:
        """However a stream is split, the result is the same."""
        assert b"".join(map(upper, chunks)) == upper(b"".join(chunks))

    @given(st.binary())
    def test_length(self, data: bytes) -> None:
        """As many bytes come out as went in."""
        assert len(upper(data)) == len(data)

    @given(st.binary())
    def test_twice(self, data: bytes) -> None:
        """What is in upper case already stays as it is."""
        assert upper(upper(data)) == upper(data)

    def test_everyByteInEveryPlace(self) -> None:
        """Every byte value becomes what `bytes.upper` makes of it at every place, in all sizes around the switch."""
        for size in range(300):
            for begin in range(0, 256, 16):
                data = (EVERY_BYTE * 3)[begin : begin + size]
                assert upper(data) == data.upper()
                assert translate(data, EVERY_BYTE.upper()) == data.upper()

    @given(st.binary(min_size=100, max_size=5000), st.integers(0, 100), st.integers(0, 4000))
    def test_bothWays(self, data: bytes, begin: int, size: int) -> None:
        """The fast way and the plain one agree, wherever in memory the bytes begin and how many there are."""
        part = data[begin : begin + size]
        assert upper(part) == part.upper()

    def test_withoutStringzilla(self) -> None:
        """Where stringzilla is missing the result is the same."""
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
