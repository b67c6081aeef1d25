"""The transformation changes a to z, and no other byte, in every implementation."""

import gc
import platform
import sys
from array import array
from collections.abc import Callable
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from timeit import repeat
from types import ModuleType
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from echoup import upper as module
from echoup.upper import IMPLEMENTATION, upper
from tests.support.documents import CHECKOUT, PACKAGE
from tests.support.doubles import raised
from tests.support.properties import given, manyBytes, st

EVERY_BYTE = bytes(range(256))


class Subclass(bytes):
    """Bytes of another class."""


def load(name: str, path: str) -> ModuleType:
    """Return another copy of the module at `path`."""
    spec = spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    copy = module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy


with patch.dict(sys.modules, {"echoup._upper": None}):  # as if it was built without a compiler
    FALLBACK = load("fallback", module.__file__)

try:
    from echoup import _upper
except ImportError:
    VARIANTS = {}
else:
    VARIANTS = _upper._variants

UPPERS: dict[str, Callable[[bytes | bytearray | memoryview], bytes]] = {
    **VARIANTS,
    FALLBACK.IMPLEMENTATION: FALLBACK.upper,
}
"""All implementations that run on this machine."""


class UpperTests(SynchronousTestCase):
    """`upper` changes a to z and nothing else."""

    def test_onlyLowercaseLettersChange(self) -> None:
        """Of the 256 byte values exactly a to z change, each to its letter of A to Z."""
        expected = bytes(byte - 32 if ord("a") <= byte <= ord("z") else byte for byte in range(256))
        for each in UPPERS.values():
            assert each(bytes(range(256))) == expected

    def test_lettersOutsideASCIIStay(self) -> None:
        """Letters outside ASCII stay, also those whose upper case is longer."""
        for each in UPPERS.values():
            assert each("é ß ŉ ﬃ 你好 a".encode()) == "é ß ŉ ﬃ 你好 A".encode()

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

    def test_everySizeAtEveryAlignment(self) -> None:
        """Up to 300 bytes, and wherever they begin in 64 bytes of memory, the result is that of `bytes.upper`."""
        memory = memoryview(EVERY_BYTE * 2)
        for size in range(301):
            for begin in range(64):
                part = memory[begin : begin + size]
                expected = bytes(part).upper()
                for name, each in UPPERS.items():
                    assert each(part) == expected, (name, size, begin)

    @given(manyBytes(0, 300_000), st.integers(0, 300))
    def test_implementationsAgree(self, data: bytes, begin: int) -> None:
        """The result is that of `bytes.upper`, for few bytes and many."""
        part = memoryview(data)[begin:]
        for name, each in UPPERS.items():
            assert each(part) == data[begin:].upper(), name
            assert each(data) == data.upper(), name

    def test_bytesLikeObjects(self) -> None:
        """Other bytes-like objects are accepted, stay unchanged, and may be resized afterwards; the result is bytes."""
        for each in UPPERS.values():
            data = bytearray(b"hello")
            views = memoryview(data), memoryview(b"+hello+")[1:-1]
            others: list[Any] = [data, *views, array("B", data), Subclass(data)]
            for other in others:
                result = each(other)
                assert type(result) is bytes
                assert result == b"HELLO"
            assert data == b"hello"
            views[0].release()
            data.append(0)

    def test_shortestBytes(self) -> None:
        """No bytes, and one byte, of which Python keeps one object each, come out right and leave those unchanged."""
        for each in UPPERS.values():
            assert each(b"") == each(bytearray()) == b""
            for number in range(256):
                byte = bytes([number])
                assert each(byte) == byte.upper()
                assert byte[0] == bytes([number])[0] == number

    def test_otherObjectsAreRefused(self) -> None:
        """What is not bytes-like is a TypeError."""
        for each in UPPERS.values():
            for wrong in ("hello", 5, None, [104], object()):
                error = raised(TypeError, each, wrong)
                assert f"a bytes-like object is required, not '{type(wrong).__name__}'" in str(error)

    def test_acceleratorRunsWhereItIsBuilt(self) -> None:
        """Where the accelerator was built, it runs."""
        isBuilt = Path(module.__file__).with_name("_upper.abi3.so").exists()
        assert isBuilt == (IMPLEMENTATION != FALLBACK.IMPLEMENTATION)

    def test_fallbackIsNamed(self) -> None:
        """Without the accelerator Python upper-cases, and its name says so."""
        assert FALLBACK.IMPLEMENTATION == "Python, without the C accelerator"
        assert type(FALLBACK.upper).__name__ == "function"


class AcceleratorTests(SynchronousTestCase):
    """The accelerator in C."""

    def setUp(self) -> None:
        """Skip where it isn't built."""
        if not VARIANTS:
            raise SkipTest("echoup was built without the C accelerator")

    def test_isNewerThanItsSource(self) -> None:
        """In a checkout it was built from the source that is there; install again after a change of that."""
        if PACKAGE != CHECKOUT:
            raise SkipTest("an installed package is tested, whose files have no times of their own")
        assert _upper.__file__
        built = Path(_upper.__file__)
        source = built.parent / "_upper.c"
        assert built.stat().st_mtime >= source.stat().st_mtime

    def test_fastestVariantRuns(self) -> None:
        """Every variant that the processor can run is there, and the last of them is the one in use."""
        assert [*VARIANTS][-1] == IMPLEMENTATION == _upper.IMPLEMENTATION
        assert upper is _upper.upper is VARIANTS[IMPLEMENTATION]
        if platform.machine() == "x86_64":
            flags = Path("/proc/cpuinfo").read_text().split()
            needed = {"C, SSE2": {"sse2"}, "C, AVX2": {"avx2"}, "C, AVX-512": {"avx512bw", "avx512vl"}}
            assert [*VARIANTS] == [name for name, features in needed.items() if features <= {*flags}]

    def test_everyVariantHasVectorInstructions(self) -> None:
        """Every variant takes less than half the time of `bytes.upper`, which goes byte by byte."""
        if IMPLEMENTATION == "C":
            raise SkipTest("on this processor the compiler may have no vector instructions")
        plain, *vectors = (
            min(repeat(partial(each, bytes(65536)), number=1, repeat=20)) for each in (bytes.upper, *VARIANTS.values())
        )
        assert max(vectors) < plain / 2

    def test_scatteredBytesAreRefused(self) -> None:
        """A view of bytes that do not follow each other is refused, as Python's own functions do."""
        for each in VARIANTS.values():
            raised(BufferError, each, memoryview(b"hello")[::2])

    def test_nothingLeaks(self) -> None:
        """It keeps neither its argument nor its result, whether it succeeds or fails."""
        data, wrong = bytes(1000), object()
        fresh = sys.getrefcount(data.upper())
        for each in VARIANTS.values():
            before = sys.getrefcount(data), sys.getrefcount(wrong)
            for _ in range(10):
                result = sys.getrefcount(each(data))
                assert result == fresh
                each(memoryview(data))
                raised(TypeError, each, wrong)
            gc.collect()
            assert (sys.getrefcount(data), sys.getrefcount(wrong)) == before

    def test_copiesAreIndependent(self) -> None:
        """It can be loaded more than once, as each subinterpreter does; nothing is shared."""
        assert _upper.__file__
        copy = load("echoup._upper", _upper.__file__)
        assert copy is not _upper
        assert copy.upper is not upper
        assert copy._variants is not VARIANTS
        assert copy.upper(b"hello") == b"HELLO"
