"""Clients: connecting, failing, and the turns between the connection and its beginning."""

import os
import socket
import tempfile
import weakref
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionDone, NotConnectingError, UserError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IConnector
from twisted.protocols.amp import AMP, Command, Descriptor, Integer
from zope.interface.verify import verifyObject

from tests.support.descriptors import uncollected
from tests.support.recorders import ClientOf, Recorder, ServerOf
from tests.support.sockets import unheard
from tests.support.uvlooptests import KINDS, UvloopTestCase, onReactor

NOWHERE = "192.0.2.1"
"""An address that no host has (RFC 5737)."""


class ConnectTests(UvloopTestCase):
    """How a client connects."""

    @onReactor
    async def test_connects(self) -> None:
        """A client and a server exchange bytes, and both are told of the end."""
        for kind in KINDS:
            server, client = Recorder(), Recorder(lambda recorder: recorder.transport.write(b"to the server"))
            port, _ = self.listen(kind, server)
            connector, factory = self.connect(port, client)
            assert verifyObject(IConnector, connector)
            await server.event("data")
            assert client.transport.connector is connector
            assert client.transport.getPeer() == port.getHost()
            assert client.transport.getHost() == server.transport.getPeer()
            server.transport.write(b"to the client")
            await client.event("data")
            connector.disconnect()
            await server.event("lost")
            assert isinstance(await factory.lost, ConnectionDone)
            assert (server.data, client.data) == (b"to the server", b"to the client")

    @onReactor
    async def test_refusedAttemptFails(self) -> None:
        """An attempt fails where no server listens."""
        with unheard() as port:
            for connect in (
                lambda factory: self.reactor.connectTCP("127.0.0.1", port, factory),
                lambda factory: self.reactor.connectUNIX(self.path(), factory),
            ):
                factory = ClientOf(Recorder())
                connect(factory)
                assert isinstance(await factory.failed, ConnectError)

    @onReactor
    async def test_attemptTimesOutOrIsStopped(self) -> None:
        """An attempt ends at its timeout, and when it is stopped."""
        factory = ClientOf(Recorder())
        self.reactor.connectTCP(NOWHERE, 1, factory, timeout=0.01)
        assert isinstance(await factory.failed, ConnectError)
        factory = ClientOf(Recorder())
        connector = self.reactor.connectTCP("127.0.0.1", self.listen("tcp4")[0].getHost().port, factory)
        connector.stopConnecting()
        assert isinstance(await factory.failed, UserError)

    @onReactor
    async def test_protocolHasItsTransportInTheNextTurn(self) -> None:
        """A protocol has its transport in the turn after it was built, as ClientCreator needs, and may close it."""
        for kind in KINDS:
            for close in ("disconnect", "abort"):
                client = Recorder()
                port, _ = self.listen(kind)
                connector, factory = self.connect(port, client)
                built = factory.buildProtocol

                def build(address: object, connector: Any = connector, built: Any = built, close: str = close) -> Any:
                    self.reactor.callLater(0, closeIt, connector, close)
                    return built(address)

                vars(factory)["buildProtocol"] = build
                await factory.lost
                assert client.events == ["made", "lost"]
                with pytest.raises(NotConnectingError):
                    connector.stopConnecting()

    @onReactor
    async def test_firstTurnBringsNoData(self) -> None:
        """A protocol gets no data before a call that buildProtocol makes with callLater(0), even if it resumes."""
        for acts in (
            lambda _: None,
            lambda recorder: (recorder.transport.pauseProducing(), recorder.transport.resumeProducing()),
        ):
            client = Recorder(acts)
            port, _ = self.listen("tcp4", Recorder(lambda recorder: recorder.transport.write(b"at once")))
            _, factory = self.connect(port, client)
            built = factory.buildProtocol

            def build(address: object, built: Any = built, client: Recorder = client) -> Any:
                self.reactor.callLater(0, client.happened, "told")
                return built(address)

            vars(factory)["buildProtocol"] = build
            await client.event("data")
            assert client.events == ["made", "told", "data"]
            client.transport.loseConnection()
            await factory.lost

    @onReactor
    async def test_stopsBetweenConnectedAndBegun(self) -> None:
        """An attempt that is given up before uvloop is ready for its connection fails, and builds no protocol."""
        for kind in KINDS:
            for error in (UserError, ConnectTimeout):
                server, client = Recorder(), Recorder()
                port, _ = self.listen(kind, server)
                adopt = self.reactor.adopt

                def adoptAndGiveUp(connected: Any, stream: Any, adopt: Any = adopt, error: Any = error) -> None:
                    adopt(connected, stream)
                    if error is UserError:
                        stream.connector.stopConnecting()
                    else:
                        stream.connector.transport.failIfNotConnected(ConnectTimeout())  # as its timeout does

                vars(self.reactor)["adopt"] = adoptAndGiveUp
                connector, factory = self.connect(port, client)
                assert isinstance(await factory.failed, error)
                del vars(self.reactor)["adopt"]
                await server.event("lost")
                assert (client.events, connector.state) == ([], "disconnected")

    @onReactor
    async def test_buildProtocolErrorCloses(self) -> None:
        """An error in buildProtocol is logged, and the connection is closed."""
        for kind in KINDS:
            server = Recorder()
            port, _ = self.listen(kind, server)
            _, factory = self.connect(port, None)
            vars(factory)["buildProtocol"] = lambda _: 1 // 0
            assert isinstance(await factory.failed, ZeroDivisionError)
            await server.event("lost")
            assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    @onReactor
    async def test_connectionWithoutProtocolIsClosed(self) -> None:
        """A client closes the connection if its factory returns no protocol."""
        server = Recorder()
        port, _ = self.listen("tcp4", server)
        _, factory = self.connect(port, None)
        assert isinstance(await factory.lost, ConnectionDone)
        await server.event("lost")

    @onReactor
    async def test_connectorConnectsAgain(self) -> None:
        """A connector connects again."""
        port, _ = self.listen("tcp4")
        connector, factory = self.connect(port, Recorder())
        await factory.only.event("made")
        for _ in range(3):
            connector.disconnect()
            await factory.lost
            factory.only, factory.lost = Recorder(), Deferred()
            connector.connect()
            await factory.only.event("made")

    @onReactor
    async def test_abstractUnixAddress(self) -> None:
        """A Unix socket can have an abstract address (unix(7))."""
        name = "\0" + os.path.basename(tempfile.mktemp())  # noqa: S306, PTH119  # no file comes of it
        server, client = Recorder(), Recorder()
        self.reactor.listenUNIX(name, ServerOf(server))
        self.reactor.connectUNIX(name, ClientOf(client))
        await server.event("made")
        await client.event("made")
        assert client.transport.getPeer() == server.transport.getHost()


