"""TLS over a byte stream, whose two directions end separately, as those of TCP do.

Theory of operation. A `TLSTransport` stands between a connection's transport, below, and, after the handshake, a
protocol above. A close_notify ends one direction only (RFC 8446, 6.1), also in TLS 1.2, so each has its own state:

    receiving   HANDSHAKE -> OPEN (handshake done) -> ENDING (the peer's close_notify or FIN) -> ENDED (told above)
    sending     OPEN -> ENDED (our close_notify)
    both        -> ENDED (a close from above, a TLS error, the loss of the connection)

Nothing is lost, where Twisted's TLS drops what waits to be written when the peer ends its side (since 23.10):
- `write` encrypts and hands everything to the transport below within the call; our close_notify and FIN follow it.
- What arrives waits for the protocol above, and the peer's end behind it. A close_notify is never waited for
  (twisted#7926), and a FIN alone is an end as well: the protocol above counts bytes to detect a truncation.
- What arrives is decrypted even in a pause: `unwrap`, which sends our close_notify, fails on data left (`FactTests`).

A message costs no exception: OpenSSL takes one record at a time from the incoming BIO, so an empty BIO has nothing more
to give. The records of one `dataReceived` are joined into one piece for the protocol above, and those of one `write`
into one for the transport below. Both BIOs hold little at a time, because a BIO never gives back what it grew to. In
TLS 1.2 the end of the handshake and the refusal of another one are sent at once. In TLS 1.3 a session ticket and the
answers to a KeyUpdate go with the next write (RFC 8446, 4.6.3), or when more of them wait than a record holds: a peer
may ask for new keys without end.
"""

import ssl
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from operator import attrgetter
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ISystemHandle, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

RECORD = 2**14
"""The most bytes that one TLS record carries (RFC 8446, 5.1), and that are decrypted or encrypted at a time."""

_DER = 2
"""The format of certificates that the private method of `ssl` calls ENCODING_DER."""

_Receiving = Enum("_Receiving", "HANDSHAKE OPEN ENDING ENDED")
_Sending = Enum("_Sending", "OPEN ENDED")


