"""Outgoing bytes: all of them, at the peer's pace, and then the end."""

import socket
from collections.abc import Callable

import pytest
from twisted.python.failure import Failure

from tests.support.addresses import receiveAll
from tests.support.recorders import HalfCloseableRecorder, Producer, Recorder
from tests.support.sizes import MUCH
from tests.support.sockets import reset
from tests.support.uvlooptests import KINDS, UvloopTestCase, onReactor, receive, waiting


class UnsentTests(UvloopTestCase):
    """What waits for the kernel is known."""

    @onReactor
    async def test_unsentBytesAreKnownToTheEnd(self) -> None:
        """The kernel has exactly the rest of what was written, and an abort leaves the number as it is."""
        for kind in KINDS:
            server = Telling()
            peer = self.pair(kind, server)
            await server.event("made")
            assert server.transport.unsent == 0
            server.transport.write(b"x")
            assert server.transport.unsent == 1
            server.transport.write(MUCH)
            await self.turns()
            unsent = server.transport.unsent
            assert 0 < unsent < len(MUCH)
            assert len(receive(peer, 1 + len(MUCH) - unsent)) == 1 + len(MUCH) - unsent  # no turn passes
            peer.setblocking(False)
            with pytest.raises(BlockingIOError):
                peer.recv(1)
            server.transport.abortConnection()
            await server.event("lost")
            assert server.unsent == unsent

    @onReactor
    async def test_resetForgetsTheWriteThatFailed(self) -> None:
        """After a reset by the peer the number lacks the write that failed, which uvloop has dropped."""
        for kind in KINDS:
            server = Telling()
            peer = self.pair(kind, server)
            await server.event("made")
            server.transport.write(MUCH)
            await self.turns()
            unsent = server.transport.unsent
            server.transport.write(b"late")
            assert server.transport.unsent == unsent + 4
            reset(peer)
            await server.event("lost")
            assert 0 <= server.unsent < unsent

    @onReactor
    async def test_pausedProducerIsSeen(self) -> None:
        """Whether a producer is paused is seen, by the name that Twisted's transports have for it."""
        server, producer = Recorder(), Producer()
        peer = self.pair("tcp4", server)
        await server.event("made")
        found = [server.transport.producerPaused]
        server.transport.registerProducer(producer, True)
        found.append(server.transport.producerPaused)
        server.transport.write(MUCH)
        await self.turns(1)
        found.append(server.transport.producerPaused)
        await self.inThread(receive, peer, len(MUCH))
        await self.eventually(lambda: producer.calls == ["pause", "resume"])
        assert [*found, server.transport.producerPaused] == [False, False, True, False]
        server.transport.abortConnection()
        await server.event("lost")


