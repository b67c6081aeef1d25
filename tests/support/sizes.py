"""Sizes that tests share."""

MIB = 2**20
"""The number of bytes in a MiB."""

MUCH = b"abcdefghijklmnop" * MIB
"""More bytes than the kernel and any transport buffer for a peer that doesn't read."""
