"""What comes before a stream: a PROXY header, a TLS handshake, or both in this order."""

import ssl
from collections.abc import Collection
from enum import Enum, auto
from ipaddress import ip_address
from itertools import takewhile

from twisted.internet.interfaces import IAddress, IDelayedCall, IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from echoup.addresses import Network, describeAddress, unmapAddress, unmapHost
from echoup.escaping import LONGEST, quotable, shortWord
from echoup.proxyheader import ProxyHeaderError, ProxyHeaderParser
from echoup.server.connection import Connection, IConnectionProtocol, Stage
from echoup.server.listening.certificate import ServerCertificate
from echoup.server.reasons import EndReason, ProxyResult, TLSResult
from echoup.server.settings import Limits
from echoup.server.stream.progress import IStreamTransport, SocketProgress, TLSProgress
from echoup.server.stream.protocol import EchoUp, EchoUpFactory
from echoup.tls.clienthello import parseServerName
from echoup.tls.context import explain
from echoup.tls.transport import RECORD, TLSTransport


class ArrivalState(Enum):
    """What an arrival waits for."""

    PLACE = auto()  # the gate's answer; the handshake timeout doesn't run yet
    HEADER = auto()  # the end of the PROXY header
    CLIENT = auto()  # the gate's answer about the client that the header names
    HANDSHAKE = auto()  # the end of the TLS handshake, or, when that failed, the peer's end
    NOTHING = auto()  # it is aborted


_STAGES = {
    ArrivalState.PLACE: Stage.WAITING,
    ArrivalState.HEADER: Stage.HEADER,
    ArrivalState.CLIENT: Stage.WAITING,
    ArrivalState.HANDSHAKE: Stage.HANDSHAKE,
    ArrivalState.NOTHING: Stage.ENDING,
}


@implementer(IConnectionProtocol, IHalfCloseableProtocol)
class Arrival(Protocol):
    """Serves a connection until its PROXY header and its TLS handshake are complete.

    The handshake timeout applies to both together. Then the `EchoUp`, or the `TLSTransport` below it, replaces this as
    the protocol of the transport.
    """

    factory: "ArrivalFactory"
    transport: IStreamTransport

    _state = ArrivalState.PLACE
    _rest = b""  # what came after the header
    _hello = b""  # what TLS began with, at most as much as a record carries
    _tls: TLSTransport | None = None

    def __init__(
        self, connection: Connection, header: ProxyHeaderParser | None, certificate: ServerCertificate | None
    ) -> None:
        """`header` is for a connection that must begin with one, `certificate` for one that then speaks TLS."""
        self.connection = connection
        self._header = header
        self._certificate = certificate

    def connectionMade(self) -> None:
        """Join the open connections."""
        self.factory.streams.connections.serve(self.connection, self)

    def begin(self) -> None:
        """Begin with the first step, or go on after the header, now that its client is admitted."""
        if self._state is ArrivalState.PLACE:
            self.connection.startedAt = self.factory.streams.connections.reactor.seconds()
            self.factory.startClock(self)
            self._state = ArrivalState.HEADER
            if not self._header:
                self._secure()
        elif self._state is ArrivalState.CLIENT:
            self._secure()

    @property
    def stage(self) -> Stage:
        """What it waits for."""
        return _STAGES[self._state]

    def dataReceived(self, data: bytes) -> None:
        """Parse part of the header, or pass the data on to TLS."""
        if self._tls:
            self._hello += data[: RECORD - len(self._hello)]
            self._tls.dataReceived(data)
        elif self._header and self._state is ArrivalState.HEADER:
            self._readHeader(self._header, data)

    def _readHeader(self, parser: ProxyHeaderParser, data: bytes) -> None:
        connection = self.connection
        try:
            result = parser.feed(data)
        except ProxyHeaderError as error:
            connection.note(error=quotable(str(error)))
            self._countHeader(ProxyResult.INVALID)
            self.abort(EndReason.HEADER)
            return
        if result:
            self._countHeader(ProxyResult.VERSION_1 if parser.version == 1 else ProxyResult.VERSION_2)
            header, self._rest = result
            connection.note(via=describeAddress(connection.peer), **header.fields)
            connection.peer = unmapAddress(header.source or connection.peer)
            connection.source = getattr(connection.peer, "host", None)
            self._state = ArrivalState.CLIENT
            connection.settle(self.factory.streams.connections.gate.identify(connection))

    def _countHeader(self, result: ProxyResult) -> None:
        self._header = None
        self.connection.counts.add(result)

    def _secure(self) -> None:
        """Begin the TLS handshake, or the stream if there is no TLS."""
        self._state = ArrivalState.HANDSHAKE
        if self._certificate:
            self._hello = self._rest[:RECORD]
            self._tls = TLSTransport(self._certificate.context, self._giveWay)
            self._tls.established.addErrback(self._fail)
        above = self._tls or self._giveWay()
        above.makeConnection(self.transport)
        if self._rest:
            above.dataReceived(self._rest)

    def _giveWay(self) -> EchoUp:
        """Let a stream take over the connection, and return it."""
        self.factory.stopClock(self)
        if self._tls:
            self._noteTLS(self._tls.tls)
        stream = self.factory.streams.makeStream(self.connection, TLSProgress if self._tls else SocketProgress)
        self.transport.protocol = self._tls or stream
        return stream

    def _noteTLS(self, tls: ssl.SSLObject) -> None:
        """Record what the handshake told."""
        result = TLSResult((tls.version(), "ok"))
        self.connection.counts.add(result)
        self.connection.note(tls_version=result.value[0])
        self._noteServerName()
        if certificate := tls.getpeercert(binary_form=True):
            from echoup.tls.certificateinfo import parseCertificate

            if (info := parseCertificate(certificate)) and info.subject:
                self.connection.note(client_subject=quotable(info.subject[:LONGEST]))

    def _noteServerName(self) -> None:
        if name := parseServerName(self._hello):
            self.connection.note(server_name=shortWord(name))

    def _fail(self, failure: Failure) -> None:
        """Record why the handshake failed; an alert tells the peer, which has until the deadline to end its side."""
        connection = self.connection
        self._noteServerName()
        if isinstance(failure.value, ssl.SSLError):
            connection.reason = EndReason.TLS
            connection.counts.add(TLSResult.FAILED)
            why = explain(failure.value)
            if failure.value.reason == "WRONG_VERSION_NUMBER":  # the beginning of plain text, read as a version
                why += "; the client does not seem to speak TLS"
            connection.note(error=quotable(why))
        else:
            connection.counts.add(TLSResult.TIMEOUT if connection.reason is EndReason.HANDSHAKE else TLSResult.LOST)

    def readConnectionLost(self) -> None:
        """End the connection, because the peer has ended its side too early."""
        if self._tls:
            self._tls.readConnectionLost()
        else:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Do nothing: our alert was sent."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Leave the open connections."""
        self.factory.stopClock(self)
        if self._header and self.connection.held:  # it had a place, so the header was awaited
            isLate = self.connection.reason is EndReason.HANDSHAKE
            self._countHeader(ProxyResult.TIMEOUT if isLate else ProxyResult.LOST)
        if self._tls:
            self._tls.connectionLost(reason)
        self.factory.streams.connections.remove(self.connection)

    def abort(self, reason: EndReason) -> None:
        """Drop the connection; there is no data that could be lost."""
        self._state = ArrivalState.NOTHING
        self.connection.reason = self.connection.reason or reason
        self.transport.abortConnection()

    finish = abort

    def checkProgress(self, now: float, limits: Limits, idleReason: EndReason) -> None:
        """Do nothing: the deadline ends this, also during a shutdown, so a handshake under way keeps its time."""


