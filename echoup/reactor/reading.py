"""The reading half of a stream: what comes in, and whether the protocol wants it."""

from enum import Enum, auto

from twisted.internet.interfaces import IHalfCloseableProtocol

from echoup.reactor.sockets import StreamSocket


class ReadingState(Enum):
    """What becomes of the bytes that come in."""

    FLOWING = auto()  # the protocol gets them
    PAUSED = auto()  # they are held back
    RESUMING = auto()  # they are held back until the next turn
    SHUT = auto()  # they are dropped: the end was received or asked for


_FLOWING = ReadingState.FLOWING  # saves `data_received`, which runs for each message, the look-up of the member


class ReadableStream(StreamSocket):
    """A stream that can be read from."""

    _heldBack: tuple[bytes, ...] | None = None
    """What waits for `_deliver`, b"" for the end; None where resumeProducing can do without it."""

    def __init__(self, family: int) -> None:
        super().__init__(family)
        self._reading = ReadingState.FLOWING

    # uvloop calls these

    def data_received(self, data: bytes) -> None:
        """Give `data` to the protocol."""
        if self._reading is not _FLOWING:
            self._holdBack(data)
            return
        try:
            self.protocol.dataReceived(data)
        except Exception:
            self._fail()

    def eof_received(self) -> bool:
        """Tell the protocol that the peer has sent its end; return True, so that uvloop doesn't close by itself."""
        if self._reading is not _FLOWING:
            self._holdBack(b"")
            return True
        self._reading = ReadingState.SHUT
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self._callOrLose(self.protocol.readConnectionLost)
        else:
            self._uv.abort()
        return True

    # The protocol and the reactor call these

    @property
    def isReading(self) -> bool:
        """Whether the protocol gets what comes in."""
        return self._uv is not None and self._reading in (ReadingState.FLOWING, ReadingState.RESUMING)

    def pauseProducing(self) -> None:
        """Stop reading."""
        if self._reading is not ReadingState.SHUT:
            self._reading = ReadingState.PAUSED
            if self._uv is not None:
                self._uv.pause_reading()

    def resumeProducing(self) -> None:
        """Read again; what was held back comes in the next turn, because the caller may not be ready for it before."""
        if self._reading is ReadingState.PAUSED:
            if self._heldBack is not None:
                self._reading = ReadingState.RESUMING
                self.reactor.callLater(0, self._deliver)
            else:
                self._reading = ReadingState.FLOWING
                if self._uv is not None:
                    self._uv.resume_reading()

    def _holdBack(self, data: bytes) -> None:
        self._heldBack = (data,)
        self._uv.pause_reading()

    def _deliver(self) -> None:
        """Give the protocol what was held back, unless it has paused again."""
        if self._reading is not ReadingState.RESUMING:
            return
        self._reading = ReadingState.FLOWING
        heldBack, self._heldBack = self._heldBack, None
        for data in heldBack or ():
            if data:
                self.data_received(data)
            else:
                self.eof_received()
        if self.isReading:
            self._uv.resume_reading()
