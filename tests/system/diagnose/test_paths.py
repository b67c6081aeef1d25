"""A path without a fault, and the check that nothing is said against it."""

from pathlib import Path

import pytest

from tests.support.diagnoses import diagnose, servedNetwork
from tests.support.routednetwork import SERVER, SERVER6, whyNoRoutedNetwork

WHY_NOT = whyNoRoutedNetwork()


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_twoHopsAreHealthy(tmp_path: Path) -> None:
    """On a path of two hops without a fault no check says anything."""
    with servedNetwork(tmp_path):
        for server in (SERVER, f"[{SERVER6}]:8081"):
            done = diagnose(server, "--strict")
            assert (done.code, done.alarms) == (0, [])