class ArrivalFactory(Factory[Protocol]):
    """Builds the first protocol of a new connection: an `Arrival`, or the stream itself."""

    noisy = False

    def __init__(
        self,
        streams: EchoUpFactory,
        timeout: float,
        proxies: Collection[Network],
        certificate: ServerCertificate | None,
    ) -> None:
        """Connections from `proxies` begin with a PROXY header; header and handshake have `timeout` seconds."""
        self.streams = streams
        self.timeout = timeout
        self._proxies = proxies
        self._certificate = certificate
        self._deadlines: dict[Arrival, float] = {}  # the earliest first
        self._timer: IDelayedCall | None = None  # for the first, or for one before it that was stopped

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Return the protocol of a new connection from `addr`."""
        assert addr
        isProxied = self._isProxy(addr)
        if not (isProxied or self._certificate):
            return self.streams.buildProtocol(addr)
        connection = self.streams.connections.make(self.streams.listener, addr, isProxied)
        arrival = Arrival(connection, ProxyHeaderParser() if isProxied else None, self._certificate)
        arrival.factory = self
        return arrival

    def startClock(self, arrival: Arrival) -> None:
        """Abort `arrival` after the timeout. All share a timer, because one each costs a tenth of a TLS handshake."""
        self._deadlines[arrival] = self.streams.connections.clock.seconds() + self.timeout
        self._awaitFirst()

    def stopClock(self, arrival: Arrival) -> None:
        """Let `arrival` take its time, if its clock runs."""
        self._deadlines.pop(arrival, None)
        if self._timer and not self._deadlines:
            self._timer.cancel()
            self._timer = None

    def _awaitFirst(self) -> None:
        if self._deadlines and not self._timer:
            clock = self.streams.connections.clock
            now = clock.seconds()
            due = max(now, next(iter(self._deadlines.values())))
            self._timer = clock.callLater(due - now, self._expire, due)

    def _expire(self, due: float) -> None:
        """Abort those whose time was over when it was `due`; what later ones have sent may not have been read yet."""
        self._timer = None
        for arrival, _ in list(takewhile(lambda item: item[1] <= due, self._deadlines.items())):
            self._deadlines.pop(arrival, None)
            arrival.abort(EndReason.HANDSHAKE)
        self._awaitFirst()

    def _isProxy(self, address: IAddress) -> bool:
        if not self._proxies:
            return False
        host = getattr(address, "host", None)
        if host is None:
            return False
        ip = ip_address(unmapHost(host))
        return any(ip in network for network in self._proxies)
