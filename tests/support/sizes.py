"""Sizes that tests share."""

MIB = 2**20
"""Bytes."""

MUCH = b"abcdefghijklmnop" * MIB
"""More than the kernel and any transport take for a peer that doesn't read."""
