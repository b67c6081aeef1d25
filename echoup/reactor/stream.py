"""A stream: the Twisted transport of a TCP or Unix connection whose bytes uvloop's own transport moves.

Theory of operation. uvloop treats a stream as an asyncio protocol, and calls the methods with underscores between their
words. Twisted and the stream's Twisted protocol call the others. All run in the reactor's thread. They move the four
enums that are the state of a stream:

    StreamState     OPEN -> CLOSING        loseConnection
                    -> ABORTING            abortConnection
                    -> LOST                connectionLost, by uvloop's connection_lost, by Twisted, or for an error
    ReadingState    FLOWING -> PAUSED      pauseProducing
                    PAUSED -> RESUMING     resumeProducing; a client's stream starts so
                    RESUMING -> FLOWING    _deliver, at once if nothing is held back, otherwise in the next turn
                    -> SHUT                eof_received, loseConnection, abortConnection, connectionLost; for good
    WritingState    SHUT -> OPEN           connection_made
                    OPEN -> ENDING         loseWriteConnection
                    -> SHUT                _endWriting, when uvloop's buffer is empty, or connectionLost; for good
    BufferState     -> FULL                pause_writing
                    LOW -> DUE             _awaitDrained, if nothing waits
                    -> LOW                 _drained, by resume_writing, or when it is due

An adopted stream, which its owner gets at once, and a client's stream exist before uvloop's transport does. Until
connection_made, a call only moves StreamState and ReadingState; connection_made then acts on them.

Why the protocol gets each byte once, in order: data_received passes bytes on only while FLOWING. uvloop starts to read
after connection_made, even if that paused the reading, so one read can arrive in any other state. It is held back, and
uvloop stops reading, so no second one follows. Only _deliver moves RESUMING to FLOWING, and it delivers what was held
back before it lets uvloop read again. The peer's end is held back in the same way, as b"".

Why each byte that is written is sent: `write` takes it while OPEN or ENDING, and joins the small writes of one turn, so
that they become one segment. flush passes them to uvloop. It is called when the protocol's dataReceived returns, so an
echo needs no further turn, and at the end of the turn for what is written elsewhere. It is also called before each step
that depends on what was written: before uvloop closes, aborts or resets, before the end is sent, and before the bytes
that wait are counted. A call that comes early does no harm.

CLOSING calls uvloop's close(), which sends its buffer first. The end is sent only when that buffer is empty. Both wait
for a producer that is paused or is a pull producer, and _drained asks that producer for more before it checks again.

Why the protocol's connectionLost is called once: only the stream's connectionLost calls it, and only when it moves
StreamState to LOST.
"""

from enum import Enum, auto
from typing import Any

from twisted.internet import interfaces
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.declarations import Provides

from echoup.reactor.interfaces import IStreamReactor
from echoup.reactor.sockets import ABORTING, CLOSING, LOST, OPEN
from echoup.reactor.writing import WritableStream, WritingState

_THROUGH_TLS = ("write", "writeSequence", "loseConnection", "registerProducer", "unregisterProducer")


class ReadingState(Enum):
    """What happens to the bytes that come in."""

    FLOWING = auto()  # the protocol gets them
    PAUSED = auto()  # they are held back
    RESUMING = auto()  # they are held back until the next turn
    SHUT = auto()  # they are dropped: the end was received or asked for


FLOWING, PAUSED, RESUMING, SHUT = ReadingState

_UNWRITABLE, _WRITABLE, _ = WritingState  # in Python 3.11 a look-up in the class costs 0.1 us

_DONE = Failure(ConnectionDone())  # one for all connections, as in `PosixReactorBase._disconnectSelectable`


