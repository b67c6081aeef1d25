"""A connection to an echo service: it sends, counts and judges."""

import ssl
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
    ISystemHandle,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from echoup.client.exitcodes import ExitCode, PathError
from echoup.tls.context import explain
from echoup.verdict import Reply


class IClientTransport(ITCPTransport, IPushProducer, ISystemHandle):
    """What `EchoUpClient` needs of its transport; Twisted's TCP and Unix transports provide all of it."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class EchoUpClient(Protocol):
    """The client's end of a connection.

    It gives up when a reply is due and nothing of it comes for `timeout` seconds, not even a part of a TLS record,
    unless nothing is read because whoever takes the bytes has paused this producer.
    """

    transport: IClientTransport

    timedOut = False
    """Did the connection end because nothing came in time?"""

    serverEnded = False
    """Did the server send its end, rather than a reset or nothing?"""

    _tlsError: ssl.SSLError | None = None

    def __init__(self, clock: IReactorTime, timeout: float, take: Callable[[bytes], None]) -> None:
        """`take` is called with whatever comes back, as it comes and after it was judged."""
        self.reply = Reply()
        self.closed: Deferred[None] = Deferred()
        """Fires when the connection is gone."""
        self._take = take
        self._timeout = timeout
        self._paused = False
        self._ended = False
        self._quietSince = 0.0
        self._belowThen = 0  # what TLS had received when we last looked
        self._watching = LoopingCall(self._watch)
        self._watching.clock = clock
        self._clock = clock

    def connectionMade(self) -> None:
        """Start watching over the replies."""
        self.transport.setTcpNoDelay(True)
        self._quietSince = self._clock.seconds()
        self._watching.start(self._timeout / 10, now=False)

    def send(self, data: bytes) -> None:
        """Send `data`."""
        if not self.reply.outstanding:
            self._quietSince = self._clock.seconds()
        self.reply.send(data)
        self.transport.write(data)

    def end(self) -> None:
        """Send our end; what was sent before it still comes back, and then the server's end."""
        self._ended = True
        self._quietSince = self._clock.seconds()
        self.transport.loseWriteConnection()

    def close(self) -> None:
        """Close the connection: there is nothing more to say."""
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Judge `data` and pass it on."""
        self._quietSince = self._clock.seconds()
        self.reply.receive(data)
        self._take(data)

    def readConnectionLost(self) -> None:
        """The server has sent its last byte; whatever we still had for it is pointless."""
        self.serverEnded = True
        if self.reply.outstanding:
            self.transport.abortConnection()
        else:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our end was sent."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell that the connection is gone."""
        if isinstance(reason.value, ssl.SSLError):
            self._tlsError = reason.value
        self._watching.stop()
        self.closed.callback(None)

    def check(self, server: object) -> None:
        """Raise PathError, naming `server`, unless all that was sent came back as it should.

        Once the connection is gone, both sides must have ended it too.
        """
        reply = self.reply
        if reply.wrongAt is not None:
            raise PathError(ExitCode.WRONG, f"{server}: {reply}")
        if self._tlsError:
            raise PathError(ExitCode.TLS_FAILED, f"{server}: TLS failed: {explain(self._tlsError)}")
        if self.timedOut:
            missing = "no end of the reply" if not reply.outstanding else "nothing more"
            why = f"timed out: {missing} for {self._timeout:g} s"
            raise PathError(ExitCode.TIMED_OUT, f"{server}: {why}, {reply.received} of {reply.sent} bytes came back")
        if self.closed.called and not (self._ended and self.serverEnded and not reply.outstanding):
            how = "closed" if self.serverEnded else "reset"
            raise PathError(
                ExitCode.SHORT,
                f"{server}: the server {how} the connection, {reply.received} of {reply.sent} bytes came back",
            )

    def pauseProducing(self) -> None:
        """Read nothing more for now: what came is not yet taken."""
        self._paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again."""
        self._paused = False
        self._quietSince = self._clock.seconds()
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Nobody takes what comes any more: end at once."""
        self.transport.abortConnection()

    def _watch(self) -> None:
        below = getattr(self.transport, "receivedBelow", 0)
        if below != self._belowThen:
            self._belowThen, self._quietSince = below, self._clock.seconds()
        due = self.reply.outstanding or self._ended
        if due and not self._paused and self._clock.seconds() - self._quietSince >= self._timeout:
            self.timedOut = True
            self.transport.abortConnection()
