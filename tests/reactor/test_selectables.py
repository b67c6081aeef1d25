"""The streams that count as readers and writers of the reactor: for trial, for metrics, and at the end of a program."""

from typing import Any

from twisted.internet.error import ConnectionLost

from echoup.reactor.ports import Port
from echoup.reactor.stream import Stream
from tests.support.recorders import Recorder
from tests.support.sizes import MUCH
from tests.support.uvlooptests import UvloopTestCase, onReactor, receive


class SelectablesTests(UvloopTestCase):
    """A stream counts while it reads or writes, as Twisted's transports do."""

    async def paused(self) -> tuple[Any, Any]:
        """Return a server that has paused its transport, and its peer."""
        server = Recorder()
        peer = self.pair("tcp4", server)
        await server.event("made")
        server.transport.pauseProducing()
        return server, peer

    def removed(self) -> list[Any]:
        """Remove all readers and writers, close the ports, and put the reactor's own back; return the streams."""
        removed = self.reactor.removeAll()
        self.reactor.installWaker()
        for each in removed:
            if isinstance(each, Port):
                each.connectionLost(None)
        return [each for each in removed if isinstance(each, Stream)]

    @onReactor
    async def test_pausedStreamIsNeither(self) -> None:
        """A paused stream for which nothing waits isn't removed, and counts again when it resumes."""
        server, peer = await self.paused()
        stream = server.transport
        assert stream not in self.reactor.getReaders() + self.reactor.getWriters()
        assert self.removed() == []
        stream.resumeProducing()
        assert stream in self.reactor.getReaders()
        peer.sendall(b"data")
        await server.received(b"data")

    @onReactor
    async def test_streamWithUnsentBytesIsAWriter(self) -> None:
        """A stream is a writer while bytes wait for the kernel, even when it is paused, and while it closes."""
        for act in ("write", "loseConnection"):
            server, _ = await self.paused()
            stream = server.transport
            stream.write(MUCH)
            getattr(stream, act)(*[b"more"] * (act == "write"))
            assert stream not in self.reactor.getReaders()
            assert stream in self.reactor.getWriters()
            assert stream in self.removed()
            stream.abortConnection()
            await server.event("lost")
            assert stream not in self.reactor.getWriters()

    @onReactor
    async def test_drainedStreamIsNoWriter(self) -> None:
        """A stream is not a writer once the kernel has its bytes."""
        server, peer = await self.paused()
        server.transport.write(b"few")
        assert await self.inThread(receive, peer, 3) == b"few"
        assert server.transport not in self.reactor.getWriters()

    def test_endOfTheProgramLosesPausedConnections(self) -> None:
        """At the end of the program connectionLost is called for each connection, even a paused one."""
        server, other = Recorder(), Recorder()

        async def connect() -> None:
            _, connects = self.listen("tcp4", server, other)
            for _ in range(2):
                self.addCleanup(connects().close)
            await server.event("made")
            await other.event("made")
            server.transport.pauseProducing()

        self.complete(connect())
        for recorder in (server, other):
            assert recorder.events == ["made", "lost"]
            assert recorder.reason.check(ConnectionLost)
