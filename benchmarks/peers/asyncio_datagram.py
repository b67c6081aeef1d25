"""An asyncio DatagramProtocol on uvloop that answers in upper case."""

import asyncio
from typing import Any, cast

import uvloop


class Echo(asyncio.DatagramProtocol):
    """A socket."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Send `data` back in upper case."""
        self.transport.sendto(data.upper(), addr)


async def serve() -> None:
    """Serve until the process is killed."""
    await asyncio.get_running_loop().create_datagram_endpoint(Echo, ("127.0.0.1", 0))
    await asyncio.Event().wait()


uvloop.run(serve())
