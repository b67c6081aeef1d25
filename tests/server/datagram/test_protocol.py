"""Two services don't answer each other without end."""

from random import Random
from typing import cast

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from echoup.server.datagram.protocol import EchoUpDatagram, IDatagramTransport
from echoup.server.datagram.reflection import ReflectionGuard
from echoup.server.datagram.returnpath import DatagramRefusal, ReturnPath
from tests.support.properties import given, st

US = ("192.0.2.1", 8081)


class PairTests(SynchronousTestCase):
    """Datagrams between two services die out."""

    @given(
        st.lists(st.binary(max_size=3) | st.sampled_from([b"a", b"A", b""]), max_size=50), st.booleans(), st.randoms()
    )
    def test_spoofedDatagramDiesOut(self, spoofed: list[bytes], doubled: bool, random: Random) -> None:
        """Two services answer a spoofed datagram once each, whatever else is under way, even if each arrives twice."""
        air = [("a", data) for data in spoofed] + [("b", data) for data in spoofed]
        ends = {"a": LinkedTransport(5000, "b", air), "b": LinkedTransport(6000, "a", air)}
        answers = 0
        while air:
            to, data = air.pop(random.randrange(len(air)))
            for _ in range(1 + doubled):
                before = len(air)
                path = ReturnPath(("192.0.2.9", ends[ends[to].other].port), US)
                ends[to].protocol.datagramReceived(data, path)
                answers += len(air) - before
            assert answers <= 4 * len(spoofed) * (1 + doubled)
        for end in ends.values():
            end.guard.stop()


class LinkedTransport:
    """The transport of one of two services, each of which sends to the other only."""

    def __init__(self, port: int, other: str, air: list[tuple[str, bytes]]) -> None:
        self.port = port
        self.other = other
        self.air = air
        self.guard = ReflectionGuard(Clock(), 5000)
        self.protocol = EchoUpDatagram(self.guard)
        self.protocol.makeConnection(cast("IDatagramTransport", self))

    def getHost(self) -> IPv4Address:
        """Return its address."""
        return IPv4Address("UDP", US[0], self.port)

    def answer(self, data: bytes, path: ReturnPath) -> None:
        """Send to the other."""
        self.air.append((self.other, data))

    def drop(self, refusal: DatagramRefusal) -> None:
        """Count nothing."""
