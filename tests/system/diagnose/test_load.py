"""A slow link with a long queue in each direction, one with a short queue, and a fast path."""

from pathlib import Path

import pytest

from tests.support.diagnoses import diagnose, servedNetwork
from tests.support.routednetwork import SERVER, whyNoRoutedNetwork

WHY_NOT = whyNoRoutedNetwork()
LINK = "tc qdisc add dev {} root tbf rate 8mbit burst 16kb latency {}ms"
"""A link of 1 MB/s with a queue that takes so long to empty: tc-tbf(8)."""


@pytest.mark.slow
@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
@pytest.mark.parametrize(("interface", "latency"), [("s1", 500), ("c1", 500), ("s1", 20), ("", 0)])
def test_longQueueIsNamed(tmp_path: Path, interface: str, latency: int) -> None:
    """A queue of 500 ms in front of a slow link is named, with its direction; one of 20 ms or a fast link is not."""
    with servedNetwork(tmp_path) as (network, _):
        if interface:
            network.router.run(LINK.format(interface, latency))
        done = diagnose(SERVER, "--only=load", "--load=3", "--strict")
    found = done.check("load")
    assert done.causes("load") == ["bufferbloat"] * (latency > 100)
    assert done.code == (latency > 100)
    figures = found["figures"]
    if latency > 100:
        # The other direction may be over before three probes are answered.
        slow, fast = ("up", "down") if interface == "s1" else ("down", "up")
        assert figures[slow]["p50"] > (figures[fast]["p50"] or 0)
        assert figures[slow]["factor"] > 2
    assert figures["up"]["sent"] > figures["up"]["received"]
