"""The service and the client in one reactor, over real sockets."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
import pytest_twisted
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.internet.posixbase import PosixReactorBase

from echoup.addresses import describeAddress
from echoup.client.exchange import Exchange
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient, Ending
from echoup.client.target.parse import parseTarget
from echoup.client.target.stream import StreamTarget
from echoup.server.listening.listeners import parseListener
from echoup.server.service import EchoUpService
from echoup.server.settings import Limits, Plan
from echoup.verdict import Verdict

pytestmark = pytest.mark.usefixtures("clean")

PATIENCE = 120
"""Seconds that either side waits for the other."""


@dataclass(frozen=True)
class Pair:
    """A running service and its reactor."""

    reactor: PosixReactorBase
    service: EchoUpService

    @property
    def target(self) -> StreamTarget:
        """The first address of the service."""
        return cast("StreamTarget", parseTarget(describeAddress(self.service.ports[0].getHost())))

    async def client(self, takes: int = 0) -> tuple[EchoUpClient, "Deferred[bytes]"]:
        """Return a connected client, and a Deferred of its first `takes` bytes."""
        came: list[bytes] = []
        taken: Deferred[bytes] = Deferred()

        def take(data: bytes) -> None:
            came.append(data)
            if len(b"".join(came)) >= takes and not taken.called:
                taken.callback(b"".join(came))

        return await self.target.connect(cast("ReactorBase", self.reactor), PATIENCE, take), taken


@pytest_twisted.async_yield_fixture(params=["127.0.0.1:0", "[::1]:0", "unix:{}/socket"])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    """A service on each kind of socket, with at most two connections a peer."""
    from twisted.internet import reactor as installed

    reactor = cast("PosixReactorBase", installed)
    listeners = (parseListener(request.param.format(tmp_path)),)
    service = EchoUpService(
        reactor, Plan(listeners=listeners, limits=Limits(maxConnectionsPerPeer=2), drainTimeout=PATIENCE)
    )
    service.startService()
    yield Pair(reactor, service)
    if service.running:
        await service.stopService()


@pytest_twisted.ensureDeferred
async def test_exchangeIsUppercased(pair: Pair) -> None:
    """The client's bytes come back in upper case, and both sides close."""
    client, taken = await pair.client(takes=5)
    exchange = Exchange(client, untilEnd=True)
    exchange.send(b"hello")
    assert await taken == b"HELLO"
    exchange.end()
    await exchange.done
    client.check(exchange.reply)
    assert exchange.reply.verdict is Verdict.UPPERCASED


@pytest_twisted.ensureDeferred
async def test_moreThanTheBuffersHoldPasses(pair: Pair) -> None:
    """More bytes than all buffers hold come back, with the end directly behind them."""
    client, _ = await pair.client()
    exchange = Exchange(client, untilEnd=True)
    for _ in range(100):
        exchange.send(b"x" * 100_000)
    exchange.end()
    await exchange.done
    client.check(exchange.reply)
    assert exchange.reply.received == 10_000_000


@pytest_twisted.ensureDeferred
async def test_stoppedServiceLosesNothing(pair: Pair) -> None:
    """A service that stops closes the client's connection with nothing lost, and the client reports the close."""
    client, taken = await pair.client(takes=5)
    exchange = Exchange(client, untilEnd=True)
    exchange.send(b"hello")
    await taken
    await pair.service.stopService()
    await client.closed
    with pytest.raises(PathError, match="the server closed the connection, 5 of 5 bytes came back") as raised:
        client.check(exchange.reply)
    assert raised.value.code is ExitCode.SHORT


@pytest_twisted.ensureDeferred
async def test_connectionAboveThePeersLimitIsReset(pair: Pair) -> None:
    """The third connection from one address is reset at once; peers on Unix sockets have no address to count."""
    clients = [await pair.client(takes=5) for _ in range(3)]
    if pair.target.host:
        await clients[2][0].closed
        assert clients[2][0].ending is Ending.RESET
        clients.pop()
    for client, taken in clients:
        exchange = Exchange(client, untilEnd=True)
        exchange.send(b"hello")
        assert await taken == b"HELLO"
        exchange.end()
        await exchange.done
