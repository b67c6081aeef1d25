"""The end that a protocol asks for."""

import socket

from twisted.internet.error import ConnectionAborted, ConnectionDone

from tests.support.addresses import receiveAll
from tests.support.recorders import HalfCloseableRecorder, Producer, Recorder
from tests.support.sizes import MUCH
from tests.support.uvlooptests import KINDS, UvloopTestCase, onReactor


class EndTests(UvloopTestCase):
    """The end that a protocol asks for."""

    @onReactor
    async def test_loseConnection(self) -> None:
        """All that was written is sent before the end, and the reason is ConnectionDone."""
        for kind in KINDS:
            for data in (b"", b"x", MUCH):
                server = Recorder()
                peer = self.pair(kind, server)
                await server.event("made")
                server.transport.write(data)
                server.transport.loseConnection()
                server.transport.loseConnection()
                assert await self.inThread(receiveAll, peer) == data
                await server.event("lost")
                assert server.events == ["made", "lost"]
                assert server.reason.check(ConnectionDone)

    @onReactor
    async def test_loseWriteConnection(self) -> None:
        """All that was written is sent before the end, of which the protocol hears once, and it still receives."""
        for kind in KINDS:
            for data in (b"", b"x", MUCH):
                server = HalfCloseableRecorder()
                peer = self.pair(kind, server)
                await server.event("made")
                server.transport.write(data)
                server.transport.loseWriteConnection()
                server.transport.loseWriteConnection()
                assert "writeLost" not in server.events
                assert await self.inThread(receiveAll, peer) == data
                peer.sendall(b"still")
                await server.event("data")
                peer.shutdown(socket.SHUT_WR)
                await server.event("readLost")
                await self.turns()
                assert server.events == ["made", "writeLost", "data", "readLost"]
                server.transport.loseConnection()
                await server.event("lost")
                assert server.reason.check(ConnectionDone)

    @onReactor
    async def test_abortConnection(self) -> None:
        """An abort resets, also in the midst of sending, in connectionMade, or after a slow close; the reason tells."""
        for acts in (
            lambda recorder: recorder.transport.abortConnection(),
            lambda recorder: (recorder.transport.write(MUCH), recorder.transport.abortConnection()),
            lambda recorder: (
                recorder.transport.write(MUCH),
                recorder.transport.loseConnection(),
                recorder.transport.abortConnection(),
            ),
            lambda recorder: (recorder.transport.abortConnection(), recorder.transport.loseConnection()),
            lambda recorder: (
                recorder.transport.registerProducer(Producer(), False),
                recorder.transport.abortConnection(),
            ),
        ):
            server = Recorder(acts)
            peer = self.pair("tcp4", server)
            await server.event("lost")
            assert server.reason.check(ConnectionAborted)
            assert await self.inThread(wasReset, peer)
            assert server.events == ["made", "lost"]


def wasReset(peer: socket.socket) -> bool:
    """Receive until the end, of whatever kind; say if it was a reset."""
    try:
        receiveAll(peer)
    except ConnectionResetError:
        return True
    return False
