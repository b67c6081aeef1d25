"""Standard input through the service to standard output."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure
from zope.interface import implementer

from echoup.client.datagram import DatagramClient
from echoup.client.exchange import Exchange
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient
from echoup.client.target.parse import Target

WINDOW = 4 * 2**20
"""Bytes that may be on their way before no more of the input is read; more would only fill memory."""


async def pipe(reactor: ReactorBase, target: Target, timeout: float) -> None:
    """Send standard input to `target`, and write all that comes back to standard output.

    The end of the input becomes our end of the connection. Return when the server has ended its side too and
    everything is written and was right; raise PathError otherwise.
    """
    stdio = Pipe()
    client = stdio.client = await target.connect(reactor, timeout, stdio.write)
    exchange = stdio.exchange = Exchange(client, untilEnd=True)
    with _standardStreams() as (source, sink):
        StandardIO(stdio, source, sink, reactor)  # type: ignore[call-arg]  # mypy takes it for the Windows one
        try:
            await exchange.done
            stdio.flush()
            await stdio.closed
        finally:
            stdio.close()
    if stdio.isBroken:
        raise PathError(ExitCode.BROKEN_PIPE, "the output can't be written")
    client.check(exchange.reply)


@implementer(IHalfCloseableProtocol)
class Pipe(Protocol):
    """The protocol of standard input and output, beside the client that it feeds and drains."""

    transport: StandardIO
    client: EchoUpClient | DatagramClient
    exchange: Exchange
    """The only one: all of the input, and the reply to it."""

    isBroken = False
    """Whether standard output can't be written: its reader has exited, or its disk is full."""

    _isWindowFull = False

    def __init__(self) -> None:
        self.closed: Deferred[None] = Deferred()
        """Fires when everything is written, or can't be."""

    def connectionMade(self) -> None:
        """Let standard output, where it is slow, slow the server down."""
        self.transport.registerProducer(self.client, True)

    def dataReceived(self, data: bytes) -> None:
        """Send what was read, and read no more while too much is on its way."""
        self.exchange.send(data)
        if self.exchange.reply.outstanding >= WINDOW:
            self._isWindowFull = True
            self.transport.pauseProducing()

    def readConnectionLost(self) -> None:
        """Let the end of the input be our end of the connection."""
        self.exchange.end()

    def writeConnectionLost(self) -> None:
        """Stop at once: the rest can't be written."""
        self.isBroken = True
        self.client.stopProducing()

    def flush(self) -> None:
        """Read nothing more, write what is left, then close."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        if self.isBroken:
            self.close()

    def close(self) -> None:
        """Stop using standard input and output at once, unless that has happened already."""
        if not self.transport.disconnected:
            self.transport.connectionLost(Failure(CONNECTION_DONE))  # type: ignore[attr-defined]  # as above

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fire `closed`; note whether standard output can't be written."""
        self.isBroken = self.isBroken or not reason.check(ConnectionDone)
        self.closed.callback(None)

    def write(self, data: bytes) -> None:
        """Write what comes back, and read on if there is room again for what that brings."""
        self.transport.write(data)
        if self._isWindowFull and self.exchange.reply.outstanding <= WINDOW // 2:
            self._isWindowFull = False
            self.transport.resumeProducing()


@contextmanager
def _standardStreams() -> Iterator[tuple[int, int]]:
    """Yield descriptors of standard input and output, for StandardIO to use.

    StandardIO makes them non-blocking, which holds for every process that shares them, as the commands of a shell do:
    that is undone afterwards. A stream that was closed before we started is /dev/null.
    """
    streams = [stream.fileno() if stream else None for stream in (sys.stdin, sys.stdout)]
    blocking = [fd is not None and os.get_blocking(fd) for fd in streams]
    source, sink = (os.open(os.devnull, os.O_RDWR) if fd is None else os.dup(fd) for fd in streams)
    try:
        yield source, sink
    finally:
        for fd, wasBlocking in zip(streams, blocking, strict=True):
            if fd is not None:
                os.set_blocking(fd, wasBlocking)
        os.close(source)
        os.close(sink)
