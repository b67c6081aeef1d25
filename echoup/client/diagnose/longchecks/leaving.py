"""Connections and UDP sockets that are left alone for a time, and then asked whether they still work.

The idle time is that of the reactor's clock, which goes on while this process is paused, as the timers of the path do.
"""

import socket

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.task import deferLater

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.diagnose.datagramsocket import DatagramSocket
from echoup.client.diagnose.longchecks.bisection import Fate, Trial
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient, Ending
from echoup.upper import upper

PROBE = b"do you still answer\n"

TRIES = 3
"""How many times a datagram is sent until it counts as unanswered."""

WAIT = 1.0
"""Seconds between them, or the timeout of the scope if that is less."""


async def leaveConnection(path: PathUnderTest, seconds: float, keepalive: int = 0) -> Trial:
    """Return what became of a new connection that was idle for `seconds`.

    With `keepalive`, TCP sends a probe of its own after that many idle seconds, and again (tcp(7)). Raise PathError
    where the connection doesn't work at the beginning, or where a new one doesn't work at the end, either.
    """
    client = EchoUpClient(path.reactor, 0, clock=path.clock)
    await path.connect(client=client)
    try:
        if keepalive:
            client.handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            client.handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, keepalive)
            client.handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, keepalive)
        await prove(path, client)
        began = path.reactor.seconds()
        await _leave(path, client, seconds)
        idle = path.reactor.seconds() - began
        if client.ending:
            return Trial(idle, Fate.CLOSED if client.ending is Ending.CLOSED else Fate.RESET)
        fate, evidence = await _probe(path, client)
    finally:
        path.drop(client)
    if fate in (Fate.SILENT, Fate.UNANSWERED):
        async with path.connection() as control:
            await prove(path, control)
    return Trial(idle, fate, evidence)


async def prove(path: PathUnderTest, client: EchoUpClient) -> None:
    """Make an exchange over the connection of `client`; raise PathError if that fails, or isn't over in time."""
    limit = path.scope.timeout
    try:
        reply = await client.exchange(PROBE).addTimeout(limit, path.clock)
    except DeferredTimeout:
        raise client.error(ExitCode.TIMED_OUT, f"timed out: no answer in {limit:g} s") from None
    if reply.wrongAt is not None:
        raise client.error(ExitCode.WRONG, str(reply))


async def _leave(path: PathUnderTest, client: EchoUpClient, seconds: float) -> None:
    """Wait for `seconds`, or until the connection of `client` is gone."""
    over: Deferred[None] = Deferred()

    def end(_: object = None) -> None:
        if not over.called:
            over.callback(None)

    client.closed.addCallback(end)
    call = path.clock.callLater(seconds, end)
    try:
        await over
    finally:
        if call.active():
            call.cancel()


async def _probe(path: PathUnderTest, client: EchoUpClient) -> tuple[Fate, str]:
    """Return what the connection of `client` does with an exchange, and what the kernel saw."""
    before = TCPInfo.of(client.handle)
    try:
        await prove(path, client)
    except PathError as error:
        if error.code is ExitCode.WRONG:
            raise
        if client.ending:
            return (Fate.CLOSED_AT_PROBE if client.ending is Ending.CLOSED else Fate.RESET_AT_PROBE), ""
        info = TCPInfo.of(client.handle)
        if not info or info.unacknowledged:
            again = info.retransmits - before.retransmits if info and before else 0
            return Fate.SILENT, f"in {path.scope.timeout:g} s nothing was acknowledged; retransmissions: {again}"
        return Fate.UNANSWERED, f"the other end of TCP acknowledged the probe; no reply in {path.scope.timeout:g} s"
    return Fate.ALIVE, ""


async def leaveSocket(path: PathUnderTest, address: str, seconds: float) -> Trial:
    """Return what became of a new UDP socket, connected to `address`, that was idle for `seconds`.

    Raise PathError where it isn't answered at the beginning, or where a new one isn't answered at the end, either.
    """
    opened = _open(path, address)
    try:
        await _ask(path, opened)
        began = path.reactor.seconds()
        await deferLater(path.clock, seconds)
        idle = path.reactor.seconds() - began
        try:
            await _ask(path, opened)
        except PathError:
            await proveSocket(path, address)
            return Trial(idle, Fate.SILENT, f"{TRIES} datagrams were not answered, though those of a new socket were")
    finally:
        opened.close()
    return Trial(idle, Fate.ALIVE)


async def proveSocket(path: PathUnderTest, address: str) -> None:
    """Raise PathError unless a new UDP socket, connected to `address`, is answered."""
    opened = _open(path, address)
    try:
        await _ask(path, opened)
    finally:
        opened.close()


def _open(path: PathUnderTest, address: str) -> DatagramSocket:
    source = getattr(path.target, "bindAddress", None)
    try:
        return DatagramSocket(path.reactor, path.clock, address, path.target.port, source=source)
    except OSError as error:
        raise PathError(ExitCode.LOCAL, str(error.strerror)) from None


async def _ask(path: PathUnderTest, opened: DatagramSocket) -> None:
    """Send datagrams until one is answered; raise PathError if none is."""
    before = len(opened.arrivals)

    def isAnswered() -> bool:
        return any(arrival.data == upper(PROBE) for arrival in opened.arrivals[before:])

    for _ in range(TRIES):
        try:
            opened.send(PROBE)
        except OSError:  # of an earlier one, which was refused
            continue
        if await opened.wait(isAnswered, min(WAIT, path.scope.timeout)):
            return
    raise PathError(ExitCode.TIMED_OUT, f"{TRIES} datagrams were not answered", path.target)