class MemoryTests(UvloopTestCase):
    """What a lost connection keeps in memory."""

    @onReactor
    async def test_lostProtocolIsDeletedAtOnce(self) -> None:
        """A protocol whose connection is lost is deleted without the garbage collector."""
        for kind in KINDS:
            for end in ("loseConnection", "abortConnection", "failure"):
                server, client = Recorder(), Recorder()
                port, _ = self.listen(kind, server)
                _, factory = self.connect(port, client)
                await server.event("made")
                await client.event("made")
                factory.only = None
                if end == "failure":
                    server.transport.connectionLost(client.reason)
                else:
                    getattr(server.transport, end)()
                await server.event("lost")
                await client.event("lost")
                await self.turns()
                port.factory.built.clear()
                references = [weakref.ref(server), weakref.ref(client)]
                with uncollected():
                    del server, client
                    assert [reference() for reference in references] == [None, None]

    @onReactor
    async def test_lostPausedProtocolIsDeletedAtOnce(self) -> None:
        """A paused protocol for which bytes were held back is deleted without the garbage collector."""
        server = Recorder(lambda recorder: recorder.transport.pauseProducing())
        peer = self.pair("tcp4", server)
        peer.sendall(b"never read")
        await server.event("made")
        await self.turns()
        server.transport.abortConnection()
        await server.event("lost")
        await self.turns()
        reference = weakref.ref(server)
        self.reactor.getReaders()[0].factory.built.clear()
        with uncollected():
            del server
            assert reference() is None


class Pass(Command):
    """Passes a descriptor."""

    arguments = [(b"descriptor", Descriptor())]  # noqa: RUF012  # Twisted's
    response = [(b"size", Integer())]  # noqa: RUF012  # Twisted's


class Taker(AMP):
    """Reads from a descriptor that it receives."""

    transport: Any

    def take(self, descriptor: int) -> dict[str, int]:
        """Return the number of bytes in it."""
        with open(descriptor, "rb") as file:  # a descriptor
            return {"size": len(file.read())}

    Pass.responder(take)


class DescriptorTests(UvloopTestCase):
    """Protocols that pass descriptors."""

    @onReactor
    async def test_ampPassesDescriptors(self) -> None:
        """AMP passes descriptors over a Unix socket, from the client to the server and back."""
        server, client = Taker(), Taker()
        port, _ = self.listen("unix", server)
        _, factory = self.connect(port, client)
        await self.eventually(lambda: bool(server.transport and client.transport))
        for sender in (client, server):
            with tempfile.TemporaryFile() as file:
                file.write(b"12345")
                file.flush()
                file.seek(0)
                assert await sender.callRemote(Pass, descriptor=file.fileno()) == {"size": 5}
        client.transport.loseConnection()
        assert isinstance(await factory.lost, ConnectionDone)

    @onReactor
    async def test_ampPassesDescriptorsOverAdopted(self) -> None:
        """AMP passes descriptors over an adopted connection."""
        ours, theirs = socket.socketpair()
        server, client = Taker(), Taker()
        for protocol, end in ((server, ours), (client, theirs)):
            self.reactor.adoptStreamConnection(end.fileno(), socket.AF_UNIX, ServerOf(protocol))
            end.close()
        with tempfile.TemporaryFile() as file:
            assert await client.callRemote(Pass, descriptor=file.fileno()) == {"size": 0}
        assert "Taker" in repr(client.transport)
        client.transport.loseConnection()
        await self.turns()


def closeIt(connector: Any, close: str) -> None:
    """Close the established connection of `connector`."""
    assert connector.transport.connected
    if close == "disconnect":
        connector.disconnect()
    else:
        connector.transport.abortConnection()
