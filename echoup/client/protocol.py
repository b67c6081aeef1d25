"""A connection to an echo service, as a Twisted protocol."""

import ssl
from collections.abc import Collection
from enum import Enum
from socket import MSG_DONTWAIT, MSG_PEEK
from typing import Any

from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
    ISystemHandle,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from echoup.addresses import describeAddress
from echoup.client.exchange import ExchangeClient, Take, describeTimeout
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.hints import CERT, PROXY_PROTOCOL, TLS, refusesCertificate, suggest
from echoup.clock import RunningTime
from echoup.tls.context import explain
from echoup.tls.transport import TLSTransport
from echoup.verdict import Reply

TIMEOUT = 10.0

BUFFER = 2**18
"""Bytes of one receive, at most: with the 64 KiB of Twisted a long stream costs a fifth more CPU time."""

PROMPT = 2.0
"""Seconds after our first bytes within which a server that refuses them closes."""

RECORD_HEADER = 5
"""Bytes of a TLS record without which a server can't tell that it is none (RFC 8446, 5.1)."""

LOOKS = 10
"""How many times progress is checked within a timeout; so a connection is given up a tenth of it late, at most."""


class IClientTransport(ITCPTransport, IPushProducer, ISystemHandle):
    """What `EchoUpClient` needs of its transport; Twisted's TCP and Unix transports have it, and `TLSTransport`."""


class Ending(Enum):
    """What ended a connection."""

    CLOSED = "closed"
    RESET = "reset"
    """Without the server's end, by either side."""
    TIMED_OUT = "timed out"
    TLS_FAILED = "TLS failed"


