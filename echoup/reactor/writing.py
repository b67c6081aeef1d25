"""The writing half of a connection: what is sent, who produces it, and when all of it is gone."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from socket import SHUT_WR
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IProducer, IProtocol

from echoup.reactor.sockets import Connection

if TYPE_CHECKING:
    from echoup.reactor.uvloopreactor import UvloopReactor


class Writing(Connection):
    """A connection that can be written to."""

    reactor: "UvloopReactor"
    protocol: IProtocol
    disconnecting = False
    disconnected = False
    producer: Any = None  # an IPushProducer if it is streaming, else an IPullProducer
    streamingProducer = False

    _isFull = False  # has uvloop asked for a pause in writing?
    _producerPaused = False
    _awaitsDrained = False
    _writeDisconnecting = False
    _writeDisconnected = False

    # What uvloop calls

    def pause_writing(self) -> None:
        """More waits than should: pause the producer."""
        self._isFull = True
        self._pauseProducer()

    def resume_writing(self) -> None:
        """The kernel has taken all."""
        self._isFull = False
        self._callOrLose(self._drained)

    # What the protocol calls

    def write(self, data: bytes) -> None:
        """Send `data`: at once, as far as the kernel takes it, and the rest later."""
        if self.connected and not self._writeDisconnected:
            self._uv.write(data)
            if self.producer is not None and not self.streamingProducer:
                self._awaitDrained()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send all of `data`."""
        parts = list(data)
        if not all(isinstance(part, bytes) for part in parts):
            raise TypeError("Data must be bytes")
        Writing.write(self, b"".join(parts))

    def loseWriteConnection(self) -> None:
        """Send the end when all that was written is sent."""
        if self.connected and not self._writeDisconnecting:
            self._writeDisconnecting = True
            self._awaitDrained()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Have `producer` pause when more than 64 KiB wait, or, if it isn't streaming, pull when nothing waits."""
        if self.producer is not None:
            raise RuntimeError(f"Cannot register producer {producer}: producer {self.producer} was never unregistered.")
        if self.disconnected:
            producer.stopProducing()
            return
        self.producer = producer
        self.streamingProducer = streaming
        if not streaming:
            self.producer.resumeProducing()
            self._awaitDrained()
        elif self._isFull:
            self._pauseProducer()

    def unregisterProducer(self) -> None:
        """Forget the producer, and close if only that was missing."""
        self.producer = None
        self._producerPaused = False
        if self.connected and self.disconnecting:
            self._uv.close()
        elif self.connected and self._writeDisconnecting:
            self._awaitDrained()

    def _callOrLose(self, call: Callable[..., object], *arguments: object) -> None:
        """Call, and lose the connection if that fails."""
        raise NotImplementedError

    def _pauseProducer(self) -> None:
        if self.producer is not None and self.streamingProducer and not self._producerPaused:
            self._producerPaused = True
            self.producer.pauseProducing()

    def _awaitsProducer(self) -> bool:
        return self.producer is not None and (self._producerPaused or not self.streamingProducer)

    def _closeUnlessProducing(self) -> None:
        if not self._awaitsProducer():
            self._uv.close()

    def _awaitDrained(self) -> None:
        """Have `_drained` called when the kernel has all that was written, but not before the next turn."""
        if not self._awaitsDrained:
            self._awaitsDrained = True
            if self._uv.get_write_buffer_size():
                self._uv.set_write_buffer_limits(0)  # from now on `resume_writing` comes when nothing is left
            else:
                self.reactor.callLater(0, self._callOrLose, self._drained)

    def _drained(self) -> None:
        self._awaitsDrained = False
        if self.producer is not None and self._awaitsProducer():
            self._producerPaused = False
            self.producer.resumeProducing()
        if self.disconnected:
            return
        if self.disconnecting:
            self._closeUnlessProducing()
        elif self._writeDisconnecting and not self._writeDisconnected and not self._awaitsProducer():
            if self._uv.get_write_buffer_size():
                self._awaitDrained()
            else:
                self._endWriting()

    def _endWriting(self) -> None:
        self._writeDisconnected = True
        with suppress(OSError):
            self._socket().shutdown(SHUT_WR)
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self._callOrLose(self.protocol.writeConnectionLost)
