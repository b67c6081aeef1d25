"""TLS whose two directions end one by one, as those of TCP do."""

import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ISystemHandle, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

RECORD = 2**14
"""The most bytes that one TLS record carries (RFC 8446, 5.1)."""


@implementer(IHalfCloseableProtocol, ITCPTransport, IConsumer, IPushProducer, ISystemHandle)
class TLSTransport(Protocol):
    """The protocol of a transport, and once the TLS handshake is done the transport of another protocol above it.

    Twisted's own TLS discards what waits to be written when the peer ends its side, keeps a connection until the peer
    answers a close_notify, and can't end one direction alone. Here a close_notify ends one direction, as RFC 8446, 6.1,
    has it, whatever the version: the peer's is `readConnectionLost` above, `loseWriteConnection` sends ours. The end of
    the connection below, without a close_notify, means the same: whoever has to know that nothing is missing counts.
    """

    transport: Any

    receivedBelow = 0
    """How many bytes have come since the handshake, of complete records or not: they tell whether something moves."""

    def __init__(self, context: ssl.SSLContext, build: Callable[[], Any], serverName: str | None = None) -> None:
        """`build` makes the protocol above; `serverName` is the one to ask for, and to expect in the certificate.

        Whether it is the client's side or the server's, `context` tells.
        """
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        isServer = context.protocol is ssl.PROTOCOL_TLS_SERVER
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=isServer, server_hostname=serverName)
        self.established: Deferred[None] = Deferred()
        """Fires when the handshake is done; fails with the ssl.SSLError or the loss of the connection if it isn't."""
        self.closed: Deferred[None] = Deferred()
        """Fires when the connection is gone."""
        self._build = build
        self._above: Any = None
        self._undelivered: deque[bytes] = deque()
        self._failure: Failure | None = None
        self._delivering = False
        self._paused = False
        self._closing = False  # nothing that comes is wanted any more
        self._finished = False  # our close_notify was sent
        self._ended = False  # the peer's end has come
        self._told = False  # and the protocol above knows

    # The protocol's side: what comes from below.

    def connectionMade(self) -> None:
        """Begin the handshake; the client has the first word."""
        self._shakeHands()

    def dataReceived(self, data: bytes) -> None:
        """Decrypt `data` and pass on what it contains, or go on with the handshake."""
        if self._failure or self._ended:
            return
        self._incoming.write(data)
        if self._above:
            self.receivedBelow += len(data)
            self._decrypt()
            self._deliver()
        else:
            self._shakeHands()

    def readConnectionLost(self) -> None:
        """The peer has sent its last byte."""
        if self._above:
            self._ended = True
            self._deliver()
        else:
            self._fail(Failure(ConnectionLost("closed during the TLS handshake")))
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our last byte was sent."""
        if self._above:
            self._above.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell it above, or that there won't be a handshake."""
        self._fail(reason)
        if self._above:
            self._above.connectionLost(self._failure)
        self.closed.callback(None)

    def _shakeHands(self) -> None:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError:
            self._refuse()
        else:
            self._decrypt()
            if not self._failure:
                self._above = self._build()
                del self._build  # and what it belongs to, which is over
                self._above.makeConnection(self)
                self.established.callback(None)
                self._deliver()

    def _decrypt(self) -> None:
        """Decrypt all that came, also while nobody takes it: it's no more than what was read at once."""
        try:
            while data := self.tls.read(RECORD):
                self._undelivered.append(data)
            self._ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # what the same end is after our own
            self._ended = True
        except ssl.SSLError:
            self._refuse()
        self._flush()

    def _deliver(self) -> None:
        """Pass on what was decrypted, and the end after it; `resumeProducing` may come in the middle of that."""
        if self._delivering:
            return
        self._delivering = True
        while self._undelivered and self._isListening():
            self._above.dataReceived(self._undelivered.popleft())
        self._delivering = False
        if self._ended and not self._told and self._isListening():
            self._told = True
            self._above.readConnectionLost()

    def _isListening(self) -> bool:
        return not (self._paused or self._closing or self._failure)

    def _flush(self) -> None:
        if self._outgoing.pending:
            self.transport.write(self._outgoing.read())

    def _refuse(self) -> None:
        """End the connection because of an error of TLS; the peer is told the reason, an alert, if it listens."""
        self._flush()
        self._fail(Failure())
        if self._above:
            self.transport.unregisterProducer()
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()

    def _fail(self, reason: Failure) -> None:
        if not self._failure:
            self._failure = reason
            if not self._above:
                self.established.errback(reason)

    # The transport's side: what comes from above.

    def write(self, data: bytes) -> None:
        """Encrypt and send `data`; after our end, do nothing."""
        if not (self._finished or self._failure):
            rest = memoryview(data)
            while rest:
                rest = rest[self.tls.write(rest) :]
            self._flush()

    def writeSequence(self, data: Any) -> None:
        """Encrypt and send all of `data`."""
        self.write(b"".join(data))

    def loseWriteConnection(self) -> None:
        """Send our end, after everything else; the other direction stays as it is."""
        self._finish()
        self.transport.loseWriteConnection()

    def loseConnection(self) -> None:
        """Send our end, after everything else, and close; what the peer still sends is lost."""
        self._closing = True
        self._finish()
        self.transport.loseConnection()

    def _finish(self) -> None:
        self._finished = True
        # It would like to see the peer's close_notify, too. That needn't have come; but data that had come and was not
        # yet decrypted would be an error, after which nothing could be read any more.
        with suppress(ssl.SSLError):
            self.tls.unwrap()
        self._flush()

    def abortConnection(self) -> None:
        """Drop the connection at once."""
        self._closing = True
        self.transport.abortConnection()

    def pauseProducing(self) -> None:
        """Read nothing more for now."""
        self._paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again, what has come already first."""
        self._paused = False
        self.transport.resumeProducing()
        self._deliver()

    def stopProducing(self) -> None:
        """Close."""
        self.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let the transport below tell `producer` when to write."""
        self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self.transport.unregisterProducer()

    def getHandle(self) -> Any:
        """Return the connection's socket."""
        return self.transport.getHandle()

    def getHost(self) -> Any:
        """Return our own address."""
        return self.transport.getHost()

    def getPeer(self) -> Any:
        """Return the address of the other end."""
        return self.transport.getPeer()

    def getTcpNoDelay(self) -> bool:
        """Are small segments sent at once?"""
        return bool(self.transport.getTcpNoDelay())

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Send small segments at once, or not."""
        self.transport.setTcpNoDelay(enabled)

    def getTcpKeepAlive(self) -> bool:
        """Is a quiet peer asked now and then whether it is still there?"""
        return bool(self.transport.getTcpKeepAlive())

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Ask a quiet peer now and then whether it is still there, or not."""
        self.transport.setTcpKeepAlive(enabled)
