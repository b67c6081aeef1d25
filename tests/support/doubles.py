"""A real reactor in the tests' hands: its transports, ports and timers are real, but time stands still."""

import socket
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from twisted.internet.interfaces import IProtocolFactory, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.pollreactor import PollReactor
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.sockets import connectedPair, reset

E = TypeVar("E", bound=BaseException)

TURNS, PATIENCE = 2000, 60
"""After so many turns and seconds, what a test waits for isn't going to happen; a pause of the process is few turns."""


class HandReactor(PollReactor):
    """A reactor that nobody runs: events happen in `turn` and `until`, time passes in `advance`."""

    def __init__(self) -> None:
        self._seen: set[IReadDescriptor] = set()
        super().__init__()
        self.clock = Clock()
        self.seconds = self.clock.seconds

    def addReader(self, reader: IReadDescriptor) -> None:
        """Look at `reader`, and remember it: what is paused in the end has to be closed, too."""
        self._seen.add(reader)
        super().addReader(reader)

    def turn(self, count: int = 10) -> None:
        """Do what there is to do, in `count` turns of the loop."""
        for _ in range(count):
            self.iterate(0)

    def advance(self, seconds: float, step: float = 0.05) -> None:
        """Let `seconds` pass, and do what there is to do after each `step`."""
        end = self.clock.seconds() + seconds
        while (left := end - self.clock.seconds()) > 1e-9:
            self.clock.advance(min(step, left))
            self.turn()

    def until(self, condition: Callable[[], bool]) -> None:
        """Turn until `condition` holds; the kernel may take its time."""
        turns, end = 0, monotonic() + PATIENCE
        while not condition():
            assert turns < TURNS or monotonic() < end, f"never came true: {condition}"
            self.iterate(0.005)
            turns += 1

    def close(self) -> None:
        """Close all sockets that are open; nobody is told."""
        self.removeAll()
        for reader in self._seen - self._internalReaders:
            if opened := getattr(reader, "socket", None):
                opened.close()
        for reader in self._internalReaders:
            reader.connectionLost(Failure(CONNECTION_DONE))


class Peer:
    """The far end of a connection, whose near end a HandReactor serves."""

    def __init__(self, reactor: HandReactor, end: socket.socket) -> None:
        self.reactor = reactor
        self.socket = end
        end.setblocking(False)

    def offer(self, data: bytes) -> int:
        """Send what the other side takes of `data` and return how much that was; read nothing."""
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
        """Return the next `size` bytes, or those that come before the end."""
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
        """Return up to `size` bytes of what has come, nothing at the end, and None if nothing has come yet."""
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
        """Send our end."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Reset the connection."""
        reset(self.socket)

    def _acknowledge(self) -> None:
        """Let the kernel tell at once what it has taken; it would do so in its own time, which isn't the reactor's."""
        if self.socket.family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class ReactorTestCase(SynchronousTestCase):
    """A test with a HandReactor of its own."""

    def setUp(self) -> None:
        """Make the reactor, and close it in the end."""
        self.reactor = HandReactor()
        self.addCleanup(self.reactor.close)

    def peerOf(self, factory: IProtocolFactory, family: socket.AddressFamily = socket.AF_INET) -> Peer:
        """Let `factory` build a protocol for a new connection, and return the connection's far end."""
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
        """Return the number of a TCP port of 127.0.0.1 that somebody else listens on."""
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