@implementer(IHalfCloseableProtocol, ITCPTransport, IConsumer, IPushProducer, ISystemHandle)
class TLSTransport(Protocol):
    """The protocol of a transport, and, once the TLS handshake is done, the transport of the protocol above."""

    transport: Any
    receivedBelow = 0
    """Bytes received since the handshake, also those of incomplete records: a change shows that the peer sends."""
    hasCloseNotify = False
    """Whether the peer's close_notify has come; after a FIN without one nobody can tell whether the stream was cut."""

    hasReceived = False
    """Whether any byte has come, also during the handshake."""
    failure: Failure | None = None
    """The TLS error or the loss of the connection, whichever came first; None while there is neither."""

    def __init__(self, context: ssl.SSLContext, build: Callable[[], Any], serverName: str | None = None) -> None:
        """`build` makes the protocol above; a client asks for `serverName` and expects it in the certificate."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        isServer = context.protocol is ssl.PROTOCOL_TLS_SERVER
        self.tls = context.wrap_bio(self._incoming, self._outgoing, isServer, serverName)
        self.established: Deferred[None] = Deferred()
        """Fires when the handshake is done; fails with the ssl.SSLError or the loss of the connection if it isn't."""
        self.closed: Deferred[None] = Deferred()
        """Fires when the connection is gone, after the protocol above was told."""
        self._build = build
        self._above: Any = None
        self._receiving, self._sending = _Receiving.HANDSHAKE, _Sending.OPEN
        self._undelivered: list[bytes] = []
        self._paused = self._delivering = False  # both may hold: a protocol pauses while it is delivered to

    @property
    def peerChain(self) -> list[bytes]:
        """The certificates that the peer has sent, in DER, its own first, also where they were refused.

        It is empty where a session was resumed.
        """
        tls: Any = self.tls
        if hasattr(tls, "get_unverified_chain"):
            return list(tls.get_unverified_chain())
        chain = tls._sslobj.get_unverified_chain()  # public from Python 3.13 on
        return [certificate.public_bytes(_DER) for certificate in chain or ()]

    @property
    def peerCertificate(self) -> bytes | None:
        """The peer's certificate in DER, also where it was refused; None while there is none."""
        try:
            return self.tls.getpeercert(binary_form=True)
        except ValueError:  # the handshake isn't done
            return next(iter(self.peerChain), None)

    def connectionMade(self) -> None:
        """Begin the handshake, if this is the client, which sends first."""
        if not self.tls.server_side:
            self._shakeHands()

    def dataReceived(self, data: bytes) -> None:
        """Decrypt `data` and deliver what it contains, or go on with the handshake."""
        if self._receiving is _Receiving.OPEN:
            self.receivedBelow += len(data)
            for start in range(0, len(data), RECORD):
                self._incoming.write(data[start : start + RECORD])
                self._decrypt()
            self._deliver()
        elif self._receiving is _Receiving.HANDSHAKE:
            self.hasReceived = True
            self._incoming.write(data)
            self._shakeHands()

    def readConnectionLost(self) -> None:
        """End the peer's direction; before the handshake is done that is a failure."""
        if not self._above:
            self._fail(Failure(ConnectionLost("closed during the TLS handshake")))
            self.transport.loseConnection()
        elif self._receiving is _Receiving.OPEN:
            self._receiving = _Receiving.ENDING
            self._deliver()

    def writeConnectionLost(self) -> None:
        """Tell the protocol above that its end was sent."""
        if self._above:
            self._above.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the protocol above, with the TLS error if that is why, or fail `established`."""
        self._fail(reason)
        above, self._above = self._above, None  # breaks a reference cycle, so that both are freed at once
        if above:
            above.connectionLost(self.failure)
        self.closed.callback(None)

    def _shakeHands(self) -> None:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError:
            self._refuse()
        else:
            if not self.tls.server_side:
                self._flush()
            self._receiving = _Receiving.OPEN
            self._decrypt()
            if not self.failure:
                self._above = self._build()
                del self._build  # frees what it refers to
                self._above.makeConnection(self)
                self.established.callback(None)
                self._deliver()

    def _decrypt(self) -> None:
        try:
            while self._incoming.pending and self._receiving is _Receiving.OPEN:
                if data := self.tls.read(RECORD):
                    self._undelivered.append(data)
                else:
                    self._notice()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # the same end, after our own close_notify
            self._notice()
        except ssl.SSLError:
            self._refuse()
        if (waiting := self._outgoing.pending) and (waiting > RECORD or self.tls.version() == "TLSv1.2"):
            self._flush()

    def _notice(self) -> None:
        """End the peer's direction, because its close_notify has come."""
        self._receiving = _Receiving.ENDING
        self.hasCloseNotify = True

    def _drop(self) -> None:
        self._receiving = _Receiving.ENDED
        self._undelivered.clear()

    def _deliver(self) -> None:
        if self._delivering:
            return
        self._delivering = True
        while not self._paused:
            if self._undelivered:
                data = b"".join(self._undelivered)
                self._undelivered.clear()
                self._above.dataReceived(data)
            elif self._receiving is _Receiving.ENDING:
                self._receiving = _Receiving.ENDED
                self._above.readConnectionLost()
            else:
                break
        self._delivering = False

    def _flush(self) -> None:
        if self._outgoing.pending:
            self.transport.write(self._outgoing.read())

    def _refuse(self) -> None:
        """End the connection because of a TLS error, which an alert tells the peer."""
        self._flush()
        self._fail(Failure())
        if self._above:
            self.transport.unregisterProducer()
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()

    def _fail(self, reason: Failure) -> None:
        self._drop()
        self._sending = _Sending.ENDED
        if not self.failure:
            self.failure = reason
            if not self._above:
                self.established.errback(reason)

    def write(self, data: bytes) -> None:
        """Encrypt `data` and send all of it at once; do nothing after our end."""
        if self._sending is _Sending.OPEN:
            records = []
            for start in range(0, len(data), RECORD):
                self.tls.write(data[start : start + RECORD])
                records.append(self._outgoing.read())
            self.transport.write(b"".join(records))

    def writeSequence(self, data: Any) -> None:
        """Encrypt and send all of `data`."""
        self.write(b"".join(data))

    def loseWriteConnection(self) -> None:
        """Send our close_notify and a FIN, after everything else; go on receiving."""
        self._finish()
        self.transport.loseWriteConnection()

    def loseConnection(self) -> None:
        """Send our close_notify, after everything else, and close; what the peer still sends is dropped."""
        self._drop()
        self._finish()
        self.transport.loseConnection()

    def _finish(self) -> None:
        self._sending = _Sending.ENDED
        with suppress(ssl.SSLError):  # the peer's close_notify hasn't come
            self.tls.unwrap()
        self._flush()

    def abortConnection(self) -> None:
        """Drop the connection at once."""
        self._drop()
        self.transport.abortConnection()

    def pauseProducing(self) -> None:
        """Deliver and read nothing more for now."""
        self._paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Deliver and read again."""
        self._paused = False
        self.transport.resumeProducing()
        self._deliver()

    stopProducing = loseConnection

    # TLS changes nothing of these: the transport below does them.
    registerProducer: Any = property(attrgetter("transport.registerProducer"))
    unregisterProducer: Any = property(attrgetter("transport.unregisterProducer"))
    getHandle: Any = property(attrgetter("transport.getHandle"))
    getHost: Any = property(attrgetter("transport.getHost"))
    getPeer: Any = property(attrgetter("transport.getPeer"))
    getTcpNoDelay: Any = property(attrgetter("transport.getTcpNoDelay"))
    setTcpNoDelay: Any = property(attrgetter("transport.setTcpNoDelay"))
    getTcpKeepAlive: Any = property(attrgetter("transport.getTcpKeepAlive"))
    setTcpKeepAlive: Any = property(attrgetter("transport.setTcpKeepAlive"))
