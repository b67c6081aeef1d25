"""Sizes are tried often enough, and their limits are named for what they are."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.datagrams.passedsizes import (
    CHANCE,
    MOST_TRIES,
    TRIES,
    PassedSizes,
    judgeSizes,
    ladder,
    packetsOf,
    triesOf,
)
from echoup.client.diagnose.finding import Status
from tests.support.properties import given, st


class LadderTests(SynchronousTestCase):
    """`ladder` has the sizes at which something changes."""

    def test_edgesAreTried(self) -> None:
        """The largest that fits into a packet, one more, and the largest of all are tried."""
        assert ladder(1472, 65_507) == [1, 512, 1200, 1472, 1473, 4096, 16_384, 32_768, 65_507]

    def test_loopbackHasNoFragments(self) -> None:
        """Where all fit into a packet there is no edge."""
        assert ladder(65_508, 65_507) == [1, 512, 1200, 4096, 16_384, 32_768, 65_507]


class TriesTests(SynchronousTestCase):
    """`triesOf` makes it improbable that loss looks like a limit."""

    def test_packetsAreCounted(self) -> None:
        """A datagram above the size of a packet travels in as many as it needs."""
        assert [packetsOf(size, 1472) for size in (1, 1472, 1473, 2952, 2953, 65_507)] == [1, 1, 2, 2, 3, 45]

    @given(st.integers(1, 65_507), st.floats(0, 0.99))
    def test_lossOfAllTriesIsImprobable(self, size: int, loss: float) -> None:
        """The chance to lose all tries is CHANCE at most, and there are TRIES at least."""
        tries = triesOf(size, 1472, loss)
        assert tries >= TRIES
        assert tries > MOST_TRIES or (1 - (1 - loss) ** packetsOf(size, 1472)) ** tries <= CHANCE * 1.001


class JudgeSizesTests(SynchronousTestCase):
    """`judgeSizes` names the limit."""

    def judge(self, passed: list[int], lost: list[int]) -> tuple[Status, str, str]:
        """Return status, cause and text of the problem."""
        sizes = {size: size in passed for size in sorted([*passed, *lost])}
        (problem,) = judgeSizes(PassedSizes(sizes, 1472))
        return problem.status, problem.cause, problem.text

    def test_nothingIsLost(self) -> None:
        """Where all pass there is nothing to say."""
        assert judgeSizes(PassedSizes({1: True, 65_507: True}, 1472)) == []

    def test_limitsAreNamed(self) -> None:
        """Fragments, a limit to their number, and packets that are too large are told apart."""
        for passed, lost, expected in (
            (
                [1, 1472],
                [1473, 65_507],
                (
                    Status.WARN,
                    "udp-fragments-lost",
                    "datagrams of more than 1472 bytes, which travel in fragments, are lost",
                ),
            ),
            (
                [1, 1472, 1473, 8192],
                [8193, 65_507],
                (
                    Status.WARN,
                    "udp-size-limit",
                    "datagrams of more than 8192 bytes are lost, though smaller ones pass in fragments",
                ),
            ),
            (
                [1, 1272],
                [1273, 1472, 1473, 65_507],
                (
                    Status.FAIL,
                    "udp-whole-lost",
                    "datagrams of more than 1272 bytes are lost, though a packet holds 1472",
                ),
            ),
            (
                [1, 1272, 1473, 65_507],
                [1273, 1472],
                (
                    Status.FAIL,
                    "udp-whole-lost",
                    "datagrams of 1273 to 1472 bytes are lost, smaller and larger ones pass",
                ),
            ),
        ):
            assert self.judge(passed, lost) == expected
