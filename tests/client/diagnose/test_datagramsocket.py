"""The UDP socket of experiments."""

import socket
from contextlib import closing

from echoup.client.diagnose.datagramsocket import MOST_HELD, TURN, DatagramSocket
from echoup.clock import RunningTime
from tests.support.doubles import ReactorTestCase


class DatagramSocketTests(ReactorTestCase):
    """A flood costs neither the memory nor the turns of the reactor."""

    def setUp(self) -> None:
        """Open the two ends."""
        super().setUp()
        self.far = self.enterContext(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.far.bind(("127.0.0.1", 0))
        clock = RunningTime(self.reactor)
        self.opened = self.enterContext(
            closing(DatagramSocket(self.reactor, clock, "127.0.0.1", self.far.getsockname()[1]))
        )
        self.far.connect(self.opened.local)

    def test_floodIsTakenInTurns(self) -> None:
        """One turn takes a limited number of datagrams, and the next the others."""
        for _ in range(TURN + 1):
            self.far.send(b"x")
        self.opened.doRead()
        assert len(self.opened.arrivals) == TURN
        self.opened.doRead()
        assert len(self.opened.arrivals) == TURN + 1

    def test_memoryIsBounded(self) -> None:
        """What comes after a limit is dropped."""
        size = 65_507
        for _ in range(MOST_HELD // size + 10):
            self.far.send(bytes(size))
            self.opened.doRead()
        assert len(self.opened.arrivals) == MOST_HELD // size
