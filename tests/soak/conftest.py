"""The fixtures of the soak are those of the tests of the real commands."""

from tests.system.conftest import certificates, reactor

__all__ = ["certificates", "reactor"]
