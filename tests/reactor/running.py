"""A reactor of its own for each test, and what listens, connects and talks on it."""

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from functools import partial, wraps
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from echoup.reactor.uvloopreactor import UvloopReactor

T = TypeVar("T")
C = TypeVar("C", bound="UvloopTestCase")

FAMILIES = {"tcp4": socket.AF_INET, "tcp6": socket.AF_INET6, "unix": socket.AF_UNIX}
KINDS = tuple(FAMILIES)
MUCH = b"abcdefghijklmnop" * 2**20
"""More than the kernel and uvloop take for a peer that doesn't read."""

PATIENCE = 30
"""How many seconds a test may take."""


class Recorder(Protocol):
    """Remembers what happens to it; `acts` says what it does when connected."""

    transport: Any

    def __init__(self, acts: Callable[["Recorder"], object] = lambda _: None) -> None:
        self.events: list[str] = []
        self.data = b""
        self.reason: Any = None
        self._acts = acts
        self._awaited: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def happened(self, event: str) -> None:
        """Note an event, and wake up who waits for it."""
        self.events.append(event)
        self.look()

    def look(self) -> None:
        """Wake up those whose condition holds."""
        for waiting in list(self._awaited):
            condition, deferred = waiting
            if condition():
                self._awaited.remove(waiting)
                deferred.callback(None)

    def until(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Wait until `condition` holds, which is looked at after each event."""
        deferred: Deferred[None] = Deferred()
        self._awaited.append((condition, deferred))
        self.look()
        return deferred

    def event(self, name: str) -> Deferred[None]:
        """Wait until the event has happened."""
        return self.until(lambda: name in self.events)

    def received(self, data: bytes) -> Deferred[None]:
        """Wait until exactly `data` has come."""
        return self.until(lambda: self.data == data)

    def connectionMade(self) -> None:
        """Note it, and act."""
        self.happened("made")
        self._acts(self)

    def dataReceived(self, data: bytes) -> None:
        """Note it; many times in a row are one event."""
        self.data += data
        if self.events[-1] == "data":
            self.look()
        else:
            self.happened("data")

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Note it."""
        self.reason = reason
        self.happened("lost")


@implementer(IHalfCloseableProtocol)
class HalfCloseableRecorder(Recorder):
    """A recorder that can go on when one half of its connection is closed."""

    def readConnectionLost(self) -> None:
        """Note it."""
        self.happened("readLost")

    def writeConnectionLost(self) -> None:
        """Note it."""
        self.happened("writeLost")


class ServerOf(Factory[Any]):
    """Gives out the protocols that it is made with, and fresh ones after that."""

    noisy = False

    def __init__(self, *protocols: Protocol) -> None:
        self.ready = list(protocols)
        self.built: list[Any] = []

    def buildProtocol(self, addr: object) -> Protocol:
        """Return the next one."""
        protocol = self.ready.pop(0) if self.ready else Recorder()
        self.built.append(protocol)
        return protocol


class ClientOf(ClientFactory[Any]):
    """Gives out one protocol, and notes what becomes of the connection."""

    noisy = False

    def __init__(self, protocol: Protocol | None) -> None:
        self.only: Any = protocol
        self.failed: Deferred[Any] = Deferred()
        self.lost: Deferred[Any] = Deferred()

    def buildProtocol(self, addr: object) -> Any:
        """Return the one."""
        return self.only

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        """Note it."""
        self.failed.callback(reason.value)

    def clientConnectionLost(self, connector: object, reason: Failure) -> None:
        """Note it."""
        self.lost.callback(reason.value)


class UvloopTestCase(SynchronousTestCase):
    """A test with a reactor; a test method that is a coroutine function, marked with `onReactor`, runs on it."""

    def setUp(self) -> None:
        """Make the reactor."""
        self.reactor: Any = UvloopReactor()
        self.addCleanup(self._close)

    def complete(self, body: Coroutine[Any, Any, T]) -> T:
        """Run the reactor until `body` has come to its end; return what it returns."""
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
        """Let some turns of the loop pass, in which whatever could happen by itself does."""
        # One by one, so that a pause of the process doesn't stand for all of them.
        turn: Deferred[None] = deferLater(self.reactor, 0.005)
        return turn.addCallback(lambda _: self.turns(count - 1)) if count > 1 else turn

    async def eventually(self, condition: Callable[[], object]) -> None:
        """Let turns of the loop pass until `condition` holds."""
        while not condition():  # `complete` loses its patience
            await self.turns(1)

    async def accepted(self, port: Any, count: int = 1) -> None:
        """Wait until the factory of `port` has built `count` protocols."""
        await self.eventually(lambda: len(port.factory.built) == count)

    def inThread(self, function: Callable[..., T], *arguments: object) -> Deferred[T]:
        """Have `function` called in a thread: it may block, as a peer does."""
        return deferToThreadPool(self.reactor, self.reactor.getThreadPool(), function, *arguments)

    def listen(self, kind: str, *protocols: Protocol, **options: Any) -> tuple[Any, Callable[[], socket.socket]]:
        """Listen at a new place; return the port, and what connects a plain blocking socket to it."""
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
        """Return a peer that is connected to `protocol`, or will be soon."""
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
    """Have a coroutine function be a test method."""

    @wraps(test)
    def run(self: C) -> None:
        self.complete(test(self))

    return run


def connected(family: int, address: Any) -> socket.socket:
    """Return a blocking socket that is connected to `address`, and gives up in the end."""
    peer = socket.socket(family, socket.SOCK_STREAM)
    peer.settimeout(PATIENCE)
    try:
        peer.connect(address)
    except OSError:
        peer.close()
        raise
    return peer


def receiveAll(peer: socket.socket) -> bytes:
    """Receive until the end."""
    return b"".join(iter(partial(peer.recv, 2**18), b""))


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


def longestQueue(listening: socket.socket) -> int:
    """Return how many connections the kernel keeps for a listening TCP socket (tcpi_sacked, linux/tcp.h)."""
    information = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64)
    longest: int = struct.unpack_from("I", information, 28)[0]
    return longest
