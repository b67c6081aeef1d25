"""The tests of `echoup ping`."""
