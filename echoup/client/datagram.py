"""A client that sends a stream over UDP, one datagram after the other."""

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from zope.interface import implementer

from echoup.client.connectedport import ConnectedPort
from echoup.client.exitcodes import ExitCode, PathError
from echoup.upper import upper
from echoup.verdict import Reply

PIECE = 1200
"""Bytes in one datagram: with its headers it fits into the packets that every path takes (RFC 8200, 5: 1280)."""

FORGOTTEN = 2.0
"""Seconds after which a service has forgotten what it answered to a port; ours remembers it for one."""


@implementer(IPushProducer)
class DatagramClient(ConnectedPort):
    """Sends bytes in datagrams, each when the one before was answered, and judges what comes back as one stream.

    UDP doesn't tell of what it loses: a datagram that isn't answered for `timeout` seconds is the end of it all. It
    may deliver twice: an answer that isn't the one that is due, but the one before again, is passed over.

    A datagram without a lowercase letter could be an answer. A service that keeps from talking with its own echo, as
    ours does, has to leave it alone when the same comes again from the same port: so each has a port of its own.
    """

    def __init__(self, reactor: Any, server: tuple[str, int], timeout: float, take: Callable[[bytes], None]) -> None:
        """`server` is its IP address and port; `take` is called with each answer, after it was judged."""
        self.reply = Reply()
        self.closed: Deferred[None] = Deferred()
        """Fires when nothing more is going to come."""
        self._reactor = reactor
        self._server = server
        self._timeout = timeout
        self._take = take
        self._free: dict[int, float] = {}  # when a port that we had may be ours again
        self._pieces: deque[bytes] = deque()
        self._due: bytes | None = None  # the answer to the piece that is on its way
        self._before: bytes | None = None  # the answer to the one before
        self._count = 0
        self._paused = False
        self._ended = False
        self._patience: IDelayedCall | None = None
        self._error: PathError | None = None

    def renew(self) -> None:
        """Take a new port of ours, and let go of the one before; raise OSError where that is impossible."""
        if self.port:
            self.port.stopListening()
        now = self._reactor.seconds()
        while True:
            self.open(self._reactor, self._server)
            number = self.port.getHost().port
            if now >= self._free.get(number, now):
                break
            self.port.stopListening()
        self._free[number] = now + FORGOTTEN

    def send(self, data: bytes) -> None:
        """Send `data`, in as many datagrams as it takes."""
        self.reply.send(data)
        self._pieces.extend(data[start : start + PIECE] for start in range(0, len(data), PIECE))
        self._sendNext()

    def end(self) -> None:
        """Close as soon as everything is answered: there is no end that UDP could carry."""
        self._ended = True
        self._sendNext()

    def close(self) -> None:
        """Stop waiting for answers."""
        if not self.closed.called:
            self._stopWaiting()
            self.closed.callback(None)
            super().close()

    def check(self, server: object) -> None:
        """Raise PathError, naming `server`, unless all that was sent came back as it should."""
        if self.reply.wrongAt is not None:
            raise PathError(ExitCode.WRONG, f"{server}: {self.reply}")
        if self._error:
            raise PathError(self._error.code, f"{server}: {self._error}")

    def datagramReceived(self, data: bytes, addr: object) -> None:
        """Judge an answer and pass it on."""
        if self.closed.called or (data == self._before and data != self._due):
            return
        due, self._due, self._before = self._due, None, data
        self._stopWaiting()
        self.reply.receive(data)
        self._take(data)
        if due is not None and len(data) < len(due):
            self._fail(ExitCode.SHORT, f"the answer to datagram {self._count} has {len(data)} of {len(due)} bytes")
        else:
            self._sendNext()

    def refused(self, why: str) -> None:
        """Nobody listens there."""
        self._fail(ExitCode.UNREACHABLE, why)

    def pauseProducing(self) -> None:
        """Send nothing more for now: what came is not yet taken."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Send again."""
        self._paused = False
        self._sendNext()

    def stopProducing(self) -> None:
        """Nobody takes what comes any more: stop."""
        self.close()

    def _sendNext(self) -> None:
        if self._due is not None or self._paused or self.closed.called:
            return
        if self._pieces:
            piece = self._pieces.popleft()
            self._due = upper(piece)
            self._count += 1
            self._patience = self._reactor.callLater(self._timeout, self._giveUp)
            try:
                if self._due == piece and self._count > 1:
                    self.renew()
                self.port.write(piece)
            except OSError as error:
                self._fail(ExitCode.UNREACHABLE, error.strerror or str(error))
        elif self._ended:
            self.close()

    def _giveUp(self) -> None:
        self._patience = None
        self._fail(
            ExitCode.TIMED_OUT,
            f"no answer to datagram {self._count} for {self._timeout:g} s: it was lost, or the answer was, or nobody "
            "answers there; UDP doesn't tell which",
        )

    def _fail(self, code: ExitCode, why: str) -> None:
        self._error = PathError(code, why)
        self.close()

    def _stopWaiting(self) -> None:
        if self._patience:
            self._patience.cancel()
            self._patience = None
