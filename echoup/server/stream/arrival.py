"""What comes before the stream: a PROXY header, a TLS handshake, or both in this order."""

import ssl
from collections.abc import Collection
from ipaddress import IPv6Address, ip_address
from typing import cast

from twisted.internet.interfaces import IAddress, IDelayedCall, IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from echoup.addresses import Network, describeAddress
from echoup.escaping import quoted
from echoup.proxyheader import ProxyHeaderError, ProxyHeaderParser
from echoup.server.listening.certificate import ServerCertificate
from echoup.server.settings import Limits
from echoup.server.stream.protocol import EchoUp, EchoUpFactory, IConnection, IStreamTransport
from echoup.tls.context import explain
from echoup.tls.transport import TLSTransport


@implementer(IConnection, IHalfCloseableProtocol)
class Arrival(Protocol):
    """A connection that isn't a stream yet. When it is, an `EchoUp` takes its place.

    All that comes before the stream has to be done within the handshake timeout. Afterwards nothing of this is left
    between the transport and the `EchoUp`, or the TLS below that: the next protocol has taken its place.
    """

    factory: "ArrivalFactory"
    transport: IStreamTransport

    received = 0
    reason = ""  # or one of: header, tls, handshake, stopping, refused, lost

    def __init__(self, peer: IAddress, header: ProxyHeaderParser | None, certificate: ServerCertificate | None) -> None:
        """`header` is for a connection that has to begin with one, `certificate` for one that then speaks TLS."""
        self.peer = peer
        self.details: dict[str, str] = {}
        self._header = header
        self._certificate = certificate
        self._tls: TLSTransport | None = None
        self._deadline: IDelayedCall | None = None
        self._rest = b""  # what came after the header

    @property
    def source(self) -> str | None:
        """The client's IP address, once it is known: a proxy, whose address comes first, has many clients."""
        return None if self._header else getattr(self.peer, "host", None)

    def connectionMade(self) -> None:
        """Join the others, and begin."""
        self.startedAt = self.factory.streams.clock.seconds()
        if self.factory.streams.opened(self):
            self._start()
        else:
            self.transport.pauseProducing()

    def begin(self) -> None:
        """Go on: it was made to wait, and is let in now."""
        self.transport.resumeProducing()
        if self._deadline:
            self._secure()
        else:
            self._start()

    def _start(self) -> None:
        """Begin; the time that all this has is counted from here."""
        clock = self.factory.streams.clock
        self.startedAt = clock.seconds()
        self._deadline = clock.callLater(self.factory.timeout, self.cut, "handshake")
        if not self._header:
            self._secure()

    def dataReceived(self, data: bytes) -> None:
        """Take in what is before the stream."""
        if self._tls:
            self._tls.dataReceived(data)
        elif self._header:
            self._readHeader(self._header, data)

    def _readHeader(self, parser: ProxyHeaderParser, data: bytes) -> None:
        try:
            result = parser.feed(data)
        except ProxyHeaderError as error:
            self.details["error"] = quoted(str(error))
            self.cut("header")
            return
        if result:
            header, self._rest = result
            self._header = None
            self.details.update(via=describeAddress(self.peer), **header.fields)
            self.peer = header.source or self.peer
            if self.factory.streams.gate.identify(self):
                self._secure()
            else:
                self.transport.pauseProducing()

    def _secure(self) -> None:
        """Begin the TLS handshake, or the stream if there is no TLS."""
        if self.reason:
            return
        if self._certificate:
            self._tls = TLSTransport(self._certificate.context, self._stream)
            self._tls.established.addErrback(self._untrusted)
        above = self._tls or self._stream()
        above.makeConnection(self.transport)
        if self._rest:
            above.dataReceived(self._rest)

    def _stream(self) -> EchoUp:
        """Give way to the stream."""
        self._stopClock()
        stream = self.factory.streams.replaced(self)
        self.transport.protocol = self._tls or stream
        return stream

    def _untrusted(self, failure: Failure) -> None:
        """Remember why there is no TLS. An alert tells the peer, and it has the rest of the time to hear of it."""
        if isinstance(failure.value, ssl.SSLError):
            self.reason = "tls"
            self.details["error"] = quoted(explain(failure.value))

    def readConnectionLost(self) -> None:
        """The peer has sent its last byte, too early."""
        if self._tls:
            self._tls.readConnectionLost()
        else:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our alert was sent."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Leave nothing behind, whatever the reason."""
        self.reason = self.reason or "lost"
        self._stopClock()
        if self._tls:
            self._tls.connectionLost(reason)
        self.factory.streams.closed(self)

    def _stopClock(self) -> None:
        if self._deadline and self._deadline.active():
            self._deadline.cancel()

    def cut(self, reason: str) -> None:
        """Drop the connection: there is nothing in it that could be lost."""
        self.reason = self.reason or reason
        self.transport.abortConnection()

    finish = cut

    def look(self, now: float, limits: Limits, idleReason: str) -> None:
        """Do nothing: it has until its deadline, also during a stop, which may come in the middle of a handshake."""


class ArrivalFactory(Factory[Protocol]):
    """Builds what a new connection has to begin with: an `Arrival`, or the stream itself."""

    noisy = False

    def __init__(
        self,
        streams: EchoUpFactory,
        timeout: float,
        proxies: Collection[Network],
        certificate: ServerCertificate | None,
    ) -> None:
        """Connections from `proxies` begin with a PROXY header; it and the handshake have `timeout` seconds in all."""
        self.streams = streams
        self.timeout = timeout
        self.certificate = certificate
        self._proxies = proxies

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Return the protocol of a new connection from `addr`."""
        peer = cast("IAddress", addr)
        isProxy = self._isProxy(peer)
        if not (isProxy or self.certificate):
            return self.streams.buildProtocol(peer)
        arrival = Arrival(peer, ProxyHeaderParser() if isProxy else None, self.certificate)
        arrival.factory = self
        return arrival

    def _isProxy(self, address: IAddress) -> bool:
        host = getattr(address, "host", None)
        if host is None or not self._proxies:
            return False
        ip = ip_address(host)
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        return any(ip in network for network in self._proxies)
