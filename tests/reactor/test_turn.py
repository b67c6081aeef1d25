"""Small writes of one turn: they are sent together, in order, before whatever ends the connection."""

import socket
from collections.abc import Callable
from struct import Struct
from typing import Any

from twisted.internet.error import ConnectionDone

from tests.support.addresses import receiveAll
from tests.support.recorders import HalfCloseableRecorder, Producer, Recorder
from tests.support.sizes import MUCH
from tests.support.uvlooptests import UvloopTestCase, onReactor, receive, waiting

PIECES = [b"%d," % number for number in range(50)]
WHOLE = b"".join(PIECES)

_SEGMENTS = Struct("=100x I 52x I")
"""Of struct tcp_info (linux/tcp.h): tcpi_total_retrans, tcpi_data_segs_out."""


class Responder(HalfCloseableRecorder):
    """Calls a function with itself when data arrives."""

    def __init__(self, responds: Callable[[Any], object]) -> None:
        super().__init__()
        self._responds = responds

    def dataReceived(self, data: bytes) -> None:
        """Respond, and record it."""
        self._responds(self)
        super().dataReceived(data)


def writePieces(recorder: Recorder) -> None:
    """Write fifty small pieces."""
    for piece in PIECES:
        recorder.transport.write(piece)


def segments(recorder: Recorder) -> int:
    """Return the number of segments with data that were sent, without those that were sent again."""
    handle = recorder.transport.getHandle()
    again, count = _SEGMENTS.unpack(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SEGMENTS.size))
    return int(count) - int(again)


class TogetherTests(UvloopTestCase):
    """What is sent together, and when."""

    @onReactor
    async def test_piecesOfOneTurnAreOneSegment(self) -> None:
        """What dataReceived, connectionMade, a delayed call or a thread's call writes in pieces is sent at once."""
        for start in (
            lambda _, peer: peer.sendall(b"?"),
            lambda server, _: self.reactor.callLater(0, writePieces, server),
            lambda server, _: self.inThread(self.reactor.callFromThread, writePieces, server),
        ):
            server = Responder(writePieces)
            peer = self.pair("tcp4", server)
            await server.event("made")
            start(server, peer)
            assert await self.inThread(receive, peer, len(WHOLE)) == WHOLE
            assert segments(server) == 1
        greeter = Recorder(writePieces)
        assert await self.inThread(receive, self.pair("tcp6", greeter), len(WHOLE)) == WHOLE
        assert segments(greeter) == 1

    @onReactor
    async def test_anotherConnectionsCallbackWritesTogether(self) -> None:
        """What one connection's dataReceived writes to another one in pieces is sent at once."""
        server = Recorder()
        peer = self.pair("tcp4", server)
        await server.event("made")
        self.pair("unix", Responder(lambda _: writePieces(server))).sendall(b"?")
        assert await self.inThread(receive, peer, len(WHOLE)) == WHOLE
        assert segments(server) == 1

    @onReactor
    async def test_dataReceivedWritesAfterWhatWaits(self) -> None:
        """What dataReceived writes follows what another connection's dataReceived wrote before in the same turn."""
        server = Responder(lambda recorder: recorder.transport.write(b" second"))
        peer = self.pair("unix", server)  # unlike TCP, it delivers at once, so the order is certain
        await server.event("made")
        asker = self.pair("unix", Responder(lambda _: server.transport.write(b"first")))
        await self.turns()
        asker.sendall(b"?")
        peer.sendall(b"?")
        assert await self.inThread(receive, peer, 12) == b"first second"

    @onReactor
    async def test_largeWriteJoinsWhatWaits(self) -> None:
        """A header, a large body and a trailer arrive in order; the body doesn't wait for the end of the turn."""
        server = HalfCloseableRecorder()
        peer = self.pair("tcp4", server)
        await server.event("made")
        server.transport.write(b"header")
        server.transport.write(MUCH[: 2**16])
        assert segments(server) > 0
        server.transport.write(b"trailer")
        assert await self.inThread(receive, peer, 2**16 + 13) == b"header" + MUCH[: 2**16] + b"trailer"

    @onReactor
    async def test_longTurnIsBounded(self) -> None:
        """A streaming producer is paused within the turn if what it writes in pieces is more than the kernel takes."""
        producer = Producer()

        def writeUntilPaused(recorder: Recorder) -> None:
            recorder.transport.registerProducer(producer, True)
            for start in range(0, len(MUCH), 1000):
                if producer.calls:
                    return
                recorder.transport.write(MUCH[start : start + 1000])

        server = Responder(writeUntilPaused)
        peer = self.pair("tcp4", server)
        peer.sendall(b"?")
        await server.event("data")
        assert producer.calls == ["pause"]
        server.transport.unregisterProducer()
        server.transport.loseConnection()
        received = await self.inThread(receiveAll, peer)
        assert 2**16 < len(received) < len(MUCH)
        assert MUCH.startswith(received)

    @onReactor
    async def test_pullProducerIsNotAskedWhileBytesWait(self) -> None:
        """A pull producer isn't asked for more before the kernel has taken all that it wrote."""
        server = Recorder()
        self.pair("tcp4", server)
        await server.event("made")
        most = []

        def produce() -> None:
            most.append(waiting(server))
            server.transport.write(MUCH[: 2**15])

        server.transport.registerProducer(Producer(produce), False)
        await self.eventually(lambda: waiting(server))
        await self.turns()
        assert max(most) == 0
        server.transport.abortConnection()
        await server.event("lost")

    @onReactor
    async def test_pausedProducersLastWriteIsSent(self) -> None:
        """What a producer writes when it is paused, within `write` or at the end of the turn, comes last."""
        for parts in ((MUCH,), (b"small", MUCH)):
            server, producer = Recorder(), Producer()
            peer = self.pair("tcp4", server)
            await server.event("made")
            vars(producer)["pauseProducing"] = lambda write=server.transport.write: write(b"last")
            server.transport.registerProducer(producer, True)
            for part in parts:
                server.transport.write(part)
            sent = b"".join(parts) + b"last"
            assert await self.inThread(receive, peer, len(sent)) == sent

    @onReactor
    async def test_unsentConnectionIsAWriter(self) -> None:
        """A connection with something to send counts as a writer until the end of the turn."""
        server = Recorder()
        self.pair("tcp4", server)
        await server.event("made")
        server.transport.write(b"x")
        assert server.transport in self.reactor.getWriters()
        await self.turns()
        assert server.transport not in self.reactor.getWriters()


