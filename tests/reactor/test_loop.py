"""What the loop does with descriptors that don't belong to its transports: those of `addReader` and `addWriter`."""

import contextlib
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from tests.support.recorders import Recorder, ServerOf
from tests.support.sizes import MUCH
from tests.support.uvlooptests import UvloopTestCase, onReactor, receive

_IP_RECVERR = 11  # linux/in.h; Python has it from 3.14 on


class Watched(FileDescriptor):
    """A descriptor that is read or written by functions, and counts the calls."""

    def __init__(self, reactor: Any, end: socket.socket, act: Callable[[], object] = lambda: None) -> None:
        super().__init__(reactor)
        self.fileno = end.fileno  # type: ignore[method-assign]
        self._act = act
        self.reads = self.writes = 0

    def doRead(self) -> None:
        """Count it, and act."""
        self.reads += 1
        self._act()

    def doWrite(self) -> None:
        """Count it, and stop writing."""
        self.writes += 1
        self.reactor.removeWriter(self)


class Conversation(DatagramProtocol):
    """Counts refusals, and keeps the data that it receives."""

    transport: Any
    heard = b""
    refusals = 0

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        """Keep it."""
        self.heard += datagram

    def connectionRefused(self) -> None:
        """Count it."""
        self.refusals += 1

    def hasRefusals(self, count: int) -> bool:
        """Return whether there were `count` refusals."""
        return self.refusals == count


@implementer(IFileDescriptorReceiver)
class DescriptorRecorder(Recorder):
    """A recorder that passes descriptors, and therefore has Twisted's own transport."""

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """Fail: none is passed."""
        raise AssertionError(descriptor)


class LoopTestCase(UvloopTestCase):
    """A test with sockets that are closed at its end."""

    def opened(self, kind: int, host: str = "") -> socket.socket:
        """Return an IPv4 socket, bound to `host` if that is given."""
        made = socket.socket(socket.AF_INET, kind)
        self.addCleanup(made.close)
        if host:
            made.bind((host, 0))
        return made

    def ends(self) -> tuple[socket.socket, socket.socket]:
        """Return two connected Unix sockets, both blocking."""
        both = socket.socketpair()
        for end in both:
            self.addCleanup(end.close)
        return both

    def refusing(self) -> socket.socket:
        """Return a datagram socket whose port refuses: it is connected to itself, so that it hears nobody else.

        While it is open no other process gets the port.
        """
        held = self.opened(socket.SOCK_DGRAM, "127.0.0.1")
        held.connect(held.getsockname())
        return held

    def refused(self) -> tuple[socket.socket, socket.socket]:
        """Return a datagram socket that is connected to a port that refuses, and the socket of that port."""
        held = self.refusing()
        client = self.opened(socket.SOCK_DGRAM, "127.0.0.1")
        client.setblocking(False)
        client.connect(held.getsockname())
        return client, held

    def serverInPlaceOf(self, held: socket.socket) -> socket.socket:
        """Return a server at the port of a socket, which is closed."""
        address = held.getsockname()
        held.close()
        server = self.opened(socket.SOCK_DGRAM)
        server.bind(address)
        return server


class ErrorTests(LoopTestCase):
    """Readers and writers whose descriptor has an error."""

    @onReactor
    async def test_readerHearsAfterAnError(self) -> None:
        """A connected UDP port is told of each refusal, and then gets the data of a server that starts later."""
        held = self.refusing()
        conversation = Conversation()
        port = self.reactor.listenUDP(0, conversation, interface="127.0.0.1")
        conversation.transport.connect(*held.getsockname())
        for refusals in range(1, 5):
            conversation.transport.write(b"anybody?")
            await self.eventually(partial(conversation.hasRefusals, refusals))
        self.serverInPlaceOf(held).sendto(b"here", ("127.0.0.1", port.getHost().port))
        await self.eventually(lambda: conversation.heard)
        assert (conversation.heard, conversation.refusals) == (b"here", 4)

    @onReactor
    async def test_lastWordsOfAPeerThatDied(self) -> None:
        """All that a peer sent before it died is read, and then the end, although it had not read what it was sent."""
        for size in (10, 84_000, 100_000):
            ours, peer = self.ends()
            ours.setblocking(False)
            recorder = DescriptorRecorder(lambda recorder: recorder.transport.write(b"unread"))
            self.reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, ServerOf(recorder))
            ours.close()
            await recorder.event("made")
            await self.turns()
            peer.sendall(b"x" * size)
            peer.close()
            await recorder.event("lost")
            assert (len(recorder.data), recorder.events) == (size, ["made", "data", "lost"])

    @onReactor
    async def test_writerIsAddedAfterAnError(self) -> None:
        """A reader can also become a writer after an error, and be removed."""
        client, _ = self.refused()
        watched = Watched(self.reactor, client, lambda: client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        self.reactor.addReader(watched)
        client.send(b"anybody?")
        await self.eventually(lambda: watched.reads)
        await self.turns()
        self.reactor.addWriter(watched)
        await self.eventually(lambda: watched.writes)
        assert watched in self.reactor.getReaders()
        self.reactor.removeReader(watched)
        assert watched not in self.reactor.getReaders()

    @onReactor
    async def test_errorThatStaysCostsNothing(self) -> None:
        """A reader is called a few times for an error that it leaves pending, and again for each later datagram."""
        client, held = self.refused()
        client.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)  # the error stays until MSG_ERRQUEUE is read (ip(7))
        heard: list[bytes] = []

        def receiveOne() -> None:
            with contextlib.suppress(OSError):
                heard.append(client.recv(100))

        watched = Watched(self.reactor, client, receiveOne)
        self.reactor.addReader(watched)
        client.send(b"anybody?")
        await self.eventually(lambda: watched.reads)
        await self.turns()
        assert watched.reads <= 3
        server = self.serverInPlaceOf(held)
        for _ in range(2):
            for datagram in (b"one", b"two", b"three"):
                server.sendto(datagram, client.getsockname())
            await self.eventually(lambda: len(heard) == 3)
            await self.turns()
            assert heard == [b"one", b"two", b"three"]
            heard.clear()
        assert watched.reads <= 15
        self.reactor.removeReader(watched)


