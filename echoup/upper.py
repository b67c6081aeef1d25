"""The transformation that the service applies and its clients expect.

`upper` returns the bytes `a` to `z` turned into `A` to `Z`, and every other byte unchanged. The length stays, and the
result doesn't depend on how a stream is split. `str.upper()` promises neither: it turns `ß` into two letters.
"""

__all__ = ["IMPLEMENTATION", "upper"]

IMPLEMENTATION: str
"""What upper-cases: C, with the vector instructions that it uses, or Python."""

try:
    from echoup._upper import IMPLEMENTATION, upper
except ImportError:  # it was installed without a C compiler
    IMPLEMENTATION = "Python, without the C accelerator"

    def upper(data: bytes | bytearray | memoryview, /) -> bytes:
        """Return the bytes of `data`, a bytes-like object, with `a` to `z` turned into `A` to `Z`."""
        return bytes.upper(data if isinstance(data, bytes) else bytes(memoryview(data)))
