"""A server that answers datagrams."""

from dataclasses import dataclass

from twisted.internet.base import ReactorBase

from echoup.addresses import joinAddress
from echoup.client.connect.race import ATTEMPT_DELAY
from echoup.client.connect.resolve import Family, resolve
from echoup.client.connect.trace import Step, Trace
from echoup.client.connectedport import ConnectedPort
from echoup.client.datagram import DatagramClient
from echoup.client.exchange import Take
from echoup.client.exitcodes import PathError
from echoup.clock import RunningTime


@dataclass(frozen=True)
class DatagramTarget:
    """A server that answers datagrams."""

    host: str
    port: int
    family: Family = Family.ANY
    bindAddress: str | None = None
    """The address to send from."""
    tos: int | None = None
    """The TOS byte of the datagrams; None for the kernel's."""

    def __str__(self) -> str:
        """Return the server as the messages name it."""
        return f"udp:{joinAddress(self.host, self.port)}"

    async def connect(self, reactor: ReactorBase, timeout: float, take: Take) -> DatagramClient:
        """Return a client, with `timeout` seconds for each answer, once the name is resolved; or raise PathError."""
        client = DatagramClient(reactor, timeout, take)
        await self.open(reactor, client, timeout, Trace(reactor.seconds), client.clock)
        return client

    async def open(
        self,
        reactor: ReactorBase,
        port: ConnectedPort,
        timeout: float,
        trace: Trace,
        clock: RunningTime,
        known: str | None = None,
    ) -> None:
        """Open `port` to the server's addresses; raise PathError if that fails or resolving takes `timeout` seconds.

        If the server still has the address `known`, the others are only tried when that refuses.
        """
        hosts = await resolve(reactor, self.host, self.family, timeout, trace, clock)
        port.source, port.tos = self.bindAddress, self.tos
        patience = None if known in hosts else ATTEMPT_DELAY
        try:
            addresses = [(host, self.port) for host in sorted(hosts, key=lambda host: host != known)]
            port.open(reactor, self, addresses, patience)
        except PathError as error:
            trace.end(trace.begin(Step.FIRST_BYTE), error=error.reason)
            raise PathError(error.code, error.reason, self, port.address, "cannot send to") from None
