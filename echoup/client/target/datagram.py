"""A server that answers datagrams."""

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.base import ReactorBase

from echoup.addresses import joinAddress
from echoup.client.connect.resolve import Family, resolve
from echoup.client.connect.trace import Trace, describeServer
from echoup.client.datagram import DatagramClient
from echoup.client.exitcodes import ExitCode, PathError


@dataclass(frozen=True)
class DatagramTarget:
    """A server that answers datagrams."""

    host: str
    port: int
    family: Family = Family.ANY

    def __str__(self) -> str:
        """Return the server as the messages name it."""
        return f"udp:{joinAddress(self.host, self.port)}"

    async def connect(
        self, reactor: ReactorBase, timeout: float, take: Callable[[bytes], None], trace: Trace | None = None
    ) -> DatagramClient:
        """Return a client that has the server's address, or raise PathError; whether anybody is there it can't know.

        `timeout` and `take` are the client's; the time-out is for finding the address, too. Of several addresses the
        first is taken, and `trace` gets to know it.
        """
        trace = trace or Trace(reactor.seconds)
        host, *_ = await resolve(reactor, self.host, self.family, timeout, trace, "UDP")
        trace.remote = joinAddress(host, self.port)
        client = DatagramClient(reactor, (host, self.port), timeout, take)
        try:
            client.renew()
        except OSError as error:
            client.close()
            server = describeServer(self, trace.remote)
            raise PathError(ExitCode.UNREACHABLE, f"cannot send to {server}: {error.strerror}") from None
        return client
