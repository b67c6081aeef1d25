"""The writing half of a stream: what is sent, what produces it, and what follows when all of it is sent."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum, auto
from socket import SHUT_WR
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IProducer, IProtocol
from twisted.python.failure import Failure

from echoup.reactor.interfaces import IStreamReactor
from echoup.reactor.likeness import TwistedLike
from echoup.reactor.sockets import CLOSING, LOST, OPEN


class WritingState(Enum):
    """Whether bytes are sent."""

    SHUT = auto()  # no: before connection_made, after the end was sent, after the loss
    OPEN = auto()
    ENDING = auto()  # loseWriteConnection was called: the end is sent after what was written


class BufferState(Enum):
    """How much of uvloop's buffer waits for the kernel, and when `_drained` is called."""

    LOW = auto()  # less than the limit: not called
    DUE = auto()  # nothing when `_awaitDrained` looked: called in the next turn
    FULL = auto()  # more than the limit, and a streaming producer is paused: called by resume_writing


_JOINED = 2**14  # the bytes that are joined at most: copying as many costs less than sending twice
_SHUT, _OPEN, _ENDING = WritingState  # in Python 3.11 a look-up in the class costs 0.1 us
_LOW, _DUE, _FULL = BufferState


class WritableStream(TwistedLike):
    """A stream that can be written to."""

    reactor: IStreamReactor
    protocol: IProtocol
    producer: Any  # an IPushProducer if it is streaming, else an IPullProducer; Twisted's startTLS reads both
    streamingProducer = False

    _writing = _SHUT
    _buffer = _LOW
    _unsent: bytes | None
    """What was written in this turn, for `flush`; None if no call of `flush` is due, so that `write` asks for one."""

    @property
    def isWriting(self) -> bool:
        """Whether the connection is not made yet, bytes wait for the kernel, or the connection is closing."""
        return self._uv is None or self._state is not OPEN or bool(self._unsent) or self._uv.get_write_buffer_size() > 0

    @property
    def unsent(self) -> int:
        """The number of bytes that were written and that the kernel hasn't taken.

        It stays known while the protocol is told of the loss. uvloop has dropped a write that failed by then, so after
        a reset the number is too low.
        """
        waiting = 0 if self._uv is None else self._uv.get_write_buffer_size()
        return waiting + len(self._unsent) if self._unsent else waiting

    @property
    def producerPaused(self) -> bool:
        """Whether the producer is paused because too much waits; Twisted's transports have it under this name."""
        return self.producer is not None and self._buffer is _FULL

    # uvloop calls these

    def pause_writing(self) -> None:
        """Pause a streaming producer, because more bytes wait than uvloop's limit allows."""
        self._buffer = _FULL
        if self.producer is not None and self.streamingProducer:
            try:
                self.producer.pauseProducing()
            except BaseException:
                # In the next turn: the protocol may be in the middle of `write`, and still needs its transport.
                self.reactor.callLater(0, self._fail, Failure())

    def resume_writing(self) -> None:
        """Go on, because the kernel has taken enough."""
        self._callOrLose(self._drained)

    # The protocol calls these

    def write(self, data: bytes) -> None:
        """Send the present content of `data` as soon as the caller returns to the reactor, with what else it writes.

        The kernel gets it at the end of `dataReceived`, or of the turn, and before that if it is too much to join.
        Raises TypeError if it isn't bytes-like.
        """
        if type(data) is not bytes:
            data = _copied(data)
        if self._writing is not _SHUT:
            unsent = self._unsent
            if not unsent:
                self._unsent = data
                if unsent is None:
                    self.reactor.flushLater(self)
            elif len(unsent) + len(data) <= _JOINED:
                self._unsent = unsent + data
            else:
                self._unsent = b""
                self._uv.writelines((unsent, data))
            if self.producer is not None and not self.streamingProducer:
                self._awaitDrained()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send all of `data` as one; raise TypeError if a part isn't bytes-like."""
        parts = [part if type(part) is bytes else _copied(part) for part in data]
        WritableStream.write(self, b"".join(parts))

    def loseWriteConnection(self) -> None:
        """Send the end after what was written."""
        if self._writing is _OPEN:
            self._writing = _ENDING
            self._awaitDrained()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Pause `producer` while more than 64 KiB wait; if it isn't streaming, ask it for more when nothing waits."""
        if self.producer is not None:
            raise RuntimeError(f"Cannot register producer {producer}: producer {self.producer} was never unregistered.")
        if self._state is LOST:
            producer.stopProducing()
            return
        self.flush()
        self.producer = producer
        self.streamingProducer = streaming
        if not streaming:
            self.producer.resumeProducing()
            self._awaitDrained()
            return
        if self._uv is not None:
            self._uv.set_write_buffer_limits()  # uvloop's own, which a pull producer has lowered
        if self._buffer is _FULL:
            self.producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """Remove the producer; close, or send the end, if only the producer delayed that."""
        self.producer = None
        if self._state is CLOSING and self.connected:
            self._closeUnlessProducing()
        elif self._writing is _ENDING:
            self._awaitDrained()

    def _awaitsProducer(self) -> bool:
        """Return whether the producer must still be asked for more."""
        return self.producer is not None and (self._buffer is _FULL or not self.streamingProducer)

    def _closeUnlessProducing(self) -> None:
        self.flush()
        if not self._awaitsProducer():
            self._uv.close()

    def flush(self) -> None:
        """Pass what was written in this turn to uvloop: the kernel gets what it takes now, and later the rest."""
        unsent, self._unsent = self._unsent, None
        if unsent:
            self._uv.write(unsent)

    def _reset(self) -> None:
        self.flush()
        super()._reset()

    def _awaitDrained(self) -> None:
        """Arrange a call of `_drained` when the kernel has all that was written, in the next turn at the earliest."""
        self.flush()
        if self._uv.get_write_buffer_size():
            self._uv.set_write_buffer_limits(0)  # FULL, until nothing waits
        elif self._buffer is not _DUE:
            self._buffer = _DUE
            self.reactor.callLater(0, self._drainIfDue)

    def _drainIfDue(self) -> None:
        if self._buffer is _DUE:
            self._callOrLose(self._drained)

    def _drained(self) -> None:
        asks = self._awaitsProducer()
        self._buffer = _LOW
        if asks:
            self.producer.resumeProducing()
        if self._state is CLOSING:
            self._closeUnlessProducing()
        elif self._writing is _ENDING and not self._awaitsProducer():
            self.flush()
            if self._uv.get_write_buffer_size():
                self._awaitDrained()
            else:
                self._endWriting()

    def _endWriting(self) -> None:
        self._writing = _SHUT
        with suppress(OSError):
            self._socket().shutdown(SHUT_WR)
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self._callOrLose(self.protocol.writeConnectionLost)

    def _callOrLose(self, call: Callable[..., object], *arguments: object) -> None:
        """Call `call`, and lose the connection if it raises anything; SystemExit would end uvloop's loop."""
        try:
            call(*arguments)
        except BaseException:
            self._fail(Failure())

    def _fail(self, failure: Failure) -> None:
        raise NotImplementedError


def _copied(data: object) -> bytes:
    """Return a copy of the present content of `data`; uvloop would keep a reference and send later content."""
    try:
        return memoryview(data).tobytes()  # type: ignore[arg-type]
    except TypeError:
        raise TypeError("Data must be bytes") from None  # Twisted's words
