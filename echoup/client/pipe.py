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

from echoup.client.connect.trace import Trace, describeServer
from echoup.client.datagram import DatagramClient
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
    stdio, trace = Pipe(), Trace(reactor.seconds)
    stdio.client = await target.connect(reactor, timeout, stdio.write, trace)
    with _standardStreams() as (source, sink):
        StandardIO(stdio, source, sink, reactor)  # type: ignore[call-arg]  # mypy takes it for the Windows one
        try:
            await stdio.client.closed
            stdio.flush()
            await stdio.closed
        finally:
            stdio.close()
    if stdio.broken:
        raise PathError(ExitCode.BROKEN_PIPE, "the output can't be written")
    stdio.client.check(describeServer(target, trace.remote))


@implementer(IHalfCloseableProtocol)
class Pipe(Protocol):
    """The protocol of standard input and output, beside the client that it feeds and drains."""

    transport: StandardIO
    client: EchoUpClient | DatagramClient

    broken = False
    """Can standard output not be written: has its reader gone, or is its disk full?"""

    _windowFull = False

    def __init__(self) -> None:
        self.closed: Deferred[None] = Deferred()
        """Fires when everything is written."""

    def connectionMade(self) -> None:
        """Let standard output, where it is slow, slow the server down."""
        self.transport.registerProducer(self.client, True)

    def dataReceived(self, data: bytes) -> None:
        """Send what was read, and read no more while too much is on its way."""
        self.client.send(data)
        if self.client.reply.outstanding >= WINDOW:
            self._windowFull = True
            self.transport.pauseProducing()

    def readConnectionLost(self) -> None:
        """Let the end of the input be our end of the connection."""
        if not self.client.closed.called:
            self.client.end()

    def writeConnectionLost(self) -> None:
        """Stop at once: nobody would see the rest."""
        self.broken = True
        self.client.stopProducing()

    def flush(self) -> None:
        """Read nothing more, write what is left, then close."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        if self.broken:
            self.close()

    def close(self) -> None:
        """Let go of standard input and output at once, if they are still ours."""
        if not self.transport.disconnected:
            self.transport.connectionLost(Failure(CONNECTION_DONE))  # type: ignore[attr-defined]  # as above

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell that everything is written, if it is."""
        self.broken = self.broken or not reason.check(ConnectionDone)
        self.closed.callback(None)

    def write(self, data: bytes) -> None:
        """Write what comes back, and read on if there is room again for what that brings."""
        self.transport.write(data)
        if self._windowFull and self.client.reply.outstanding <= WINDOW // 2:
            self._windowFull = False
            self.transport.resumeProducing()


@contextmanager
def _standardStreams() -> Iterator[tuple[int, int]]:
    """Yield descriptors of standard input and output, for StandardIO to use.

    StandardIO makes them non-blocking, and so for every process that shares them, as the commands of a shell do: that
    is undone afterwards. A stream that was closed before we started is /dev/null.
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
