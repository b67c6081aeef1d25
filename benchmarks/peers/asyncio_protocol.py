"""An asyncio Protocol that echoes in upper case; on uvloop with the argument `uvloop`."""

import asyncio
import sys
from typing import cast


class Echo(asyncio.Protocol):
    """A connection. asyncio sets TCP_NODELAY."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Send `data` back in upper case."""
        self.transport.write(data.upper())


async def serve() -> None:
    """Serve until the process is killed."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=4096)
    await server.serve_forever()


if sys.argv[1:] == ["uvloop"]:
    import uvloop

    uvloop.run(serve())
else:
    asyncio.run(serve())
