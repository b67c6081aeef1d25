"""A server that answers datagrams."""

from dataclasses import dataclass

from twisted.internet.base import ReactorBase

from echoup.addresses import joinAddress
from echoup.client.connect.resolve import Family, resolve
from echoup.client.connect.trace import Trace
from echoup.client.connectedport import ConnectedPort
from echoup.client.datagram import DatagramClient
from echoup.client.exchange import Take
from echoup.client.exitcodes import ExitCode, PathError, describeServer


@dataclass(frozen=True)
class DatagramTarget:
    """A server that answers datagrams."""

    host: str
    port: int
    family: Family = Family.ANY

    def __str__(self) -> str:
        """Return the server as the messages name it."""
        return f"udp:{joinAddress(self.host, self.port)}"

    async def connect(self, reactor: ReactorBase, timeout: float, take: Take) -> DatagramClient:
        """Return a client, with `timeout` seconds for each answer, once the name is resolved; or raise PathError."""
        client = DatagramClient(reactor, timeout, take)
        await self.open(reactor, client, timeout, Trace(reactor.seconds))
        return client

    async def open(self, reactor: ReactorBase, port: ConnectedPort, timeout: float, trace: Trace) -> None:
        """Open `port` to the server's first address; raise PathError if that fails or resolving takes `timeout` s."""
        host, *_ = await resolve(reactor, self.host, self.family, timeout, trace)
        port.server = describeServer(self, joinAddress(host, self.port))
        try:
            port.open(reactor, (host, self.port))
        except OSError as error:
            raise PathError(ExitCode.UNREACHABLE, f"cannot send to {port.server}: {error.strerror}") from None
