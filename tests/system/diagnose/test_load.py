"""Slow links with a long queue in one direction, one with short queues, and a fast path."""

import pytest

from echoup.client.diagnose.longchecks import load
from tests.support.checks import alike, causesOf, find
from tests.support.routednetwork import SERVER, RoutedNetwork

LINK = "tc qdisc add dev {} root tbf rate 8mbit burst 16kb latency {}ms"
"""A link of 1 MB/s with a queue that takes so long to empty: tc-tbf(8)."""


@pytest.mark.slow
@pytest.mark.parametrize("queues", [(500, 20), *alike((20, 20), (20, 500), ())])
def test_longQueueIsNamed(network: RoutedNetwork, queues: tuple[int, ...]) -> None:
    """A queue of 500 ms in front of a slow link is named, with its direction; one of 20 ms or a fast link is not."""
    interfaces = ("s1", "c1")[: len(queues)]
    network.router.run(*(LINK.format(*each) for each in zip(interfaces, queues, strict=True)))
    try:
        found = find(load.check, SERVER, load=2)
    finally:
        network.router.run(*(f"tc qdisc del dev {interface} root" for interface in interfaces))
    isLong = 500 in queues
    assert causesOf(found) == ["bufferbloat"] * isLong
    if isLong:
        slow, fast = ("up", "down") if queues[0] == 500 else ("down", "up")
        # The other direction may be over before three probes are answered.
        assert found.figures[slow]["p50"] > (found.figures[fast]["p50"] or 0)
        assert found.figures[slow]["factor"] > 2
    assert found.figures["up"]["sent"] > found.figures["up"]["received"]