@implementer(
    interfaces.ITLSTransport,
    interfaces.IConsumer,
    interfaces.IPushProducer,
    interfaces.ISystemHandle,
    interfaces.ILoggingContext,
)
class Stream(WritableStream):
    """A TCP or Unix connection."""

    protocol: interfaces.IProtocol = None  # type: ignore[assignment]  # before the beginning and after the loss
    """The protocol that gets the data; another may replace it at any time."""

    disconnecting = False
    """Whether loseConnection was called, even after the connection is lost; protocols read it, the stream doesn't."""

    TLS = False
    _tlsClientDefault = False  # private, for Twisted's startTLS; fails first: test_startTLSAtAnyTime

    sessionno = 0
    _place: Any  # this end's port or path
    _heldBack: tuple[bytes, ...] | None = None
    """What waits for `_deliver`, b"" for the end; unless it is None, resumeProducing calls that in the next turn."""

    _log = Logger()

    def __init__(self, reactor: IStreamReactor, family: int) -> None:
        self._family = family
        self._reading = FLOWING
        self.producer = None  # on the instance, where `write` finds it 9 ns sooner
        self._unsent = None
        self.reactor = reactor
        reactor.opened(self)

    def begin(self) -> None:
        """Connect the protocol, now that uvloop's transport exists."""
        self.protocol.makeConnection(self)

    def ended(self, reason: Failure) -> None:
        """Called when the connection is lost, after the protocol's connectionLost; a client tells its connector."""

    # uvloop calls these

    def connection_made(self, transport: Any) -> None:
        """Begin, then close if that was requested before."""
        self._uv = transport
        if self._state is LOST:
            transport.abort()
            return
        self._writing = _WRITABLE
        self._callOrLose(self.begin)
        if self._state is ABORTING:
            self._reset()
        elif self._state is CLOSING:
            self._closeUnlessProducing()

    def data_received(self, data: bytes) -> None:
        """Give `data` to the protocol."""
        if self._reading is not FLOWING:
            self._heldBack = (data,)
            self._uv.pause_reading()
            return
        if self._unsent is None:
            self._unsent = b""
        try:
            self.protocol.dataReceived(data)
        except BaseException:
            self._fail(Failure())
        unsent, self._unsent = self._unsent, None  # as flush does, without the cost of a call
        if unsent:
            self._uv.write(unsent)

    def eof_received(self) -> bool:
        """Tell the protocol that the peer has sent its end; return True to keep uvloop from closing."""
        if self._reading is not FLOWING:
            self.data_received(b"")  # holds it back
            return True
        self._reading = SHUT
        if interfaces.IHalfCloseableProtocol.providedBy(self.protocol):
            self._callOrLose(self.protocol.readConnectionLost)
        else:
            self.flush()
            self._uv.abort()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Lose the connection; `error` is the reason, if there was one."""
        if self._state is ABORTING:
            reason = Failure(ConnectionAborted())
        elif error is None:
            reason = _DONE
        elif isinstance(error, OSError):
            reason = Failure(ConnectionLost(str(error)))
        else:
            reason = Failure(error)
        self.connectionLost(reason)

    # The protocol and the reactor call these

    def loseConnection(self) -> None:
        """Close when everything written is sent, including what a paused producer or a pull producer still writes."""
        self.disconnecting = True
        if self._state is OPEN:
            self._state = CLOSING
            self._reading = SHUT
            if self._uv is not None:
                self._uv.pause_reading()
                self._closeUnlessProducing()

    def abortConnection(self) -> None:
        """Close at once, with a reset."""
        if self._state in (OPEN, CLOSING):
            self._state = ABORTING
            self._reading = SHUT
            if self._uv is not None:
                self._reset()

    @property
    def isReading(self) -> bool:
        """Whether the protocol gets the bytes that come in."""
        return self._uv is not None and self._reading in (FLOWING, RESUMING)

    def pauseProducing(self) -> None:
        """Stop reading."""
        if self._reading is not SHUT:
            self._reading = PAUSED
            if self._uv is not None:
                self._uv.pause_reading()

    def resumeProducing(self) -> None:
        """Read again; deliver what was held back in the next turn, because the caller may not be ready for it now."""
        if self._reading is PAUSED:
            self._reading = RESUMING
            if self._heldBack is None:
                self._deliver()
            else:
                self.reactor.callLater(0, self._deliver)

    def _deliver(self) -> None:
        """Give the protocol what was held back, unless it has paused again."""
        if self._reading is not RESUMING:
            return
        self._reading = FLOWING
        heldBack, self._heldBack = self._heldBack, None
        for data in heldBack or ():
            if data:
                self.data_received(data)
            else:
                self.eof_received()
        if self.isReading:
            self._uv.resume_reading()

    def stopConsuming(self) -> None:
        """Close, because the producer has lost its source; Twisted's producers call this, but no interface has it."""
        self.unregisterProducer()
        self.loseConnection()

    def stopProducing(self) -> None:
        """Close, because the consumer of this stream has stopped."""
        self.loseConnection()

    stopReading = pauseProducing
    startReading = resumeProducing

    def startTLS(self, contextFactory: object, normal: bool = True) -> None:
        """Speak Twisted's TLS from now on, which needs pyOpenSSL; if `normal`, a client's stream is the TLS client."""
        from twisted.internet._newtls import startTLS  # private; fails first: test_startTLSAtAnyTime

        producer = self.producer
        self.unregisterProducer()
        # The TLS layer calls the methods of the class, the protocol those of the instance.
        startTLS(self, contextFactory, normal, Stream)
        # startTLS has declared the interfaces of `__class__`, including those of a descriptor that the reactor polls.
        vars(self)["__provides__"] = Provides(type(self), interfaces.ISSLTransport)
        for name in _THROUGH_TLS:
            setattr(self, name, getattr(self.protocol, name))
        if producer is not None:
            self.registerProducer(producer, self.streamingProducer)

    def connectionLost(self, reason: Failure) -> None:
        """Lose the connection at once."""
        if self._state is LOST:
            return
        self._state = LOST
        self._reading = SHUT
        self._writing = _UNWRITABLE
        if self._uv is not None:
            self.flush()
            self._uv.abort()
        if self.TLS:
            for name in _THROUGH_TLS:
                delattr(self, name)
        self.reactor.closed(self)
        if self._handle is not None:
            self._handle.detach()
        producer, self.producer = self.producer, None
        if producer is not None:
            self._callOrLose(producer.stopProducing)
        if self.protocol is not None and self._uv is not None:
            self._callOrLose(self.protocol.connectionLost, reason)
        self.protocol = None  # type: ignore[assignment]  # breaks a reference cycle: the protocol is freed at once
        self._callOrLose(self.ended, reason)

    def logPrefix(self) -> str:
        """Return the prefix of the protocol's log lines."""
        origin = getattr(self._peer, "host", self._place)  # the path, if the peer is a Unix socket
        return f"{logPrefixOf(self.protocol)},{self.sessionno},{origin}"

    logstr = property(lambda self: self.logPrefix())  # twisted.test.test_tcp reads it

    def __repr__(self) -> str:
        return f"<{logPrefixOf(self.protocol)} #{self.sessionno} on {self._place}>"

    def _fail(self, failure: Failure) -> None:
        """Log what the protocol or the producer raised, and lose the connection for that reason, unless it is lost."""
        self._log.failure("{log_source!r} failed", failure)
        self.connectionLost(failure)


def logPrefixOf(thing: object) -> str:
    """Return the prefix of the log lines of `thing`."""
    if thing is None:
        return "-"
    return thing.logPrefix() if interfaces.ILoggingContext.providedBy(thing) else type(thing).__name__
