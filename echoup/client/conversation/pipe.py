"""Standard input through the service to standard output."""

import os
import sys
from collections.abc import Callable
from threading import Thread

from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import blockingCallFromThread
from twisted.python.failure import Failure

from echoup.client import standardio
from echoup.client.datagram import DatagramClient
from echoup.client.exchange import Exchange
from echoup.client.protocol import EchoUpClient
from echoup.client.target.parse import Target
from echoup.escaping import LineEscaper

WINDOW = 4 * 2**20
"""Bytes sent and not yet answered at which reading of the input pauses; more would only fill memory."""

UNWRITTEN = 4 * standardio.PIECE
"""Bytes waiting for a slow standard output at which reading from the server pauses."""


async def pipe(reactor: ReactorBase, target: Target, timeout: float) -> None:
    """Send standard input to `target`, and write the reply to standard output.

    The reply is written as it came; on a terminal it is escaped, except for newlines. The end of the input half-closes
    the connection. Return when the server has ended its side too and the whole reply is right and written; raise
    PathError otherwise.
    """
    streams = Pipe(reactor)
    client = streams.client = await target.connect(reactor, timeout, streams.write)
    exchange = streams.exchange = Exchange(client, untilEnd=True)
    try:
        streams.open()
        await exchange.done
        await streams.flush()
    finally:
        streams.close()
    if streams.failure:
        streams.failure.raiseException()
    client.check(exchange.reply)


class Pipe:
    """The standard streams, and the client that they feed and drain.

    One thread reads and another one writes, piece by piece. Each passes or takes its piece in the reactor's thread,
    where everything else happens, and waits there: for room in the window, or for something to write.
    """

    client: EchoUpClient | DatagramClient
    exchange: Exchange
    """The only one: the whole input, and the reply to it."""

    def __init__(self, reactor: ReactorBase) -> None:
        self.failure: Failure | None = None
        """Why the input can't be read or the output can't be written."""
        self._reactor = reactor
        self._room: Deferred[None] | None = None  # the reading thread waits for it
        self._piece: Deferred[bytes] | None = None  # the writing thread waits for it
        self._unwritten: list[bytes] = []
        self._size = 0  # of what is unwritten
        self._isPaused = False
        self._isEnded = False
        self._isClosed = False

    def open(self) -> None:
        """Begin to read and to write; stop as soon as the reader of standard output exits."""
        source, sink = standardio.descriptor(sys.stdin), standardio.descriptor(sys.stdout)
        _inThread(self._reactor, self._read, source).addCallbacks(self._end, self._fail)
        _inThread(self._reactor, standardio.watch, sink).addErrback(self._fail)
        self._written = _inThread(self._reactor, self._write, sink).addErrback(self._fail)

    def write(self, data: bytes) -> None:
        """Write what came; pause the server while the output is slow, and read on once there is room again."""
        self._unwritten.append(data)
        self._size += len(data)
        if self._piece:
            self._pass(self._piece)
        elif self._size >= UNWRITTEN and not self._isPaused:
            self._isPaused = True
            self.client.pauseProducing()
        if self._room and self.exchange.reply.outstanding <= WINDOW // 2:
            room, self._room = self._room, None
            room.callback(None)

    def flush(self) -> "Deferred[None]":
        """Return a Deferred that fires when everything is written, or can't be."""
        self._isEnded = True
        if self._piece:
            self._pass(self._piece)
        return self._written

    def close(self) -> None:
        """End both threads as soon as their system calls return."""
        self._isClosed = True
        for waiting in (self._room, self._piece):
            if waiting:
                waiting.cancel()

    def _read(self, source: int) -> None:
        while data := standardio.read(source):
            blockingCallFromThread(self._reactor, self._send, data)

    def _write(self, sink: int) -> None:
        data: bytes
        escape = _escape() if os.isatty(sink) else bytes
        while data := blockingCallFromThread(self._reactor, self._next):  # type: ignore[arg-type]  # it infers Never
            standardio.write(sink, escape(data))
        standardio.write(sink, escape(b""))

    def _send(self, data: bytes) -> "Deferred[None] | None":
        """Send what was read; return a Deferred that fires when there is room for more, None if there is room now."""
        if self._isClosed:
            raise CancelledError
        self.exchange.send(data)
        if self.exchange.reply.outstanding >= WINDOW:
            self._room = Deferred()
        return self._room

    def _end(self, _: None) -> None:
        """Half-close the connection at the end of the input."""
        if not self._isClosed:
            self.exchange.end()

    def _next(self) -> "Deferred[bytes]":
        """Return a Deferred of the next bytes to write; none at the end."""
        piece: Deferred[bytes] = Deferred()
        if self._isClosed:
            piece.cancel()
        elif self._unwritten or self._isEnded:
            self._pass(piece)
        else:
            self._piece = piece
        return piece

    def _pass(self, piece: "Deferred[bytes]") -> None:
        data, self._unwritten, self._size, self._piece = b"".join(self._unwritten), [], 0, None
        if self._isPaused and not self.client.closed.called:
            self._isPaused = False
            self.client.resumeProducing()
        piece.callback(data)

    def _fail(self, failure: Failure) -> None:
        """Stop at once: the rest of the reply is of no use."""
        if not self._isClosed:
            self.failure = self.failure or failure
            self.client.stopProducing()


def _escape() -> Callable[[bytes], bytes]:
    """Return a function that escapes the next piece of the reply for a terminal; an empty one is the last."""
    escaper = LineEscaper()
    encoding = getattr(sys.stdout, "encoding", "utf-8")
    return lambda data: escaper.escape(data, isLast=not data).encode(encoding, "backslashreplace")


def _inThread(reactor: ReactorBase, function: Callable[[int], None], descriptor: int) -> "Deferred[None]":
    """Call `function` in a thread that doesn't keep the process from exiting; return a Deferred of its end."""
    ended: Deferred[None] = Deferred()

    def call() -> None:
        try:
            function(descriptor)
        except Exception:
            reactor.callFromThread(ended.errback, Failure())
        else:
            reactor.callFromThread(ended.callback, None)

    Thread(target=call, name=function.__name__, daemon=True).start()
    return ended
