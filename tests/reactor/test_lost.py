"""How a connection is ended by its peer, or by a protocol that fails."""

import socket
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from tests.support.addresses import receiveAll
from tests.support.recorders import Breaking, Recorder
from tests.support.sockets import reset
from tests.support.uvlooptests import KINDS, UvloopTestCase, onReactor


class LostTests(UvloopTestCase):
    """The reasons that a protocol gets."""

    @onReactor
    async def test_peersEndIsConnectionDone(self) -> None:
        """The peer's end is ConnectionDone for a protocol that isn't half-closeable."""
        for kind in KINDS:
            server = Recorder()
            peer = self.pair(kind, server)
            peer.sendall(b"data")
            peer.close()
            await server.event("lost")
            assert server.events == ["made", "data", "lost"]
            assert server.reason.check(ConnectionDone)

    @onReactor
    async def test_peersResetIsConnectionLost(self) -> None:
        """The peer's reset is ConnectionLost."""
        server = Recorder()
        peer = self.pair("tcp4", server)
        await server.event("made")
        reset(peer)
        await server.event("lost")
        assert server.reason.check(ConnectionLost)

    @onReactor
    async def test_lostConnectionHasNoSocket(self) -> None:
        """A lost connection has no socket, because another file may have its descriptor."""
        for kind in KINDS:
            errors: list[OSError] = []

            class Asking(Recorder):
                def connectionLost(self, reason: Failure | None = None) -> None:
                    for ask in (self.transport.getHandle, self.transport.getTcpKeepAlive):
                        with pytest.raises(OSError, match="not connected") as error:
                            ask()
                        errors.append(error.value)  # noqa: B023
                    super().connectionLost(reason)

            server = Asking()
            self.pair(kind, server).close()
            await server.event("lost")
            assert len(errors) == 2

    @onReactor
    async def test_resetBeforeAcceptIsIgnored(self) -> None:
        """A connection that was reset before it was accepted gets no protocol, and logs no error."""
        port, connect = self.listen("tcp4")
        for _ in range(10):
            reset(connect())
        last = Recorder()
        port.factory.ready.append(last)
        with connect():
            await last.event("made")
        assert port.factory.built == [last]
        assert self.flushLoggedErrors() == []

    @onReactor
    async def test_protocolErrorEndsTheConnection(self) -> None:
        """An error in a protocol's method ends its connection, is the reason, and is logged once."""
        for event in ("made", "data", "readLost"):
            for error in (ValueError, FileNotFoundError):
                server = Breaking(event, error)
                peer = self.pair("tcp4", server)
                peer.sendall(b"data")
                peer.shutdown(socket.SHUT_WR)
                await server.event("lost")
                assert server.reason.check(error)
                assert await self.inThread(ended, peer)
                assert len(self.flushLoggedErrors(error)) == 1

    @onReactor
    async def test_errorWithHeldBackDataEndsTheConnection(self) -> None:
        """An error in the delivery of held back data ends the connection, and is logged once."""
        for event, sent in (("data", b"data"), ("readLost", b"")):
            server = Breaking(event)
            vars(server)["_acts"] = lambda recorder: recorder.transport.pauseProducing()
            peer = self.pair("tcp4", server)
            peer.sendall(sent)
            peer.shutdown(socket.SHUT_WR)
            await server.event("made")
            await self.turns()
            server.transport.resumeProducing()
            await server.event("lost")
            assert server.reason.check(ValueError)
            assert len(self.flushLoggedErrors(ValueError)) == 1

    @onReactor
    async def test_connectionLostErrorIsLogged(self) -> None:
        """An error in connectionLost is logged once, and the client's factory is told of the end."""
        server, client = Recorder(), Breaking("lost")
        port, _ = self.listen("tcp4", server)
        _, factory = self.connect(port, client)
        await client.event("made")
        client.transport.loseConnection()
        assert isinstance(await factory.lost, ConnectionDone)
        assert len(self.flushLoggedErrors(ValueError)) == 1

    @onReactor
    async def test_buildProtocolErrorEndsTheConnection(self) -> None:
        """An error in buildProtocol is logged, and ends the connection."""
        port, connect = self.listen("tcp4")
        port.factory.buildProtocol = fail
        with connect() as peer:
            assert await self.inThread(ended, peer)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    @onReactor
    async def test_connectionWithoutProtocolIsClosed(self) -> None:
        """A connection is closed if buildProtocol returns None."""
        port, connect = self.listen("tcp4")
        port.factory.buildProtocol = lambda _: None
        with connect() as peer:
            assert await self.inThread(ended, peer)


def fail(address: object) -> Any:
    """Raise an error."""
    raise ZeroDivisionError


def ended(peer: socket.socket) -> bool:
    """Receive until the end or a reset; return whether no byte came before."""
    try:
        return not receiveAll(peer)
    except ConnectionError:
        return True
