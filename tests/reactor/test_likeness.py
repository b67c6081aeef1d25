"""What programs written for Twisted's own transports find in a stream."""

import socket
from typing import Any

import pytest
from twisted.internet import tcp, unix
from twisted.internet.interfaces import (
    ILoggingContext,
    IReadDescriptor,
    ISSLTransport,
    ITCPTransport,
    ITransport,
    IWriteDescriptor,
)
from twisted.internet.ssl import CertificateOptions
from twisted.python.failure import Failure

from echoup.reactor.stream import Stream
from tests.support.recorders import Recorder, ServerOf
from tests.support.uvlooptests import KINDS, UvloopTestCase, onReactor


class LikenessTests(UvloopTestCase):
    """What a stream has in common with Twisted's transports beyond the interfaces."""

    async def both(self, kind: str) -> tuple[Any, Any, Any]:
        """Return a port, and the transports of a server and a client that are connected."""
        server, client = Recorder(), Recorder()
        port, _ = self.listen(kind, server)
        self.connect(port, client)
        await server.event("made")
        await client.event("made")
        return port, server.transport, client.transport

    async def lost(self, stream: Any) -> None:
        """Wait until a connection is lost."""
        await self.eventually(lambda: stream.disconnected)

    @onReactor
    async def test_isinstanceTellsServersAndClients(self) -> None:
        """A stream passes `isinstance` for the Twisted class that it stands for, and for no other kind."""
        for kind in KINDS:
            module: Any = unix if kind == "unix" else tcp
            _, server, client = await self.both(kind)
            assert isinstance(server, module.Server)
            assert isinstance(server, tcp.Connection)
            assert isinstance(server, Stream)
            assert not isinstance(server, tcp.BaseClient)
            assert isinstance(client, module.Client)
            assert isinstance(client, Stream)
            assert not isinstance(client, tcp.Server)
            assert isinstance(client, unix.Client) == (kind == "unix")

    @onReactor
    async def test_adoptedConnectionIsAServer(self) -> None:
        """An adopted connection is a server's for `isinstance`, as in Twisted."""
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        with ours:
            adopted = self.reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, ServerOf())
        assert isinstance(adopted, unix.Server)

    @onReactor
    async def test_clientsAreFoundAmongTheReaders(self) -> None:
        """A program that waits until no reader is a client's finds each of them, until it is lost."""
        _, server, client = await self.both("tcp4")

        def found(kind: type) -> list[Any]:
            return [reader for reader in self.reactor.getReaders() if isinstance(reader, kind)]

        assert (found(tcp.Client), found(tcp.Server)) == ([client], [server])
        server.loseConnection()
        await self.lost(client)
        assert (found(tcp.Client), found(tcp.Server)) == ([], [])

    @onReactor
    async def test_providesItsOwnInterfaces(self) -> None:
        """A stream provides no interface of a descriptor that the reactor polls, before and after startTLS."""
        _, server, client = await self.both("tcp4")
        for stream in (server, client):
            for _ in range(2):
                for interface in (ITransport, ITCPTransport, ILoggingContext):
                    assert interface.providedBy(stream)
                for interface in (IReadDescriptor, IWriteDescriptor):
                    assert not interface.providedBy(stream)
                if not stream.TLS:
                    assert not ISSLTransport.providedBy(stream)
                    stream.startTLS(CertificateOptions())
            assert ISSLTransport.providedBy(stream)
            for name in ("doRead", "doWrite", "dataBuffer"):
                assert not hasattr(stream, name)

    @onReactor
    async def test_socketIsForOptionsAndAddresses(self) -> None:
        """`socket` has options and addresses, can't be read, written or closed, and exists until the loss."""
        for kind in KINDS:
            _, *streams = await self.both(kind)
            for stream in streams:
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                assert stream.getTcpKeepAlive()
                assert stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert stream.socket.getsockname() == stream.getHandle().getsockname()
                assert stream.socket.fileno() == stream.fileno()
                for method, arguments in (("close", ()), ("send", (b"x",)), ("recv", (1,)), ("shutdown", (1,))):
                    with pytest.raises(TypeError):
                        getattr(stream.socket, method)(*arguments)
            streams[0].abortConnection()
            for stream in streams:
                await self.lost(stream)
                assert not hasattr(stream, "socket")

    @onReactor
    async def test_clientNamesThePeer(self) -> None:
        """A server's `client` and `hostname` are the peer's address, as in Twisted, even at the loss."""
        for kind in KINDS:
            told: list[Any] = []

            class Telling(Recorder):
                def connectionMade(self) -> None:
                    told.append((self.transport.client, self.transport.hostname))  # noqa: B023
                    super().connectionMade()

                def connectionLost(self, reason: Failure | None = None) -> None:
                    told.append((self.transport.client, self.transport.hostname))  # noqa: B023
                    super().connectionLost(reason)

            server = Telling()
            peer = self.pair(kind, server)
            host, port = (None, None) if kind == "unix" else peer.getsockname()[:2]
            await server.event("made")
            peer.close()
            await server.event("lost")
            assert told == [((host, port), host)] * 2
