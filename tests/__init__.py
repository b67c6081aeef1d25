"""The tests: they mirror the package, and those in tests/system run the real commands."""

from tests.support.signals import restoreSignals

restoreSignals()
