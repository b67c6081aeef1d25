from collections.abc import Callable

IMPLEMENTATION: str
_variants: dict[str, Callable[[bytes | bytearray | memoryview], bytes]]

def upper(data: bytes | bytearray | memoryview, /) -> bytes: ...
