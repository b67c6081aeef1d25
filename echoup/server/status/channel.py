"""Connections to the status site, and their limits.

Theory of operation. A connection carries one request:

    READING     its head is collected, for REQUEST_TIMEOUT at most
    ANSWERING   a resource writes the answer, maybe later
    ENDING      the answer and the end of our side are written, and the peer's end is awaited
    any         -> ENDED, when the connection is lost, or dropped at its deadline or for a newer one

What comes after the head is discarded, because a close with unread data would be a reset, which can destroy an answer
that the peer hasn't read. Nothing that a peer does moves a deadline. When there are MOST connections, a new one drops
the oldest, whatever that one does. So each is sure to be open until as many newer ones have come, and no number of
silent clients keeps others out.
"""

from collections.abc import Collection, Mapping
from enum import Enum, auto
from typing import Any

from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from zope.interface import implementer

from echoup.addresses import unmapHost
from echoup.clock import RunningTime
from echoup.escaping import shown
from echoup.plurals import plural
from echoup.server.log.ratelimitedlog import RateLimitedLog
from echoup.server.status.request import Request
from echoup.server.status.requesthead import Head, Refused, parseHead

MOST = 64
"""Connections that are open at a time."""

REQUEST_TIMEOUT = 5.0
"""Seconds within which the head of the request must be complete."""

TIMEOUT = 15.0
"""Seconds within which the whole connection must be over."""


class ChannelState(Enum):
    """What a connection does."""

    READING = auto()
    ANSWERING = auto()
    ENDING = auto()
    ENDED = auto()


@implementer(IHalfCloseableProtocol)
class StatusChannel(Protocol):
    """A connection; to its request it is what Twisted calls a channel."""

    transport: Any

    _state = ChannelState.READING
    _isPeerDone = False
    _request: Request | None = None

    def __init__(self, site: "StatusFactory") -> None:
        self._site = site
        self._data = b""

    def connectionMade(self) -> None:
        """Join the open connections."""
        self._began = self._site.clock.seconds()
        self._deadline = self._site.clock.callLater(REQUEST_TIMEOUT, self.drop)
        self._site.add(self)

    def dataReceived(self, data: bytes) -> None:
        """Collect the head of the request, and answer."""
        if self._state is not ChannelState.READING:
            return
        self._data += data
        head = None
        try:
            head = parseHead(self._data)
            if not head:
                return
            head.refuseForeignHost(_hostOf(self.transport.getHost()), self._site.names)
        except Refused as refused:
            self._begin(head).answer(refused.code, str(refused))
        else:
            self._answer(self._begin(head), head)

    def _begin(self, head: Head | None) -> Request:
        """Return a request to answer; without `head` it couldn't be parsed."""
        self._state = ChannelState.ANSWERING
        self._data = b""
        self._deadline.reset(self._began + TIMEOUT - self._site.clock.seconds())
        self._request = request = Request(self, self._site.failed)
        if head:
            request.method, request.clientproto = head.method, head.version
        return request

    def _answer(self, request: Request, head: Head) -> None:
        resource = self._site.resources.get(head.target.partition(b"?")[0])
        if head.method not in (b"GET", b"HEAD"):
            request.setHeader("Allow", "GET, HEAD")
            request.answer(405, "only GET and HEAD are possible here")
        elif resource is None:
            request.answer(404, "no such page; / lists all of them")
        else:
            request.serve(head, resource)

    def requestDone(self, request: Request) -> None:
        """End our side of the connection, behind the answer."""
        self._request = None
        if self._isPeerDone:
            self.loseConnection()
        elif self._state is ChannelState.ANSWERING:
            self._state = ChannelState.ENDING
            self.transport.loseWriteConnection()

    def readConnectionLost(self) -> None:
        """Go on with the answer, if there is one; the request is incomplete otherwise."""
        self._isPeerDone = True
        if self._state is not ChannelState.ANSWERING:
            self.loseConnection()

    def writeConnectionLost(self) -> None:
        """Do nothing: the answer was sent."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Leave the open connections."""
        self._end()
        if self._request:
            self._request.connectionLost(reason)

    def drop(self) -> None:
        """Abort the connection."""
        self._end()
        self.transport.abortConnection()

    def loseConnection(self) -> None:
        """Close the connection, behind what is written."""
        self.transport.loseConnection()

    def _end(self) -> None:
        if self._state is not ChannelState.ENDED:
            self._state = ChannelState.ENDED
            if self._deadline.active():
                self._deadline.cancel()
            self._site.open.pop(self, None)

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Write the head of the answer."""
        fields = [name + b": " + value for name, values in headers.getAllRawHeaders() for value in values]
        self.transport.write(b"\r\n".join([b" ".join([version, code, reason]), *fields, b"", b""]))

    def write(self, data: bytes) -> None:
        """Write part of the answer."""
        self.transport.write(data)

    def writeSequence(self, data: list[bytes]) -> None:
        """Write part of the answer."""
        self.transport.writeSequence(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Have `producer` write the answer as fast as the peer reads."""
        self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self.transport.unregisterProducer()

    def getPeer(self) -> IAddress:
        """Return the peer's address."""
        address: IAddress = self.transport.getPeer()
        return address

    def getHost(self) -> IAddress:
        """Return our address."""
        address: IAddress = self.transport.getHost()
        return address

    def isSecure(self) -> bool:
        """Return that there is no TLS."""
        return False


class StatusFactory(Factory[StatusChannel]):
    """Serves `resources`, by their paths, to all connections of the status site."""

    noisy = False
    _log = Logger()

    def __init__(self, reactor: IReactorTime, resources: Mapping[bytes, IResource], names: Collection[str]) -> None:
        """`names` are the hosts that may be asked for, besides our own addresses and `localhost`."""
        self.clock = RunningTime(reactor)
        self.resources = resources
        self.names = names
        self.open: dict[StatusChannel, None] = {}
        """The open connections, the oldest first."""
        self._lastFailure = ""
        self._failures = RateLimitedLog(reactor, self._logFailures)

    def buildProtocol(self, addr: IAddress | None) -> StatusChannel:
        """Return the protocol of a new connection."""
        return StatusChannel(self)

    def add(self, channel: StatusChannel) -> None:
        """Add a new connection, and drop the oldest of too many."""
        if len(self.open) == MOST:
            next(iter(self.open)).drop()
        self.open[channel] = None

    def failed(self, path: bytes, error: BaseException) -> None:
        """Count a request for `path` that failed."""
        self._lastFailure = f"{path.decode('latin-1')}: {type(error).__name__}: {error}"
        self._failures.count()

    def stop(self) -> None:
        """Close all connections."""
        for channel in list(self.open):
            channel.drop()
        self._failures.stop()

    def _logFailures(self, count: int) -> None:
        self._log.error(
            f"{{requests}} {plural(count, 'request')} to the status site failed; the last: {{error}}",
            requests=count,
            error=shown(self._lastFailure),
        )


def _hostOf(address: IAddress) -> str:
    """Return the host of our address, without the interface; empty for a Unix socket."""
    return unmapHost(getattr(address, "host", "")).partition("%")[0]