class Telling(Recorder):
    """Records what waits for the kernel when the connection is lost."""

    unsent = -1

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Record it."""
        self.unsent = self.transport.unsent
        super().connectionLost(reason)


class ProducerTests(UvloopTestCase):
    """When a producer is told to produce."""

    @onReactor
    async def test_streamingProducerIsPaused(self) -> None:
        """A streaming producer is paused when more than 64 KiB wait, resumed after that, and stopped at the end."""
        server, producer = HalfCloseableRecorder(), Producer()
        peer = self.pair("tcp4", server)
        await server.event("made")
        server.transport.registerProducer(producer, True)
        size = 0
        while not producer.calls:
            server.transport.write(MUCH[: 2**14])
            size += 2**14
            assert size <= len(MUCH)
        assert producer.calls == ["pause"]
        server.transport.write(b"!")
        await self.inThread(receive, peer, size + 1)
        await self.eventually(lambda: producer.calls != ["pause"])
        assert producer.calls == ["pause", "resume"]
        server.transport.abortConnection()
        await server.event("lost")
        assert producer.calls == ["pause", "resume", "stop"]

    @onReactor
    async def test_pausedProducerIsNotResumedEarly(self) -> None:
        """A producer that is paused in the turn of a loseWriteConnection stays paused until the peer reads."""
        server, producer = HalfCloseableRecorder(), Producer()
        peer = self.pair("tcp4", server)
        await server.event("made")
        server.transport.registerProducer(producer, True)
        server.transport.loseWriteConnection()
        server.transport.write(MUCH)
        await self.turns()
        assert producer.calls == ["pause"]
        assert await self.inThread(receiveAll, peer) == MUCH
        assert producer.calls == ["pause", "resume"]
        server.transport.abortConnection()
        await server.event("lost")

    @onReactor
    async def test_keptWriteIsDroppedAfterTheLoss(self) -> None:
        """A `write` that was looked up while there was a connection does nothing after the loss."""
        server = Recorder()
        self.pair("tcp4", server)
        await server.event("made")
        write = server.transport.write
        server.transport.abortConnection()
        await server.event("lost")
        write(b"x")

    @onReactor
    async def test_lateStreamingProducerIsPausedAtOnce(self) -> None:
        """A streaming producer is paused at once if too much waits, and stopped if the connection is lost."""
        server, producer, late = Recorder(), Producer(), Producer()
        self.pair("tcp4", server)
        await server.event("made")
        server.transport.write(MUCH)
        server.transport.registerProducer(producer, True)
        assert producer.calls == ["pause"]
        with pytest.raises(RuntimeError):
            server.transport.registerProducer(late, True)
        server.transport.abortConnection()
        await server.event("lost")
        server.transport.registerProducer(late, True)
        assert (producer.calls, late.calls) == (["pause", "stop"], ["stop"])

    @onReactor
    async def test_pullProducerIsAskedWhenNothingWaits(self) -> None:
        """A pull producer is resumed when nothing waits, and its last bytes are sent before the end."""
        for kind in KINDS:
            for part in (b"x", MUCH[: 2**21]):
                server = HalfCloseableRecorder()
                peer = self.pair(kind, server)
                await server.event("made")
                producer = Producer(partWriter(server, part, 5))
                server.transport.registerProducer(producer, False)
                server.transport.loseConnection()
                assert await self.inThread(receiveAll, peer) == part * 5
                await server.event("lost")
                assert producer.calls == ["resume"] * 6

    @onReactor
    async def test_pullProducerLeavesTheLimit(self) -> None:
        """A streaming producer is paused at 64 KiB even if a pull producer came before it."""
        server, pull, producer = Recorder(), Producer(), Producer()
        peer = self.pair("tcp4", server)
        await server.event("made")
        server.transport.registerProducer(pull, False)
        server.transport.write(MUCH)
        server.transport.unregisterProducer()
        await self.inThread(receive, peer, len(MUCH))
        await self.eventually(lambda: not waiting(server))
        server.transport.registerProducer(producer, True)
        size = 0
        while not producer.calls:
            assert waiting(server) <= 2**16
            server.transport.write(MUCH[: 2**14])
            size += 2**14
            assert size <= len(MUCH)
        assert waiting(server) > 2**16
        server.transport.abortConnection()
        await server.event("lost")

    @onReactor
    async def test_slowPullProducerIsAskedOnce(self) -> None:
        """A pull producer that writes later isn't asked again, and the end waits for it."""
        for close in ("loseConnection", "loseWriteConnection"):
            server = HalfCloseableRecorder()
            peer = self.pair("tcp4", server)
            await server.event("made")
            producer = Producer()
            server.transport.registerProducer(producer, False)
            getattr(server.transport, close)()
            await self.turns()
            asked = len(producer.calls)
            await self.turns()
            assert len(producer.calls) == asked <= 2
            server.transport.write(b"late")
            server.transport.unregisterProducer()
            assert await self.inThread(receiveAll, peer) == b"late"

    @onReactor
    async def test_closeWaitsForAPausedProducer(self) -> None:
        """A connection with a paused producer closes after the producer was resumed."""
        server, producer = Recorder(), Producer()
        peer = self.pair("tcp4", server)
        await server.event("made")
        server.transport.registerProducer(producer, True)
        server.transport.write(MUCH)
        vars(producer)["_resume"] = lambda: server.transport.write(b"more")
        server.transport.loseConnection()
        assert await self.inThread(receiveAll, peer) == MUCH + b"more"
        await server.event("lost")
        assert producer.calls == ["pause", "resume", "stop"]

    @onReactor
    async def test_closingConnectionReceivesNothing(self) -> None:
        """A connection that closes while a pull producer still produces receives nothing."""
        server = HalfCloseableRecorder(lambda recorder: recorder.transport.registerProducer(Producer(), False))
        peer = self.pair("tcp4", server)
        peer.sendall(b"too late")
        peer.shutdown(socket.SHUT_WR)
        vars(server)["_acts"] = lambda recorder: (
            recorder.transport.registerProducer(Producer(), False),
            recorder.transport.loseConnection(),
        )
        await server.event("made")
        await self.turns()
        server.transport.resumeProducing()
        await self.turns()
        assert server.events == ["made"]
        server.transport.unregisterProducer()
        await server.event("lost")
        assert server.events == ["made", "lost"]

    @onReactor
    async def test_resumeProducingErrorEndsTheConnection(self) -> None:
        """An error in resumeProducing ends the connection, is the reason, and is logged once."""
        for streaming in (True, False):
            server = Recorder()
            peer = self.pair("tcp4", server)
            await server.event("made")
            producer = Producer()
            server.transport.registerProducer(producer, streaming)
            vars(producer)["_resume"] = lambda: 1 // 0
            server.transport.write(MUCH)
            await self.inThread(receiveAll, peer)
            await server.event("lost")
            assert server.reason.check(ZeroDivisionError)
            assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    @onReactor
    async def test_stopProducingErrorIsLogged(self) -> None:
        """An error in stopProducing is logged, and the protocol is told of the end."""
        server, producer = Recorder(), Producer()
        self.pair("tcp4", server)
        await server.event("made")
        vars(producer)["stopProducing"] = lambda: 1 // 0
        server.transport.registerProducer(producer, True)
        server.transport.abortConnection()
        await server.event("lost")
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1


