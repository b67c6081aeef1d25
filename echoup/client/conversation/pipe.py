"""Standard input through the service to standard output."""

import os
import sys
from collections.abc import Callable
from queue import SimpleQueue
from threading import Semaphore, Thread

from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from echoup.client import standardio
from echoup.client.datagram import DatagramClient
from echoup.client.exchange import Exchange
from echoup.client.protocol import EchoUpClient
from echoup.client.target.parse import Target
from echoup.escaping import LineEscaper

WINDOW = 4 * 2**20
"""Bytes sent and not yet answered at which reading of the input pauses; more would only fill memory."""

AHEAD = 8
"""Pieces of the input read and not yet sent, so that reading and sending overlap."""

UNWRITTEN = 2**20
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

    One thread reads and another one writes, because both may block. The rest happens in the reactor's thread, which
    never waits for them. The reading thread passes each piece and reads on, at most AHEAD pieces ahead of what was sent
    while the window had room. The writing thread takes pieces from a queue. When the queue reaches UNWRITTEN, the
    server is paused.
    """

    client: EchoUpClient | DatagramClient
    exchange: Exchange
    """The only one: the whole input, and the reply to it."""

    def __init__(self, reactor: ReactorBase) -> None:
        self.failure: Failure | None = None
        """Why the input can't be read or the output can't be written."""
        self._reactor = reactor
        self._room = Semaphore(AHEAD)  # pieces that may be read
        self._sent = 0  # pieces, since pieces were last admitted
        self._unwritten: SimpleQueue[bytes] = SimpleQueue()  # empty bytes are the end
        self._came = 0  # bytes
        self._written = 0  # bytes; changed by the writing thread only
        self._isPaused = False
        self._isClosed = False

    def open(self) -> None:
        """Begin to read and to write; stop as soon as the reader of standard output exits."""
        source, sink = standardio.descriptor(sys.stdin), standardio.descriptor(sys.stdout)
        _inThread(self._reactor, self._read, source).addCallbacks(self._end, self._fail)
        _inThread(self._reactor, standardio.watch, sink).addErrback(self._fail)
        self._flushed = _inThread(self._reactor, self._write, sink).addErrback(self._fail)

    def write(self, data: bytes) -> None:
        """Write what came; pause the server while the output is slow, and read on once there is room again."""
        if not data:  # an empty datagram; in the queue it would be the end
            return
        self._came += len(data)
        self._unwritten.put(data)
        if self._came - self._written >= UNWRITTEN and not self._isPaused:
            self._isPaused = True
            self.client.pauseProducing()
            self._resume()  # the thread may have written everything before it could see that it has to call this
        if self._sent and self.exchange.reply.outstanding <= WINDOW // 2:
            self._admit()

    def flush(self) -> "Deferred[None]":
        """Return a Deferred that fires when everything is written, or can't be."""
        self._unwritten.put(b"")
        return self._flushed

    def close(self) -> None:
        """End both threads as soon as their system calls return."""
        self._isClosed = True
        self._room.release()
        self._unwritten.put(b"")

    def _read(self, source: int) -> None:
        while self._room.acquire() and not self._isClosed and (data := standardio.read(source)):
            self._reactor.callFromThread(self._send, data)

    def _write(self, sink: int) -> None:
        escape = _escape() if os.isatty(sink) else bytes
        while (data := self._unwritten.get()) and not self._isClosed:
            standardio.write(sink, escape(data))
            self._written += len(data)
            if self._isPaused:
                self._reactor.callFromThread(self._resume)
        if not self._isClosed:
            standardio.write(sink, escape(b""))

    def _send(self, data: bytes) -> None:
        """Send what was read, and let more be read if the window has room."""
        if self._isClosed:
            return
        self._sent += 1
        self.exchange.send(data)
        if self.exchange.reply.outstanding < WINDOW:
            self._admit()

    def _admit(self) -> None:
        """Let as many pieces be read as were sent."""
        self._room.release(self._sent)
        self._sent = 0

    def _end(self, _: None) -> None:
        """Half-close the connection at the end of the input."""
        if not self._isClosed:
            self.exchange.end()

    def _resume(self) -> None:
        """Resume the server if at least half of what it was paused for is written."""
        if self._isPaused and self._came - self._written <= UNWRITTEN // 2:
            self._isPaused = False
            if not self.client.closed.called:
                self.client.resumeProducing()

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
