"""A reactor that the test drives: its transports, ports and timers are real, and the test sets its clock."""

import gc
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any, TypeVar

from twisted.internet.interfaces import IProtocolFactory, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.pollreactor import PollReactor
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echoup.clock import BEAT
from tests.support.sockets import connectedPair, reset

E = TypeVar("E", bound=BaseException)

EAGER = 100
"""The turns of `until` that don't wait for events: often the next turn brings what the condition needs without any."""

TURNS, PATIENCE = 2000, 60
"""`until` fails after this many turns and seconds; a pause of the process takes seconds, but few turns."""


class HandReactor(PollReactor):
    """A reactor without a loop of its own: events happen in `turn` and `until`, time passes in `advance`."""

    def __init__(self) -> None:
        self._seen: set[IReadDescriptor] = set()
        self._isClosed = False
        super().__init__()
        self.clock = Clock()
        self.seconds = self.clock.seconds

    def addReader(self, reader: IReadDescriptor) -> None:
        """Poll `reader`, and record it, so that `close` also closes a paused one."""
        self._seen.add(reader)
        super().addReader(reader)

    def callFromThread(self, f: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """See `IReactorFromThreads`; a resolver's thread may have its answer after `close`."""
        if not self._isClosed:
            super().callFromThread(f, *args, **kwargs)

    def turn(self, count: int = 10) -> None:
        """Process the events of `count` turns of the loop."""
        for _ in range(count):
            self.iterate(0)

    def advance(self, seconds: float, step: float = 0.05) -> None:
        """Let `seconds` pass, and process the events after each `step`; the timers run all the time."""
        end = self.clock.seconds() + seconds
        while end - self.clock.seconds() > 1e-9:
            until = min(self.clock.seconds() + step, end)
            while (rest := until - self.clock.seconds()) > 1e-9:
                self.clock.advance(min(rest, BEAT))
                self.runUntilCurrent()
            self.turn()

    def pause(self, seconds: float) -> None:
        """Let `seconds` pass as if this process were paused."""
        self.clock.advance(seconds)

    def until(self, condition: Callable[[], bool]) -> None:
        """Turn until `condition` holds, which may depend on the kernel; the first turns don't wait for events."""
        turns, end = 0, monotonic() + PATIENCE
        while not condition():
            assert turns < TURNS or monotonic() < end, f"never came true: {condition}"
            self.iterate(0 if turns < EAGER else 0.005)
            turns += 1

    def close(self) -> None:
        """Close all open sockets without a call of `connectionLost`; what a thread has to say later is dropped."""
        self._isClosed = True
        self.removeAll()
        for reader in self._seen - self._internalReaders:
            if opened := getattr(reader, "socket", None):
                opened.close()
        for reader in self._internalReaders:
            reader.connectionLost(Failure(CONNECTION_DONE))


class Peer:
    """The far end of a connection whose near end a HandReactor serves."""

    def __init__(self, reactor: HandReactor, end: socket.socket) -> None:
        self.reactor = reactor
        self.socket = end
        end.setblocking(False)
        if end.family == socket.AF_INET:
            # Otherwise a small piece waits for the acknowledgement of the last one, which the near end delays by 40 ms.
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def offer(self, data: bytes) -> int:
        """Send what the near end takes of `data` and return its size; read nothing."""
        sent = refused = 0
        while sent < len(data) and refused < 20:
            try:
                sent += self.socket.send(data[sent : sent + 65536])
                refused = 0
            except BlockingIOError:
                refused += 1
            self.reactor.turn(2)
        self._acknowledge()
        return sent

    def receive(self, size: int) -> bytes:
        """Return the next `size` bytes, or fewer at the end of the stream."""
        data = bytearray()

        def complete() -> bool:
            while len(data) < size:
                if (chunk := self.take(min(size - len(data), 65536))) is None:
                    return False
                if not chunk:
                    return True
                data.extend(chunk)
            return True

        self.reactor.until(complete)
        return bytes(data)

    def take(self, size: int) -> bytes | None:
        """Return up to `size` received bytes, empty bytes at the end, and None if nothing has come yet."""
        try:
            return self.socket.recv(size)
        except BlockingIOError:
            return None
        finally:
            self._acknowledge()

    def receiveAll(self) -> bytes:
        """Return all bytes up to the end."""
        return self.receive(2**40)

    def end(self) -> None:
        """End this side of the connection."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Reset the connection."""
        reset(self.socket)

    def _acknowledge(self) -> None:
        """Make the kernel acknowledge at once; a delayed ACK would come by the kernel's clock, not the reactor's."""
        if self.socket.family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class ReactorTestCase(SynchronousTestCase):
    """A test with a HandReactor of its own."""

    def setUp(self) -> None:
        """Make the reactor, which is closed after the test."""
        self.reactor = HandReactor()
        self.addCleanup(self.reactor.close)
        self.addCleanup(gc.unfreeze)  # what a stop has frozen

    def peerOf(self, factory: IProtocolFactory, family: socket.AddressFamily = socket.AF_INET) -> Peer:
        """Return the far end of a new connection, for whose near end `factory` builds a protocol."""
        near, far = connectedPair(family)
        self.addCleanup(far.close)
        with near:
            self.reactor.adoptStreamConnection(near.fileno(), family, factory)
        return Peer(self.reactor, far)

    def peerAt(self, address: tuple[str, int]) -> Peer:
        """Return the far end of a new connection to `address`; the near end waits in the kernel's queue."""
        far = socket.create_connection(address)
        self.addCleanup(far.close)
        return Peer(self.reactor, far)

    def occupy(self) -> int:
        """Return the number of a TCP port of 127.0.0.1 on which another socket listens."""
        other = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(other.close)
        number: int = other.getsockname()[1]
        return number


def raised(kind: type[E], call: Callable[..., object], *arguments: object) -> E | None:
    """Return the error of `kind` that the call raises; None if it returns."""
    try:
        call(*arguments)
    except kind as error:
        return error
    return None
