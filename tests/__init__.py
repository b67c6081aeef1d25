"""The tests; they mirror the package, and tests/system/ runs it for real."""

from tests.support.signals import restoreSignals

restoreSignals()
