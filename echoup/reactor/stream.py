"""A Twisted transport that has a uvloop transport do its work."""

from collections.abc import Callable
from socket import AF_UNIX, socket
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IFileDescriptorReceiver,
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    ILoggingContext,
    IProtocol,
    IPushProducer,
    ISystemHandle,
    ITLSTransport,
)
from twisted.internet.unix import Server as UNIXServer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from echoup.reactor.writing import Writing

if TYPE_CHECKING:
    from echoup.reactor.uvloopreactor import UvloopReactor

_THROUGH_TLS = ("write", "writeSequence", "loseConnection", "registerProducer", "unregisterProducer")


@implementer(ITLSTransport, IConsumer, IPushProducer, ISystemHandle, IHalfCloseableDescriptor, ILoggingContext)
class Stream(Writing):
    """A TCP or Unix connection.

    uvloop sees in it an asyncio protocol (the methods with underscores between their words), and a Twisted protocol its
    transport.
    """

    protocol: IProtocol = None  # type: ignore[assignment]  # until it begins, and again when it is gone
    """What gets the data; another may take its place at any time."""

    TLS = False
    _tlsClientDefault = False

    _log = Logger()
    _readDisconnected = False
    _aborting = False
    _heldBack: bytes | None = None  # what came in while paused, empty for the end

    def __init__(self, reactor: "UvloopReactor", family: int) -> None:
        super().__init__(family)
        self.reactor = reactor
        self._paused = False
        reactor.opened(self)

    def begin(self) -> None:
        """Connect the protocol; uvloop is ready."""
        raise NotImplementedError

    def ended(self, reason: Failure) -> None:
        """Tell whoever made this connection, after the protocol, that it is gone."""

    # What uvloop calls

    def connection_made(self, transport: Any) -> None:
        """Begin; then close, if that was asked for while uvloop wasn't ready."""
        self._uv = transport
        if self.disconnected:  # the reactor has ended
            transport.abort()
            return
        self.connected = True
        self._callOrLose(self.begin)
        if self.connected and self._aborting:
            self._reset()
        elif self.connected and self.disconnecting:
            self._closeUnlessProducing()

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        if self._paused:  # since `connection_made`, after which uvloop begins to read, come what may
            self._holdBack(data)
            return
        try:
            self.protocol.dataReceived(data)
        except Exception:
            self._fail()

    def eof_received(self) -> bool:
        """The peer has sent its last byte; return True: what follows from that is not for uvloop to decide."""
        if self._paused:
            self._holdBack(b"")
            return True
        self._readDisconnected = True
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self._callOrLose(self.protocol.readConnectionLost)
        else:
            self._uv.abort()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """The end, with the `error` that was the reason, if there was one."""
        if self._aborting:
            reason: BaseException = ConnectionAborted()
        elif error is None:
            reason = ConnectionDone()
        else:
            reason = ConnectionLost(str(error)) if isinstance(error, OSError) else error
        self._lose(Failure(reason))

    # What the protocol calls

    def loseConnection(self) -> None:
        """Close when all that was written is sent, and the producer, if it pauses or is pulled, has no more."""
        if not self.disconnecting:
            self.disconnecting = True
            self.pauseProducing()
            if self.connected:
                self._closeUnlessProducing()

    def abortConnection(self) -> None:
        """Close with a reset, now."""
        if not self._aborting:
            self._aborting = True
            if self.connected:
                self._reset()

    def stopConsuming(self) -> None:
        """Close: the producer has lost what it produces from."""
        self.unregisterProducer()
        self.loseConnection()

    def pauseProducing(self) -> None:
        """Read no more."""
        self._paused = True
        if self.connected:
            self._uv.pause_reading()

    def resumeProducing(self) -> None:
        """Read again, unless there is nothing more to read."""
        if self.disconnecting:
            return
        self._paused = False
        if self._heldBack is not None:
            self.reactor.callLater(0, self._deliver)  # whoever resumes may not be ready for data before that returns
        elif self.isReading:
            self._uv.resume_reading()

    def _holdBack(self, data: bytes) -> None:
        self._heldBack = data
        self._uv.pause_reading()

    def _deliver(self) -> None:
        """Give the protocol what was held back, unless it has paused again."""
        if self._heldBack is None or not self.isReading:
            return
        heldBack, self._heldBack = self._heldBack, None
        if heldBack:
            self.data_received(heldBack)
        else:
            self.eof_received()
        if self.isReading:
            self._uv.resume_reading()

    def stopProducing(self) -> None:
        """Close: nobody takes what comes in."""
        self.loseConnection()

    stopReading = pauseProducing
    startReading = resumeProducing

    def startTLS(self, contextFactory: object, normal: bool = True) -> None:
        """Speak TLS from now on, Twisted's (which needs pyOpenSSL): as client or server, as the connection was made."""
        from twisted.internet._newtls import startTLS

        producer = self.producer
        self.unregisterProducer()
        # What goes past the TLS to the connection, Twisted calls on the class.
        startTLS(self, contextFactory, normal, Stream)
        for name in _THROUGH_TLS:
            setattr(self, name, getattr(self.protocol, name))
        if producer is not None:
            self.registerProducer(producer, self.streamingProducer)

    @property
    def isReading(self) -> bool:
        """Does the protocol get what comes in?"""
        return self.connected and not (self._paused or self._readDisconnected or self.disconnecting or self._aborting)

    # What the reactor calls

    def connectionLost(self, reason: Failure) -> None:
        """Lose the connection at once: the reactor ends, or something failed."""
        if self._uv is not None:
            self._uv.abort()
        self._lose(reason)

    readConnectionLost = writeConnectionLost = connectionLost

    @property
    def logstr(self) -> str:
        """What log lines of the protocol begin with."""
        return logPrefixOf(self.protocol)

    def logPrefix(self) -> str:
        """Return what log lines of the protocol begin with."""
        return self.logstr

    def _callOrLose(self, call: Callable[..., object], *arguments: object) -> None:
        try:
            call(*arguments)
        except Exception:
            self._fail()

    def _fail(self) -> None:
        """Log the exception that is being handled, and lose the connection because of it, unless it is lost."""
        failure = Failure()
        self._log.failure("{log_source!r} failed", failure)
        self.connectionLost(failure)

    def _lose(self, reason: Failure) -> None:
        if self.disconnected:
            return
        self.connected = False
        self.disconnected = True
        for name in _THROUGH_TLS:
            vars(self).pop(name, None)
        self.reactor.closed(self)
        if self._handle is not None:
            self._handle.detach()
        producer, self.producer = self.producer, None
        if producer is not None:
            self._callOrLose(producer.stopProducing)
        if self.protocol is not None and self._uv is not None:
            self._callOrLose(self.protocol.connectionLost, reason)
        vars(self).pop("protocol", None)  # it has a reference to this: without this cycle it is deleted at once
        self._callOrLose(self.ended, reason)


def logPrefixOf(thing: object) -> str:
    """Return what log lines of `thing` begin with."""
    if thing is None:
        return "-"
    return thing.logPrefix() if ILoggingContext.providedBy(thing) else type(thing).__name__


def passesDescriptors(protocol: IProtocol, family: int) -> bool:
    """Can `protocol` pass descriptors over a socket of `family`? uvloop's transports can't."""
    return family == AF_UNIX and IFileDescriptorReceiver.providedBy(protocol)


def leaveToTwisted(connected: socket, protocol: IProtocol, reactor: "UvloopReactor") -> UNIXServer:
    """Give `protocol` a transport of Twisted's own, which passes descriptors."""
    transport = UNIXServer(connected, protocol, connected.getpeername(), None, 0, reactor)
    transport.repstr = f"<{type(protocol).__name__} with descriptors>"
    protocol.makeConnection(transport)
    return transport
