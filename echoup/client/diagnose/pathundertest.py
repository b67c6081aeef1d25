"""The path that a diagnosis is about, and connections over it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Any

from twisted.internet.base import ReactorBase

from echoup.addresses import joinAddress
from echoup.client.connect.resolve import resolve
from echoup.client.connect.trace import Trace
from echoup.client.diagnose.datagramsocket import DatagramSocket
from echoup.client.diagnose.places import ConnectionPlaces
from echoup.client.diagnose.scope import Scope
from echoup.client.exchange import Take
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient
from echoup.client.target.datagram import DatagramTarget
from echoup.client.target.parse import Target
from echoup.client.target.stream import StreamTarget
from echoup.clock import RunningTime

Tell = Callable[[str], None]
"""What a check calls with a few words about what it is doing, for the live line."""


class PathUnderTest:
    """The path to a target, and what is already known of it.

    Only the check `tls` judges the certificate; every other check accepts any, so that it tests what it is for.
    """

    def __init__(self, reactor: ReactorBase, target: Target, scope: Scope) -> None:
        self.reactor = reactor
        self.target = target
        self.scope = scope
        self.clock = RunningTime(reactor)
        """What all times and timeouts go by."""
        self.addresses: list[str] = []
        """The IP addresses of the target, in the order in which to try them; set by `resolve`."""
        self.address: str | None = None
        """The one that all checks use, because it answers; set by `reach`, and before that by `resolve`."""
        self.obstacle = ""
        """Why nothing more can be measured; empty if it can."""
        self.places = ConnectionPlaces()
        """What the connections wait for that `connection` makes, unless they are part of a number of their own."""
        self.untried = target.untried if isinstance(target, StreamTarget) else ()
        """The options that the server may expect; none once it has answered."""
        self._clients: dict[EchoUpClient, None] = {}
        security = target.security if isinstance(target, StreamTarget) else None
        if isinstance(target, StreamTarget) and security:
            name = security.serverName or target.host
            self._trusting = replace(security, serverName=name or None, insecure=True, pin=None)

    @property
    def host(self) -> str:
        """The name or address of the target; empty for a Unix socket."""
        return self.target.host

    @property
    def isDatagram(self) -> bool:
        """Whether the target is UDP."""
        return isinstance(self.target, DatagramTarget)

    async def ipAddress(self) -> str:
        """Return the IP address that the checks use; look the name up if no check has. Raise PathError without any."""
        if known := self.address or next(iter(self.addresses), None):
            return known
        trace = Trace(self.clock.seconds)
        found = await resolve(self.reactor, self.host, self.target.family, self.scope.timeout, trace, self.clock)
        return found[0]

    async def openDatagrams(self, tos: int | None = None, isWhole: bool = False, sourcePort: int = 0) -> DatagramSocket:
        """Return a UDP socket to the target's address and port, which the caller closes; see DatagramSocket.

        It sends from the target's address, and with its TOS unless `tos` is given. Raise PathError where this machine
        can't open it; the errno is that of its cause.
        """
        target, host = self.target, await self.ipAddress()
        tos = target.tos if tos is None else tos
        try:
            return DatagramSocket(
                self.reactor,
                self.clock,
                host,
                target.port,
                tos=tos or 0,
                isWhole=isWhole,
                source=target.bindAddress,
                sourcePort=sourcePort,
            )
        except OSError as error:
            why = error.strerror or str(error)
            raise PathError(
                ExitCode.LOCAL, why, f"udp:{joinAddress(host, target.port)}", action="cannot send to"
            ) from error

    def streamAt(self, address: str | None = None, **changes: Any) -> StreamTarget:
        """Return the target at `address`, or at the one that all checks use, with some fields changed.

        Its certificate isn't judged, unless `security` is among the changes. Raise TypeError where it isn't a stream.
        """
        if not isinstance(self.target, StreamTarget):
            raise TypeError("the target is no stream")
        if self.target.security:
            changes.setdefault("security", self._trusting)
        return replace(self.target, host=address or self.address or self.target.host, **changes)

    async def connect(
        self,
        address: str | None = None,
        *,
        take: Take = None,
        trace: Trace | None = None,
        timeout: float | None = None,
        client: EchoUpClient | None = None,
        **changes: Any,
    ) -> EchoUpClient:
        """Return a new connection, whose replies may take as long as it may take to connect; raise PathError.

        `timeout` is in seconds, the scope's by default; `client` is what to connect in place of a new EchoUpClient;
        `changes` are fields of the target.
        """
        limit = self.scope.timeout if timeout is None else timeout
        client = client or EchoUpClient(self.reactor, limit, take, self.clock)
        client.untried = self.untried
        self._clients[client] = None
        target = self.streamAt(address, **changes)
        await target.connectClient(self.reactor, client, limit, trace or Trace(self.clock.seconds))
        client.name = self.target
        return client

    @asynccontextmanager
    async def connection(
        self, address: str | None = None, *, waits: bool = True, **keywords: Any
    ) -> AsyncIterator[EchoUpClient]:
        """Connect, as `connect` does, and drop the connection at the end.

        Only a connection beside which the caller holds none `waits` for one of the places.
        """
        async with self.places.taken() if waits else nullcontext():
            client = await self.connect(address, **keywords)
            try:
                yield client
            finally:
                self.drop(client)

    def drop(self, client: EchoUpClient) -> None:
        """Abort the connection of `client`, if it is still open."""
        self._clients.pop(client, None)
        if not client.untried:
            self.untried = ()
        if client.connected and not client.closed.called:
            client.stopProducing()

    async def close(self) -> None:
        """Drop all connections, and wait until they are gone."""
        clients = [client for client in self._clients if client.connected]
        for client in [*self._clients]:
            self.drop(client)
        for client in clients:
            await client.closed
