"""Datagrams that are sent to the service from one socket, and the wait for their answers."""

import socket
from collections.abc import Collection
from contextlib import suppress
from errno import EMSGSIZE

from twisted.internet.task import deferLater

from echoup.client.diagnose.datagrams.answers import DatagramAnswers
from echoup.client.diagnose.datagramsocket import ArrivedDatagram, DatagramSocket
from echoup.client.diagnose.pathundertest import PathUnderTest

RECEIVE_BUFFER = 4 * 1024 * 1024
"""Bytes that the kernel may queue for us, as far as net.core.rmem_max allows."""

PROBE = 64
"""Bytes of a datagram whose size doesn't matter."""


class Questions(DatagramAnswers):
    """Datagrams to one address, and their answers."""

    def __init__(self, path: PathUnderTest, opened: DatagramSocket) -> None:
        """Send them from the socket `opened`, which belongs to the target of `path`."""
        super().__init__()
        self.rtt = 0.0
        """The seconds that an answer takes, at most, as far as seen."""
        self.unsent = 0
        """The datagrams that this machine didn't send."""
        self.socket = opened
        self._clock, self._tos = path.clock, path.target.tos or 0
        self._judged = 0
        with suppress(OSError):
            self.socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)

    @property
    def whole(self) -> int:
        """The bytes of the largest datagram that travels in one packet, as far as this machine knows."""
        return self.socket.mtu - self.socket.headers

    def send(self, size: int, tos: int | None = None) -> int | None:
        """Send a datagram of `size` bytes with `tos`, by default the target's.

        Return its number; None if this machine doesn't send it.
        """
        number, data = len(self), self.next(size)
        self.socket.mark(self._tos if tos is None else tos)
        # The first attempt may report the error of an earlier datagram instead, or find that the path takes less.
        for _ in range(2):
            try:
                self.socket.send(data)
            except OSError as error:
                self.socket.errors.append(error)
            else:
                return number
        self.unsent += 1
        return None

    def isAnswered(self, number: int | None) -> bool:
        """Whether the datagram with this `number` was answered as it should."""
        for arrival in self.socket.arrivals[self._judged :]:
            self.judge(arrival)
        self._judged = len(self.socket.arrivals)
        return number in self.arrived

    def answersTo(self, number: int | None) -> list[ArrivedDatagram]:
        """Return the right answers to the datagram with this `number`."""
        return self.arrived[number] if number is not None and self.isAnswered(number) else []

    def areAnswered(self, numbers: Collection[int | None]) -> bool:
        """Whether all of them were."""
        return all(self.isAnswered(number) for number in numbers)

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds`, in which answers are taken."""
        await deferLater(self._clock, seconds)

    async def settle(self, numbers: Collection[int | None], quiet: float) -> bool:
        """Wait until the datagrams with these `numbers` are answered; return whether they are.

        Give up when nothing has come for `quiet` seconds and a few round trips, or in ten times that.
        """
        for _ in range(10):
            before = len(self.socket.arrivals)
            if await self.socket.wait(lambda: self.areAnswered(numbers), quiet + 3 * self.rtt):
                return True
            if len(self.socket.arrivals) == before:
                break
        return False

    async def ask(self, patience: float, waits: Collection[float]) -> bool:
        """Send small datagrams until one is answered, each after one of `waits`; return whether one is.

        After a refusal, which another one confirms, or a wrong answer, no more are sent. `patience` is how long to wait
        for the answer to the last, in seconds.
        """
        sent: list[tuple[int | None, float]] = []

        def isOver() -> bool:
            return any(self.isAnswered(number) for number, _ in sent) or bool(self.wrong) or self.refusals > 1

        for wait in (*waits, patience):
            sent.append((self.send(PROBE), self._clock.seconds()))
            if await self.socket.wait(isOver, wait):
                break
        times = [arrival.at - at for number, at in sent for arrival in self.answersTo(number)]
        self.rtt = max(self.rtt, *times, 0) if times else self.rtt
        return bool(times)

    @property
    def refusals(self) -> int:
        """How many times the kernel has reported that nothing takes the datagrams."""
        return sum(error.errno != EMSGSIZE for error in self.socket.errors)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