class EndOfTurnTests(UvloopTestCase):
    """What was written is sent before whatever comes next in the same turn."""

    def ends(self) -> tuple[Callable[[Recorder], object], ...]:
        """Return functions that end a connection."""
        return (
            lambda recorder: recorder.transport.loseConnection(),
            lambda recorder: recorder.transport.loseWriteConnection(),
            lambda recorder: recorder.transport.abortConnection(),
            lambda recorder: recorder.transport.connectionLost(ConnectionDone()),
            lambda recorder: (
                recorder.transport.registerProducer(Producer(), False),
                recorder.transport.loseConnection(),
                recorder.transport.unregisterProducer(),
            ),
        )

    @onReactor
    async def test_piecesComeBeforeTheEnd(self) -> None:
        """Pieces are sent before the end that the same turn asks for, in dataReceived and outside of it."""
        for end in self.ends():

            def writeAndEnd(recorder: Recorder, end: Callable[[Recorder], object] = end) -> None:
                writePieces(recorder)
                end(recorder)

            server = Responder(writeAndEnd)
            peer = self.pair("unix", server)
            peer.sendall(b"?")
            assert await self.inThread(receiveAll, peer) == WHOLE
            server = Responder(lambda _: None)
            peer = self.pair("unix", server)
            await server.event("made")
            writeAndEnd(server)
            assert await self.inThread(receiveAll, peer) == WHOLE
            server.transport.abortConnection()

    @onReactor
    async def test_piecesComeBeforeTheLoss(self) -> None:
        """What dataReceived wrote before it raised is sent."""

        def writeAndFail(recorder: Recorder) -> None:
            writePieces(recorder)
            raise ValueError("broken")

        server = Responder(writeAndFail)
        peer = self.pair("tcp4", server)
        peer.sendall(b"?")
        assert await self.inThread(receiveAll, peer) == WHOLE
        assert len(self.flushLoggedErrors(ValueError)) == 1

    @onReactor
    async def test_answerIsSentAlthoughThePeerEnds(self) -> None:
        """What another connection's dataReceived writes is sent, although the peer's end is read in the same turn."""
        server = Recorder()
        peer = self.pair("tcp4", server)
        await server.event("made")
        asker = self.pair("tcp4", Responder(lambda _: server.transport.write(b"answer")))
        await self.turns()
        asker.sendall(b"?")
        peer.shutdown(socket.SHUT_WR)
        assert await self.inThread(receiveAll, peer) == b"answer"

    @onReactor
    async def test_lateWritesOfTheTurnAreSentBeforeTheEnd(self) -> None:
        """What is written after loseWriteConnection in the same turn is sent before the end."""
        server = HalfCloseableRecorder()
        peer = self.pair("tcp4", server)
        await server.event("made")
        server.transport.loseWriteConnection()
        writePieces(server)
        assert await self.inThread(receiveAll, peer) == WHOLE
        server.transport.abortConnection()

    def test_lastTurnIsSent(self) -> None:
        """What is written in the turn that stops the reactor is sent."""
        server = Recorder()
        peers = []

        async def body() -> None:
            peers.append(self.pair("tcp4", server))
            await server.event("made")
            writePieces(server)

        self.complete(body())
        assert receiveAll(peers[0]) == WHOLE
