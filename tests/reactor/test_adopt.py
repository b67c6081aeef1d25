"""Ports and connections whose sockets were opened elsewhere."""

import socket
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, UnsupportedAddressFamily

from tests.support.addresses import receiveAll
from tests.support.recorders import Recorder, ServerOf
from tests.support.sockets import longestQueue, reset
from tests.support.uvlooptests import FAMILIES, KINDS, UvloopTestCase, connected, onReactor


class AdoptTests(UvloopTestCase):
    """Sockets that were opened elsewhere."""

    def open(self, kind: str) -> socket.socket:
        """Return a listening socket with a queue of 200."""
        listening = socket.socket(FAMILIES[kind], socket.SOCK_STREAM)
        self.addCleanup(listening.close)
        listening.bind(self.path() if kind == "unix" else ("127.0.0.1" if kind == "tcp4" else "::1", 0))
        listening.listen(200)
        listening.setblocking(False)
        return listening

    @onReactor
    async def test_adoptedPortAccepts(self) -> None:
        """An adopted port accepts, and its end closes only its own copy of the descriptor."""
        for kind in KINDS:
            listening = self.open(kind)
            port = self.reactor.adoptStreamPort(listening.fileno(), FAMILIES[kind], ServerOf())
            with connected(FAMILIES[kind], listening.getsockname()[:2] if kind != "unix" else listening.getsockname()):
                await self.accepted(port)
            await port.stopListening()
            assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)

    @onReactor
    async def test_adoptedPortKeepsItsQueue(self) -> None:
        """Adopting a port doesn't shorten the kernel's accept queue."""
        listening = self.open("tcp4")
        self.reactor.adoptStreamPort(listening.fileno(), socket.AF_INET, ServerOf())
        assert longestQueue(listening) == 200
        listening = self.open("unix")
        port = self.reactor.adoptStreamPort(listening.fileno(), socket.AF_UNIX, ServerOf())
        port.stopReading()
        peers = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(200)]
        for peer in peers:
            self.addCleanup(peer.close)
            peer.setblocking(False)
            peer.connect(listening.getsockname())  # raises BlockingIOError when there is no room in the queue
        port.startReading()
        await self.accepted(port, 200)

    @onReactor
    async def test_otherFamiliesAreRefused(self) -> None:
        """A socket that is neither TCP nor Unix is refused."""
        for adopt in (self.reactor.adoptStreamPort, self.reactor.adoptStreamConnection):
            with pytest.raises(UnsupportedAddressFamily):
                adopt(0, socket.AF_PACKET, ServerOf())

    @onReactor
    async def test_adoptedConnectionIsServed(self) -> None:
        """An adopted connection works like an accepted one; the caller keeps the original descriptor."""
        for kind in KINDS:
            listening = self.open(kind)
            peer = connected(FAMILIES[kind], listening.getsockname())
            accepted, _ = listening.accept()
            recorder = Recorder()
            stream = self.reactor.adoptStreamConnection(accepted.fileno(), FAMILIES[kind], ServerOf(recorder))
            accepted.close()
            peer.sendall(b"to you")
            await recorder.event("data")
            assert (recorder.transport, recorder.data) == (stream, b"to you")
            assert stream.getHost().port == peer.getpeername()[1] if kind != "unix" else stream.getHost()
            stream.write(b"to me")
            stream.loseConnection()
            assert await self.inThread(receiveAll, peer) == b"to me"
            peer.close()
            await recorder.event("lost")

    @onReactor
    async def test_closesBeforeItBegins(self) -> None:
        """A close before uvloop is ready takes effect; the protocol gets connectionMade and connectionLost."""
        for close, reason in (("loseConnection", ConnectionDone), ("abortConnection", ConnectionAborted)):
            ours, theirs = socket.socketpair()
            recorder = Recorder(lambda recorder: recorder.transport.write(b"hello"))
            stream = self.reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, ServerOf(recorder))
            ours.close()
            getattr(stream, close)()
            stream.pauseProducing()
            stream.resumeProducing()
            await recorder.event("lost")
            assert recorder.events == ["made", "lost"]
            assert recorder.reason.check(reason)
            assert await self.inThread(receiveAll, theirs) == b"hello"
            theirs.close()

    @onReactor
    async def test_resetConnectionKeepsItsPeerAddress(self) -> None:
        """A protocol whose peer resets before uvloop is ready still gets the peer's address."""
        listening = self.open("tcp4")
        peer = connected(socket.AF_INET, listening.getsockname())
        name = peer.getsockname()
        accepted, _ = listening.accept()
        seen: list[Any] = []
        recorder = Recorder(lambda recorder: seen.append(recorder.transport.getPeer()))
        self.reactor.adoptStreamConnection(accepted.fileno(), socket.AF_INET, ServerOf(recorder))
        accepted.close()
        reset(peer)
        await recorder.event("lost")
        assert seen == [IPv4Address("TCP", *name)]

    @onReactor
    async def test_connectionWithoutProtocolIsClosed(self) -> None:
        """A connection is closed if buildProtocol returns None or fails."""

        class Nothing(ServerOf):
            def buildProtocol(self, addr: object) -> Any:
                if self.ready:
                    raise ZeroDivisionError

        for factory in (Nothing(), Nothing(Recorder())):
            ours, theirs = socket.socketpair()
            if factory.ready:
                with pytest.raises(ZeroDivisionError):
                    self.reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)
            else:
                assert self.reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory) is None
            ours.close()
            assert theirs.recv(1) == b""
            theirs.close()
