"""The limit to each peer counts each peer for itself."""

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from echoup.server.admission.peers import IPeers, PeerLimit
from echoup.server.admission.slots import ISlots, LocalSlots
from tests.support.properties import given, st


class PeerLimitTests(SynchronousTestCase):
    """`PeerLimit` counts each peer for itself."""

    def test_limitIsWhatAGateAsks(self) -> None:
        """A gate can use it, and places of this process."""
        verifyObject(IPeers, PeerLimit(Clock(), 1))
        verifyObject(ISlots, LocalSlots(1))

    def test_eachPeerHasItsOwnLimit(self) -> None:
        """A peer at its limit is refused until one of its connections has left, and no other peer is."""
        limit = PeerLimit(Clock(), 2)
        answers = [limit.enter(peer) for peer in ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2")]
        assert answers == [True, True, False, True]
        limit.leave("192.0.2.1")
        assert [limit.enter("192.0.2.1") for _ in range(2)] == [True, False]

    def test_refusalsCostOneLineAMinute(self) -> None:
        """However many are refused, there is a line a minute, which names the last of them."""
        clock = Clock()
        limit = PeerLimit(clock, 1)
        with capturedLogs() as events:
            for _ in range(1001):
                limit.enter("192.0.2.1")
            limit.enter("192.0.2.2")
            limit.enter("192.0.2.2")
            clock.advance(60)
        assert [formatEvent(event) for event in events] == [
            "refused 1 connection over --max-connections-per-peer from 192.0.2.1",
            "refused 1000 connections over --max-connections-per-peer, the last from 192.0.2.2",
        ]
        assert [(event["connections"], event["peer"]) for event in events] == [(1, "192.0.2.1"), (1000, "192.0.2.2")]

    @given(st.lists(st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1"])), st.integers(1, 3))
    def test_allRoomIsBackAtTheEnd(self, visits: list[str], maximum: int) -> None:
        """In whatever order peers come and leave, in the end each has all of its room again."""
        limit = PeerLimit(Clock(), maximum)
        answers = [limit.enter(peer) for peer in visits]
        assert answers == [visits[:i].count(peer) < maximum for i, peer in enumerate(visits)]
        for peer, isAdmitted in zip(visits, answers, strict=True):
            if isAdmitted:
                limit.leave(peer)
        assert not limit._counts
        for peer in set(visits):
            assert [limit.enter(peer) for _ in range(maximum + 1)] == [True] * maximum + [False]