class DescriptorTests(LoopTestCase):
    """Which descriptors are watched, and how."""

    @onReactor
    async def test_descriptorStaysBlocking(self) -> None:
        """A blocking descriptor stays blocking while it is watched, because other processes may share it."""
        ours, peer = self.ends()
        watched = Watched(self.reactor, ours, lambda: ours.recv(1))
        self.reactor.addReader(watched)
        self.reactor.addWriter(watched)
        peer.send(b"x")
        await self.eventually(lambda: watched.reads and watched.writes)
        assert os.get_blocking(ours.fileno())
        self.reactor.removeReader(watched)
        assert os.get_blocking(ours.fileno())

    @onReactor
    async def test_removedReaderIsNotCalled(self) -> None:
        """A reader that another one removes isn't called, even if both are ready in the same turn."""
        both: list[Watched] = []
        for ours, peer in (self.ends(), self.ends()):
            both.append(Watched(self.reactor, ours, lambda: [self.reactor.removeReader(watched) for watched in both]))
            peer.send(b"x")
        for watched in both:
            self.reactor.addReader(watched)
        await self.turns()
        assert sorted(watched.reads for watched in both) == [0, 1]

    @onReactor
    async def test_numberOfAClosedDescriptorIsWatchedAgain(self) -> None:
        """A descriptor is watched even if it has the number of one that was closed and never removed."""
        closed, _ = self.ends()
        self.reactor.addReader(Watched(self.reactor, closed))
        await self.turns()
        ours, peer = self.ends()
        number = closed.fileno()
        closed.close()
        os.dup2(ours.fileno(), number)
        with socket.socket(fileno=number) as reused:
            watched = Watched(self.reactor, reused, lambda: reused.recv(1))
            self.reactor.addReader(watched)
            peer.send(b"x")
            await self.eventually(lambda: watched.reads)
            self.reactor.removeReader(watched)

    @onReactor
    async def test_fileOnADiskIsAlwaysReady(self) -> None:
        """A file on a disk, which epoll doesn't take, is polled by Twisted."""
        with open(__file__) as opened:  # noqa: PTH123  # a descriptor
            watched = Watched(self.reactor, opened)  # type: ignore[arg-type]
            self.reactor.addReader(watched)
            self.reactor.addWriter(watched)
            await self.eventually(lambda: watched.reads and watched.writes)
            self.reactor.removeReader(watched)
            assert watched not in self.reactor.getReaders()

    @onReactor
    async def test_descriptorOfAStreamIsRefused(self) -> None:
        """The descriptor of a stream can't be read by another reader."""
        recorder = Recorder()
        self.pair("tcp4", recorder)
        await recorder.event("made")
        handle = recorder.transport.getHandle()
        for add in (self.reactor.addReader, self.reactor.addWriter):
            with pytest.raises(RuntimeError):
                add(Watched(self.reactor, handle))

    @onReactor
    async def test_asynciosReadersAreReplaced(self) -> None:
        """A second reader replaces the first; removing returns whether there was one."""
        loop = self.reactor._asyncioEventloop
        ours, peer = self.ends()
        called: list[str] = []
        loop.add_reader(ours, called.append, "first")
        loop.add_reader(ours.fileno(), called.append, "second")
        peer.send(b"x")
        await self.eventually(lambda: called)
        assert set(called) == {"second"}
        assert (loop.remove_reader(ours), loop.remove_reader(ours), loop.remove_writer(ours)) == (True, False, False)

    @onReactor
    async def test_writerLetsACoroutineReceive(self) -> None:
        """A coroutine continues to receive when its socket gets a writer, and to send when the socket gets a reader."""
        loop = self.reactor._asyncioEventloop
        ours, peer = self.ends()
        ours.setblocking(False)
        receives = Deferred.fromFuture(loop.create_task(loop.sock_recv(ours, 10)))
        await self.turns()
        loop.add_writer(ours, loop.remove_writer, ours)
        await self.turns()
        peer.send(b"x")
        assert await receives == b"x"
        sends = Deferred.fromFuture(loop.create_task(loop.sock_sendall(ours, MUCH)))
        await self.turns()
        loop.add_reader(ours, loop.remove_reader, ours)
        await self.turns()
        assert len(await self.inThread(receive, peer, len(MUCH))) == len(MUCH)
        await sends
        loop.remove_reader(ours)
