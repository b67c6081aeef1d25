"""An echo server in upper case on asyncio's streams; on uvloop with the argument `uvloop`."""

import asyncio
import sys


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back in upper case everything that arrives. asyncio sets TCP_NODELAY."""
    while data := await reader.read(65536):
        writer.write(data.upper())
        await writer.drain()
    writer.close()


async def serve() -> None:
    """Serve until the process is killed."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=4096)
    await server.serve_forever()


if sys.argv[1:] == ["uvloop"]:
    import uvloop

    uvloop.run(serve())
else:
    asyncio.run(serve())
