"""Sizes that tests share."""

MIB = 2**20
"""Bytes."""
