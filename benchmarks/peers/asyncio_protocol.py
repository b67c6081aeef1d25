"""An asyncio Protocol that echoes in upper case: `asyncio_protocol.py asyncio|uvloop [PEM]`, with PEM over TLS."""

import asyncio
import ssl
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


async def serve(*pem: str) -> None:
    """Serve until the process is killed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if pem else None
    if context:
        context.load_cert_chain(*pem)
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=4096, ssl=context)
    await server.serve_forever()


_, loop, *pem = sys.argv
if loop == "uvloop":
    import uvloop

    uvloop.run(serve(*pem))
else:
    asyncio.run(serve(*pem))
