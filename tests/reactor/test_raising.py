"""What a program raises when the reactor calls it, even if not an Exception, ends one connection and nothing else."""

import socket
from asyncio import CancelledError
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IFileDescriptorReceiver
from zope.interface import implementer

from tests.support.recorders import Breaking, ClientOf, Producer, Recorder
from tests.support.sizes import MUCH
from tests.support.uvlooptests import KINDS, UvloopTestCase, onReactor, receive

T = TypeVar("T")


class Unusual(BaseException):
    """Not an Exception, nor a class that Python or asyncio treats specially."""


@implementer(IFileDescriptorReceiver)
class BreakingWithDescriptors(Breaking):
    """Fails at one of its events, on Twisted's own transport, which passes descriptors."""

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """Fail: none is passed."""
        raise AssertionError(descriptor)


RAISED = (SystemExit, KeyboardInterrupt, CancelledError, GeneratorExit, Unusual, ValueError)


def raising(error: type[BaseException]) -> Callable[..., Any]:
    """Return a function that raises `error`."""

    def raises(*_: object) -> None:
        raise error("broken")

    return raises


class RaisingTests(UvloopTestCase):
    """One connection ends, with what was raised as the reason and in the log, and the others continue."""

    def complete(self, body: Coroutine[Any, Any, T]) -> T:
        """Run it; fail if it ends the reactor, which would otherwise stop the test runner."""
        try:
            return super().complete(body)
        except (SystemExit, KeyboardInterrupt) as error:
            raise AssertionError("the reactor was ended") from error

    async def assertServes(self, connect: Callable[[], socket.socket], protocols: list[Any]) -> None:
        """Fail unless a new connection is served."""
        server = Recorder(lambda recorder: recorder.transport.write(b"served"))
        protocols.append(server)
        with connect() as peer:
            assert await self.inThread(receive, peer, 6) == b"served"
        await server.event("lost")
        assert server.reason.check(ConnectionDone)

    def assertLogged(self, error: type[BaseException]) -> None:
        """Fail unless the error was logged, once."""
        assert len(self.flushLoggedErrors(error)) == 1

    @onReactor
    async def test_eventsEndTheirConnection(self) -> None:
        """What is raised in connectionMade, dataReceived or readConnectionLost ends the connection of its protocol."""
        for error in RAISED:
            for event in ("made", "data", "readLost"):
                other, server = Recorder(), Breaking(event, error)
                port, connect = self.listen("tcp4", other, server)
                with connect() as bystander:
                    await other.event("made")
                    with connect() as peer:
                        peer.sendall(b"data")
                        peer.shutdown(socket.SHUT_WR)
                        await server.event("lost")
                    assert server.reason.check(error)
                    self.assertLogged(error)
                    bystander.sendall(b"data")
                    await other.received(b"data")
                await other.event("lost")
                await self.assertServes(connect, port.factory.ready)

    @onReactor
    async def test_twistedsTransportsEnd(self) -> None:
        """What is raised in dataReceived or connectionLost over Twisted's own transport ends only its connection."""
        for error in RAISED:
            for event in ("data", "lost"):
                server = BreakingWithDescriptors(event, error)
                port, connect = self.listen("unix", server)
                with connect() as peer:
                    peer.sendall(b"data")
                    await server.event("data")
                    server.transport.loseConnection()
                    await server.event("lost")
                    await self.turns(1)  # the event comes before what it raises
                assert server.events == ["made", "data", "lost"]
                assert bool(server.reason.check(error)) == (event == "data")
                self.assertLogged(error)
                await self.assertServes(connect, port.factory.ready)

    @onReactor
    async def test_connectionLostIsFollowedByTheFactorys(self) -> None:
        """What is raised in connectionLost is logged, and the client's factory is told of the end."""
        for error in RAISED:
            for kind in KINDS:
                client = Breaking("lost", error)
                port, connect = self.listen(kind)
                _, factory = self.connect(port, client)
                await client.event("made")
                client.transport.loseConnection()
                assert isinstance(await factory.lost, ConnectionDone)
                self.assertLogged(error)
                await self.assertServes(connect, port.factory.ready)

    @onReactor
    async def test_buildProtocolEndsItsConnection(self) -> None:
        """What is raised in the buildProtocol of a server or a client ends that connection."""
        for error in RAISED:
            port, connect = self.listen("tcp4")
            builds, port.factory.buildProtocol = port.factory.buildProtocol, raising(error)
            client = Recorder()
            _, factory = self.connect(port, client)
            await factory.lost
            self.assertLogged(error)
            port.factory.buildProtocol = builds
            factory = ClientOf(None)
            vars(factory)["buildProtocol"] = raising(error)
            self.reactor.connectTCP("127.0.0.1", port.getHost().port, factory)
            assert isinstance(await factory.failed, error)
            self.assertLogged(error)
            await self.assertServes(connect, port.factory.ready)

    @onReactor
    async def test_clientsFactoryIsLogged(self) -> None:
        """What is raised in clientConnectionLost is logged."""
        for error in RAISED:
            client, factory = Recorder(), ClientOf(None)
            factory.only = client
            vars(factory)["clientConnectionLost"] = raising(error)
            port, connect = self.listen("tcp4")
            self.reactor.connectTCP("127.0.0.1", port.getHost().port, factory)
            await client.event("made")
            client.transport.loseConnection()
            await client.event("lost")
            await self.turns(1)
            self.assertLogged(error)
            await self.assertServes(connect, port.factory.ready)

    @onReactor
    async def test_producersEndTheirConnection(self) -> None:
        """What a producer raises when uvloop makes it pause, resume or stop ends its connection."""
        for error in RAISED:
            for method in ("pauseProducing", "resumeProducing", "stopProducing"):
                producer, server = Producer(), Recorder()
                setattr(producer, method, raising(error))
                port, connect = self.listen("tcp4")
                port.factory.ready.append(server)
                with connect() as peer:
                    await server.event("made")
                    server.transport.registerProducer(producer, True)
                    server.transport.write(MUCH)
                    assert server.events == ["made"]
                    if method == "resumeProducing":
                        await self.inThread(receive, peer, len(MUCH))
                    elif method == "stopProducing":
                        server.transport.abortConnection()
                    await server.event("lost")
                assert bool(server.reason.check(error)) == (method != "stopProducing")
                self.assertLogged(error)
                await self.assertServes(connect, port.factory.ready)

    @onReactor
    async def test_writesOfAConnectionThatIsToEndAreTaken(self) -> None:
        """A protocol whose producer fails in the middle of its writes gets connectionLost after them, once."""
        producer = Producer()
        vars(producer)["pauseProducing"] = raising(SystemExit)

        def writesTwice(recorder: Recorder) -> None:
            recorder.transport.registerProducer(producer, True)
            recorder.transport.write(MUCH)
            recorder.happened("between")
            recorder.transport.write(b"more")
            recorder.happened("written")

        server = Recorder(writesTwice)
        self.pair("tcp4", server)
        await server.event("lost")
        assert server.events == ["made", "between", "written", "lost"]
        self.assertLogged(SystemExit)
