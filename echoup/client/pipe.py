"""Standard input through the service to standard output."""

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

WINDOW = 4 * 2**20
"""Bytes that may be on their way before no more of the input is read; more would only fill memory."""

UNWRITTEN = 4 * standardio.PIECE
"""Bytes that may wait for a slow standard output before no more is taken from the server."""


async def pipe(reactor: ReactorBase, target: Target, timeout: float) -> None:
    """Send standard input to `target`, and write all that comes back to standard output.

    The end of the input becomes our end of the connection. Return when the server has ended its side too and
    everything is written and was right; raise PathError otherwise.
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
    """The standard streams, beside the client that they feed and drain.

    A thread reads and another one writes, piece by piece. Each gives or gets its piece in the reactor's thread, where
    everything else happens, and waits there: for room in the window, or for something to write.
    """

    client: EchoUpClient | DatagramClient
    exchange: Exchange
    """The only one: all of the input, and the reply to it."""

    def __init__(self, reactor: ReactorBase) -> None:
        self.failure: Failure | None = None
        """Why the input can't be read, or the output can't be written."""
        self._reactor = reactor
        self._room: Deferred[None] | None = None  # for which the thread waits that reads
        self._piece: Deferred[bytes] | None = None  # for which the thread waits that writes
        self._unwritten: list[bytes] = []
        self._size = 0  # of what is unwritten
        self._isPaused = False
        self._isEnded = False
        self._isClosed = False

    def open(self) -> None:
        """Begin to read and to write; learn at once when standard output's reader exits."""
        source, sink = standardio.descriptor(sys.stdin), standardio.descriptor(sys.stdout)
        _inThread(self._reactor, self._read, source).addCallbacks(self._end, self._fail)
        _inThread(self._reactor, standardio.watch, sink).addErrback(self._fail)
        self._written = _inThread(self._reactor, self._write, sink).addErrback(self._fail)

    def write(self, data: bytes) -> None:
        """Write what comes back; let a slow output slow the server down, and read on if there is room again."""
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
        """Let both threads end, as soon as the system lets them."""
        self._isClosed = True
        for waiting in (self._room, self._piece):
            if waiting:
                waiting.cancel()

    def _read(self, source: int) -> None:
        while data := standardio.read(source):
            blockingCallFromThread(self._reactor, self._send, data)

    def _write(self, sink: int) -> None:
        data: bytes
        while data := blockingCallFromThread(self._reactor, self._next):  # type: ignore[arg-type]  # it infers Never
            standardio.write(sink, data)

    def _send(self, data: bytes) -> "Deferred[None] | None":
        """Send what was read; return what fires when there is room for more, if that isn't now."""
        if self._isClosed:
            raise CancelledError
        self.exchange.send(data)
        if self.exchange.reply.outstanding >= WINDOW:
            self._room = Deferred()
        return self._room

    def _end(self, _: None) -> None:
        """Let the end of the input be our end of the connection."""
        if not self._isClosed:
            self.exchange.end()

    def _next(self) -> "Deferred[bytes]":
        """Return a Deferred of what is to be written next; it is empty at the end."""
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
        """Stop at once: what still comes is of no use."""
        if not self._isClosed:
            self.failure = self.failure or failure
            self.client.stopProducing()


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
