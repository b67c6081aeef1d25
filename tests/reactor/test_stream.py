"""Incoming bytes: exactly, in order, once, while the protocol reads."""

import socket
from typing import Any

from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    ILoggingContext,
    IPushProducer,
    ISystemHandle,
    ITCPTransport,
    ITLSTransport,
)
from twisted.internet.protocol import Protocol
from zope.interface import Interface, implementer
from zope.interface.verify import verifyObject

from tests.support.addresses import receiveAll
from tests.support.recorders import HalfCloseableRecorder, Recorder
from tests.support.sizes import MUCH
from tests.support.uvlooptests import KINDS, UvloopTestCase, onReactor, sendAndEnd

INTERFACES: tuple[type[Interface], ...] = (
    ITLSTransport,
    ITCPTransport,
    IConsumer,
    IPushProducer,
    ISystemHandle,
    ILoggingContext,
)


@implementer(IHalfCloseableProtocol)
class Echo(Protocol):
    """Sends back what it receives, reads no more than it can send, and closes after the peer's end."""

    transport: Any

    def connectionMade(self) -> None:
        """Pause reading while the peer reads nothing."""
        self.transport.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)

    def readConnectionLost(self) -> None:
        """Close when all is sent."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Is never called: loseConnection closes both halves at once."""


class ReadingTests(UvloopTestCase):
    """What a protocol receives."""

    @onReactor
    async def test_providesWhatItDeclares(self) -> None:
        """A stream provides the interfaces that it declares, accepted, connected or adopted."""
        for kind in KINDS:
            server, client = Recorder(), Recorder()
            port, _ = self.listen(kind, server)
            self.connect(port, client)
            await server.event("made")
            await client.event("made")
            for stream in (server.transport, client.transport):
                for interface in INTERFACES:
                    assert verifyObject(interface, stream)

    @onReactor
    async def test_echoIsExact(self) -> None:
        """All that is sent comes back, and then the end, for all sizes and for a peer that reads late."""
        for kind in KINDS:
            for data in (b"", b"1", MUCH[: 2**16], MUCH[: 2**22]):
                for late in (False, True):
                    _, connect = self.listen(kind, Echo())
                    with connect() as peer:
                        sent = self.inThread(sendAndEnd, peer, data)
                        if late:
                            await self.turns()
                        assert await self.inThread(receiveAll, peer) == data
                        await sent

    @onReactor
    async def test_pausedFromTheBeginningGetsAllLater(self) -> None:
        """A protocol that pauses in connectionMade gets nothing until it resumes, then all in order, once."""
        for kind in KINDS:
            for data in (b"", b"first", MUCH):
                server = HalfCloseableRecorder(lambda recorder: recorder.transport.pauseProducing())
                peer = self.pair(kind, server)
                sent = self.inThread(sendAndEnd, peer, data)
                await server.event("made")
                await self.turns()
                server.transport.resumeProducing()
                assert server.events == ["made"]  # as with Twisted's transports, nothing comes before it returns
                await server.event("readLost")
                await sent
                assert server.data == data
                assert server.events == ["made", "data", "readLost"] if data else ["made", "readLost"]
                server.transport.loseConnection()

    @onReactor
    async def test_pausesAgainWithHeldBackData(self) -> None:
        """A protocol that pauses again with the first held back bytes gets nothing more."""
        server = HalfCloseableRecorder(lambda recorder: recorder.transport.pauseProducing())
        peer = self.pair("tcp4", server)
        sent = self.inThread(sendAndEnd, peer, MUCH)
        await server.event("made")
        await self.turns()
        first = server.event("data").addCallback(lambda _: server.transport.pauseProducing())
        server.transport.resumeProducing()
        await first
        size = len(server.data)
        await self.turns()
        assert len(server.data) == size < len(MUCH)
        server.transport.resumeProducing()
        await server.event("readLost")
        await sent
        assert server.data == MUCH

    @onReactor
    async def test_pausedProtocolGetsItAfterResuming(self) -> None:
        """Bytes and the end that come during a pause are delivered after it."""
        server = HalfCloseableRecorder()
        peer = self.pair("tcp4", server)
        for expected in (b"a", b"ab", b"abc"):
            peer.sendall(expected[-1:])
            await server.received(expected)
            server.transport.pauseProducing()
            server.transport.pauseProducing()
            peer.sendall(b"later")
            await self.turns()
            assert server.data == expected
            server.transport.resumeProducing()
            server.transport.resumeProducing()
            await server.received(expected + b"later")
            server.data = expected
        server.transport.pauseProducing()
        peer.shutdown(socket.SHUT_WR)
        await self.turns()
        assert "readLost" not in server.events
        server.transport.resumeProducing()
        await server.event("readLost")

    @onReactor
    async def test_resumingAfterTheEndDoesNothing(self) -> None:
        """Resuming after the peer's end, or after the loss, does nothing."""
        server = HalfCloseableRecorder()
        peer = self.pair("tcp4", server)
        peer.shutdown(socket.SHUT_WR)
        await server.event("readLost")
        server.transport.pauseProducing()
        server.transport.resumeProducing()
        await self.turns()
        server.transport.loseConnection()
        await server.event("lost")
        server.transport.pauseProducing()
        server.transport.resumeProducing()
        await self.turns()
        assert server.events == ["made", "readLost", "lost"]

    @onReactor
    async def test_heldBackDataIsDroppedOnClose(self) -> None:
        """A protocol that closes while data is held back never gets it, not even if it resumes."""
        for close in ("loseConnection", "abortConnection"):
            server = Recorder(lambda recorder: recorder.transport.pauseProducing())
            peer = self.pair("tcp4", server)
            peer.sendall(b"held back")
            await server.event("made")
            await self.turns()
            getattr(server.transport, close)()
            server.transport.resumeProducing()
            await server.event("lost")
            assert server.events == ["made", "lost"]

    @onReactor
    async def test_replacedProtocolGetsTheNextData(self) -> None:
        """A protocol, or a dataReceived, that replaces the first gets the next data."""
        first, second = Recorder(), Recorder()
        peer = self.pair("tcp4", first)
        peer.sendall(b"first")
        await first.event("data")
        second.events.append("made")
        first.transport.protocol = second
        peer.sendall(b"second")
        await second.event("data")
        assert (first.data, second.data) == (b"first", b"second")
        third: list[bytes] = []
        vars(second)["dataReceived"] = third.append
        peer.sendall(b"third")
        await self.eventually(lambda: bool(third))
        assert (second.data, third) == (b"second", [b"third"])
        peer.close()
        await second.event("lost")
        assert "lost" not in first.events