class WriteTests(UvloopTestCase):
    """What is written, and what is not."""

    @onReactor
    async def test_sequenceIsSentAsOne(self) -> None:
        """A sequence is sent as one, or not at all if one of its elements isn't bytes."""
        server = Recorder()
        peer = self.pair("tcp4", server)
        await server.event("made")
        with pytest.raises(TypeError):
            server.transport.writeSequence([b"never sent", "text"])
        server.transport.writeSequence(iter([b"one", b"", b" ", b"piece"]))
        assert await self.inThread(peer.recv, 100) == b"one piece"
        server.transport.writeSequence([])
        server.transport.loseConnection()
        assert await self.inThread(receiveAll, peer) == b""

    @onReactor
    async def test_mutableDataIsSentAsItWas(self) -> None:
        """A buffer that changes after the write is sent as it was, and may shrink."""
        for write in (
            lambda transport, data: transport.write(data),
            lambda transport, data: transport.write(memoryview(data)),
            lambda transport, data: transport.writeSequence([b"", data]),
        ):
            server = Recorder()
            peer = self.pair("tcp4", server)
            await server.event("made")
            data = bytearray(MUCH)
            write(server.transport, data)
            data[:] = b"z" * len(data)
            data.clear()
            server.transport.write(memoryview(b"e.n.d")[::2])
            server.transport.loseConnection()
            assert await self.inThread(receiveAll, peer) == MUCH + b"end"

    @onReactor
    async def test_otherTypesAreRefused(self) -> None:
        """A value that isn't bytes-like is refused, even when the connection is lost."""
        server = Recorder()
        self.pair("tcp4", server)
        await server.event("made")
        for _ in range(2):
            for wrong in ("text", 5, [b"list"], object(), None):
                for write in (server.transport.write, lambda part: server.transport.writeSequence([b"x", part])):
                    with pytest.raises(TypeError, match="Data must be bytes"):
                        write(wrong)
            server.transport.abortConnection()
            await server.event("lost")

    @onReactor
    async def test_lateWritesAreDropped(self) -> None:
        """Writes after the end was sent, and after the loss, are dropped."""
        for kind in KINDS:
            server = HalfCloseableRecorder()
            peer = self.pair(kind, server)
            await server.event("made")
            server.transport.loseWriteConnection()
            await server.event("writeLost")
            server.transport.write(b"late")
            server.transport.writeSequence([b"late"])
            server.transport.loseConnection()
            await server.event("lost")
            server.transport.write(b"later")
            server.transport.writeSequence([b"later"])
            server.transport.loseWriteConnection()
            server.transport.loseConnection()
            server.transport.abortConnection()
            assert await self.inThread(receiveAll, peer) == b""
            assert server.events == ["made", "writeLost", "lost"]


def partWriter(recorder: Recorder, part: bytes, count: int) -> Callable[[], None]:
    """Return a function that writes `part` at each of `count` calls, and then unregisters the producer."""
    left = [part] * count

    def write() -> None:
        if left:
            recorder.transport.write(left.pop())
        else:
            recorder.transport.unregisterProducer()

    return write
