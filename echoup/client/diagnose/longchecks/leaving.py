"""Connections and UDP sockets that are left alone for a time, and then asked whether they still work.

The idle time is that of the reactor's clock, which goes on while this process is paused, as the timers of the path do.
"""

import socket
from contextlib import closing, suppress

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.diagnose.datagramsocket import DatagramSocket
from echoup.client.diagnose.longchecks.bisection import IdleFate, Trial
from echoup.client.diagnose.longchecks.proof import PROBE, newClient, prove, works
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient, Ending
from echoup.upper import upper

TRIES = 3
"""How many times a datagram is sent until it counts as unanswered."""

WAIT = 1.0
"""Seconds between them, or the timeout of the scope if that is less."""


async def leaveConnection(path: PathUnderTest, seconds: float, keepalive: int = 0) -> Trial:
    """Return what became of a new connection that was idle for `seconds`.

    With `keepalive`, TCP sends a probe of its own after that many idle seconds, and again (tcp(7)). Raise PathError
    where the connection doesn't work at the beginning, or where a new one doesn't work at the end, either.
    """
    async with path.connection(waits=False, client=newClient(path)) as client:
        if keepalive:
            client.handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            client.handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, keepalive)
            client.handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, keepalive)
        await prove(path, client)
        began = path.reactor.seconds()
        left: Deferred[None] = deferLater(path.clock, seconds)
        client.closed.addCallback(lambda _: left.cancel())
        try:
            await left
        except CancelledError:
            if not client.closed.called:
                raise
        idle = path.reactor.seconds() - began
        if client.ending:
            return Trial(idle, IdleFate.CLOSED if client.ending is Ending.CLOSED else IdleFate.RESET)
        fate, evidence = await _probe(path, client)
    if fate in (IdleFate.SILENT, IdleFate.UNANSWERED):
        async with path.connection(waits=False) as control:
            await prove(path, control)
    return Trial(idle, fate, evidence)


async def _probe(path: PathUnderTest, client: EchoUpClient) -> tuple[IdleFate, str]:
    """Return what the connection of `client` does with an exchange, and what the kernel saw."""
    before = TCPInfo.of(client.handle)
    if await works(path, client):
        return IdleFate.ALIVE, ""
    if client.ending:
        return (IdleFate.CLOSED_AT_PROBE if client.ending is Ending.CLOSED else IdleFate.RESET_AT_PROBE), ""
    info = TCPInfo.of(client.handle)
    if not info or info.unacknowledged:
        again = info.retransmits - before.retransmits if info and before else 0
        return IdleFate.SILENT, f"in {path.scope.timeout:g} s nothing was acknowledged; retransmissions: {again}"
    return IdleFate.UNANSWERED, f"the other end of TCP acknowledged the probe; no reply in {path.scope.timeout:g} s"


async def leaveSocket(path: PathUnderTest, seconds: float) -> Trial:
    """Return what became of a new UDP socket that was idle for `seconds`.

    Raise PathError where it isn't answered at the beginning, or where a new one isn't answered at the end, either.
    """
    with closing(await path.openDatagrams()) as opened:
        await _ask(path, opened)
        began = path.reactor.seconds()
        await deferLater(path.clock, seconds)
        idle = path.reactor.seconds() - began
        try:
            await _ask(path, opened)
        except PathError:
            await proveSocket(path)
            evidence = f"{TRIES} datagrams were not answered, though those of a new socket were"
            return Trial(idle, IdleFate.SILENT, evidence)
    return Trial(idle, IdleFate.ALIVE)


async def proveSocket(path: PathUnderTest) -> None:
    """Raise PathError unless a new UDP socket is answered."""
    with closing(await path.openDatagrams()) as opened:
        await _ask(path, opened)


async def _ask(path: PathUnderTest, opened: DatagramSocket) -> None:
    """Send datagrams until one is answered; raise PathError if none is."""
    opened.arrivals.clear()
    for _ in range(TRIES):
        with suppress(OSError):  # of an earlier one, which was refused
            opened.send(PROBE)
        isAnswered = await opened.wait(
            lambda: any(arrival.data == upper(PROBE) for arrival in opened.arrivals), min(WAIT, path.scope.timeout)
        )
        if isAnswered:
            return
    raise PathError(ExitCode.TIMED_OUT, f"{TRIES} datagrams were not answered", path.target)
