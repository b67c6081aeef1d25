"""Test cases, each with a uvloop reactor, and their peers."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from functools import partial, wraps
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase

from echoup.reactor.uvloopreactor import UvloopReactor
from tests.support.recorders import ClientOf, Recorder, ServerOf

T = TypeVar("T")
C = TypeVar("C", bound="UvloopTestCase")

FAMILIES = {"tcp4": socket.AF_INET, "tcp6": socket.AF_INET6, "unix": socket.AF_UNIX}
KINDS = tuple(FAMILIES)

PATIENCE = 120
"""Seconds that a test may take."""


class UvloopTestCase(SynchronousTestCase):
    """A test with a reactor; a test method that is a coroutine function, marked with `onReactor`, runs on it."""

    def setUp(self) -> None:
        """Make the reactor."""
        self.reactor: Any = UvloopReactor()
        self.addCleanup(self._close)

    def complete(self, body: Coroutine[Any, Any, T]) -> T:
        """Run the reactor until `body` ends; return what it returns."""
        results: list[Any] = []

        def begin() -> None:
            deferred = Deferred.fromCoroutine(body)
            deferred.addTimeout(PATIENCE, self.reactor)
            deferred.addBoth(results.append)
            deferred.addBoth(lambda _: self.reactor.stop())

        self.reactor.callWhenRunning(begin)
        self.reactor.run(installSignalHandlers=False)
        (result,) = results
        if isinstance(result, Failure):
            result.raiseException()
        final: T = result
        return final

    def turns(self, count: int = 5) -> Deferred[None]:
        """Let `count` turns of the loop pass, 5 ms apart."""
        # One after the other: a pause of the process would otherwise be all of them.
        turn: Deferred[None] = deferLater(self.reactor, 0.005)
        return turn.addCallback(lambda _: self.turns(count - 1)) if count > 1 else turn

    async def eventually(self, condition: Callable[[], object]) -> None:
        """Let turns of the loop pass until `condition` holds."""
        while not condition():  # `complete` has a timeout
            await self.turns(1)

    async def accepted(self, port: Any, count: int = 1) -> None:
        """Wait until the factory of `port` has built `count` protocols."""
        await self.eventually(lambda: len(port.factory.built) == count)

    def inThread(self, function: Callable[..., T], *arguments: object) -> Deferred[T]:
        """Call `function` in a thread, where it may block as a peer does."""
        return deferToThreadPool(self.reactor, self.reactor.getThreadPool(), function, *arguments)

    def listen(self, kind: str, *protocols: Protocol, **options: Any) -> tuple[Any, Callable[[], socket.socket]]:
        """Listen at a new address; return the port, and a function that connects a blocking socket to it."""
        factory = ServerOf(*protocols)
        if kind == "unix":
            port = self.reactor.listenUNIX(self.path(), factory, **options)
            return port, partial(connected, socket.AF_UNIX, port.getHost().name)
        interface, family = ("127.0.0.1", socket.AF_INET) if kind == "tcp4" else ("::1", socket.AF_INET6)
        port = self.reactor.listenTCP(0, factory, interface=interface, **options)
        return port, partial(connected, family, (interface, port.getHost().port))

    def connect(self, port: Any, protocol: Protocol | None) -> tuple[Any, ClientOf]:
        """Connect `protocol` to `port` with the reactor; return the connector and its factory."""
        address = port.getHost()
        factory = ClientOf(protocol)
        if hasattr(address, "name"):
            return self.reactor.connectUNIX(address.name, factory), factory
        return self.reactor.connectTCP(address.host, address.port, factory), factory

    def path(self) -> str:
        """Return a path for a socket, short enough for one."""
        folder = mkdtemp()
        self.addCleanup(FilePath(folder).remove)
        return str(Path(folder) / "socket")

    def pair(self, kind: str, protocol: Protocol) -> socket.socket:
        """Return a peer whose connection `protocol` gets, in a later turn."""
        _, connect = self.listen(kind, protocol)
        peer = connect()
        self.addCleanup(peer.close)
        return peer

    def _close(self) -> None:
        loop = self.reactor._asyncioEventloop
        self.reactor.disconnectAll()
        for reader in list(self.reactor._internalReaders):
            reader.connectionLost(None)
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        asyncio.set_event_loop(None)


def onReactor(test: Callable[[C], Coroutine[Any, Any, None]]) -> Callable[[C], None]:
    """Make a coroutine function a test method."""

    @wraps(test)
    def run(self: C) -> None:
        self.complete(test(self))

    return run


def connected(family: int, address: Any) -> socket.socket:
    """Return a blocking socket that is connected to `address`, with a timeout."""
    peer = socket.socket(family, socket.SOCK_STREAM)
    peer.settimeout(PATIENCE)
    try:
        peer.connect(address)
    except OSError:
        peer.close()
        raise
    return peer


def receive(peer: socket.socket, size: int) -> bytes:
    """Receive `size` bytes."""
    data = b""
    while len(data) < size:
        part = peer.recv(size - len(data))
        assert part, f"the end after {len(data)} bytes"
        data += part
    return data


def sendAndEnd(peer: socket.socket, data: bytes) -> None:
    """Send `data` and then the end."""
    peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)


def waiting(recorder: Recorder) -> int:
    """Return the number of bytes that wait for the kernel."""
    size: int = recorder.transport._uv.get_write_buffer_size()
    return size
