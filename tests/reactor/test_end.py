"""How a connection closes that its protocol ends."""

import socket

from twisted.internet.error import ConnectionAborted, ConnectionDone

from tests.support.addresses import receiveAll
from tests.support.recorders import HalfCloseableRecorder, Producer, Recorder
from tests.support.sizes import MUCH
from tests.support.uvlooptests import KINDS, UvloopTestCase, onReactor


class EndTests(UvloopTestCase):
    """How a connection closes that its protocol ends."""

    @onReactor
    async def test_loseConnectionSendsAllFirst(self) -> None:
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
    async def test_loseWriteConnectionSendsAllFirst(self) -> None:
        """All that was written is sent before the end; the protocol is told once, and continues to receive."""
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
    async def test_abortConnectionResets(self) -> None:
        """An abort resets, in connectionMade, while bytes wait and after loseConnection, with its own reason."""
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

    @onReactor
    async def test_disconnectingTellsOfLoseConnection(self) -> None:
        """`disconnecting` tells whether loseConnection was called, even after the loss; no other end sets it."""
        for end, expected in (("loseConnection", True), ("abortConnection", False), ("peer", False)):
            server = Recorder()
            peer = self.pair("tcp4", server)
            await server.event("made")
            stream = server.transport
            if end == "peer":
                peer.close()
            else:
                getattr(stream, end)()
            await server.event("lost")
            assert (stream.connected, stream.disconnecting, stream.disconnected) == (False, expected, True)


def wasReset(peer: socket.socket) -> bool:
    """Receive until the end; return whether it was a reset."""
    try:
        receiveAll(peer)
    except ConnectionResetError:
        return True
    return False