@implementer(IHalfCloseableProtocol, IPushProducer)
class EchoUpClient(ExchangeClient, Protocol):
    """The client's end of a connection.

    It gives up when a reply is due and nothing of it comes for `timeout` seconds, not even part of a TLS record. It
    never does while it is paused.
    """

    transport: IClientTransport

    local: str | None = None
    """Our own address, once there is a connection."""
    remote: str | None = None
    """The server's address, likewise."""
    tls: TLSTransport | None = None
    """The TLS below, from before its handshake on; None without TLS."""
    ending: Ending | None = None
    """What ended the connection, or is ending it; None while it is open."""
    untried: Collection[str] = ()
    """Options that errors may suggest; none once something came."""

    def __init__(
        self, reactor: IReactorTime, timeout: float = TIMEOUT, take: Take = None, clock: RunningTime | None = None
    ) -> None:
        """`timeout` is in seconds, of `clock` or of a clock of its own; 0 for no limit."""
        super().__init__(reactor, take, clock)
        self.timeout = timeout
        self._error = ""
        self._receivedThen = 0
        self._quietSince = self._lostAfter = 0.0
        self._check: IDelayedCall | None = None
        self._paused = False
        self._ended = False

    def reached(self, server: object, transport: Any) -> None:
        """Note that there is a connection, `transport`, to `server`, as messages call it, before TLS begins on it."""
        self.local, self.remote = map(describeAddress, (transport.getHost(), transport.getPeer()))
        self.name, self.address = server, self.remote
        self.handle = transport.getHandle()
        transport.bufferSize = BUFFER

    def connectionMade(self) -> None:
        """Note the addresses, unless `reached` has, and send small writes at once (TCP_NODELAY)."""
        if self.remote is None:
            self.reached(describeAddress(self.transport.getPeer()), self.transport)
        self.transport.setTcpNoDelay(True)

    def write(self, data: bytes) -> None:
        """Send `data`; the wait for the reply begins now, unless part of it was due before."""
        if self.underway and self.underway.reply.outstanding <= len(data):
            self._expect()
        self.transport.write(data)

    def end(self) -> None:
        """Half-close; what was sent before still comes back, and then the server closes."""
        self._ended = True
        self._expect()
        self.transport.loseWriteConnection()

    def close(self) -> None:
        """Close the connection; what was written before is still sent."""
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Judge `data` and pass it on."""
        self._quietSince = self.clock.seconds()
        self.untried = ()
        self.deliver(data)

    def readConnectionLost(self) -> None:
        """Close, because the server has sent its end; abort if bytes are due, which can't come any more."""
        self.ending = self.ending or (Ending.RESET if self._isReset else Ending.CLOSED)
        if self.underway and self.underway.reply.outstanding:
            self.transport.abortConnection()
        else:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Do nothing: our end was sent."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note why the connection is gone, and end the exchange under way."""
        if isinstance(reason.value, ssl.SSLError):
            self.ending, self._error = Ending.TLS_FAILED, explain(reason.value)
        self.ending = self.ending or Ending.RESET
        self._lostAfter = self.clock.seconds() - self._quietSince
        if self._check:
            self._check.cancel()
        self.lose()

    def failure(self, reply: Reply) -> PathError | None:
        """Return why the rest of `reply` won't come; None if it may, or if the reply is complete and both ends came."""
        came = f"{reply.received} of {reply.sent} bytes came back"
        if self.ending is Ending.TLS_FAILED:
            return PathError(ExitCode.TLS_FAILED, f"TLS failed: {self._error}")
        if self.ending is Ending.TIMED_OUT:
            return PathError(ExitCode.TIMED_OUT, describeTimeout(reply, self.timeout, ", then nothing for"))
        isComplete = self._ended and self.ending is Ending.CLOSED and not reply.outstanding
        if self.ending and self.closed.called and not isComplete:
            return PathError(ExitCode.SHORT, f"the server {self.ending.value} the connection, {came}")
        return None

    def hint(self, reply: Reply, code: ExitCode) -> str:
        """Return what to add to an error with `code`: the options that the server may expect; empty for none.

        A server that expects TLS or a PROXY header closes when text comes instead, but waits while there is too little
        of it to tell. One that demands a certificate, and got none, says so after the handshake of TLS 1.3.
        """
        if self.tls:
            return suggest(self.untried, CERT) if refusesCertificate(self.tls) else ""
        if code is ExitCode.TIMED_OUT and 0 < reply.sent < RECORD_HEADER:
            return suggest(self.untried, TLS)
        isPrompt = code is ExitCode.SHORT and self._lostAfter < PROMPT
        return suggest(self.untried, TLS, PROXY_PROTOCOL) if isPrompt and reply.sent else ""

    def pauseProducing(self) -> None:
        """Read nothing more for now."""
        self._paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again."""
        self._paused = False
        self._quietSince = self.clock.seconds()
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Drop the connection; what still comes is not needed."""
        self.transport.abortConnection()

    def _expect(self) -> None:
        """Begin to wait for a reply, or for the server's end."""
        self._receivedThen, self._quietSince = self._received, self.clock.seconds()
        if self.timeout and not self._check:
            self._check = self.clock.callLater(self.timeout / LOOKS, self._checkProgress)

    def _checkProgress(self) -> None:
        """Give up if nothing has come for `timeout` seconds; check no more when no reply is due."""
        self._check = None
        if not (self._ended or (self.underway and self.underway.reply.outstanding)):
            return
        received, now = self._received, self.clock.seconds()
        if received != self._receivedThen:
            self._receivedThen, self._quietSince = received, now
        if self._paused or now - self._quietSince < self.timeout:
            self._check = self.clock.callLater(self.timeout / LOOKS, self._checkProgress)
        else:
            self.ending = Ending.TIMED_OUT
            self.transport.abortConnection()

    @property
    def _isReset(self) -> bool:
        """Whether the kernel has an error instead of the server's end.

        The poll and epoll reactors take an error that they see before the end for the end; it is a reset in progress.
        """
        if self.tls:
            return False
        try:
            self.handle.recv(1, MSG_PEEK | MSG_DONTWAIT)
        except OSError:
            return True
        return False

    @property
    def _received(self) -> int:
        """Bytes that TLS has received, also of incomplete records; 0 without TLS, where `dataReceived` sees them."""
        return self.tls.receivedBelow if self.tls else 0
