"""A client that sends a stream over UDP, one datagram after the other."""

from collections import deque
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer
from zope.interface import implementer

from echoup.client.connectedport import Address, Attempt, ConnectedPort
from echoup.client.exchange import ExchangeClient, Take
from echoup.client.exitcodes import ExitCode, PathError
from echoup.upper import upper
from echoup.verdict import Reply

PIECE = 1200
"""Bytes in one datagram: with its headers it fits into the packets that every path takes (RFC 8200, 5: 1280)."""

LOST = "the datagram or its reply was lost, or nothing answers there; UDP cannot tell which"
"""Why no reply may have come."""

FORGOTTEN = 2.0
"""Seconds after which a service has forgotten its replies to a port; ours remembers them for one."""


@implementer(IPushProducer)
class DatagramClient(ExchangeClient, ConnectedPort):
    """Sends bytes in datagrams, each when the one before was answered, and judges what comes back as one stream.

    UDP doesn't report losses: the client gives up when a datagram isn't answered for `timeout` seconds. UDP may deliver
    twice: the answer to the datagram before, once more, is ignored unless the one that is due has the same bytes.

    A datagram without a lowercase letter could be an answer. A service that avoids loops with its own echo, as ours
    does, doesn't answer it when the same bytes come again from the same port: so each such datagram has a new port.
    """

    def __init__(self, reactor: Any, timeout: float, take: Take) -> None:
        super().__init__(reactor, take)
        self._timeout = timeout
        self._free: dict[int, float] = {}  # by number, when a port that we had may be used again
        self._pieces: deque[bytes] = deque()
        self._due: bytes | None = None  # the answer to the piece that is on its way
        self._before: bytes | None = None  # the answer to the one before
        self._count = 0
        self._paused = False
        self._ended = False
        self._giveUpCall: IDelayedCall | None = None
        self._error: PathError | None = None

    def connectTo(self, reactor: Any, address: Address) -> Attempt:
        """Return an attempt from a port that the server doesn't remember; raise OSError if that fails."""
        now = reactor.seconds()
        attempt = super().connectTo(reactor, address)
        while self._free.get(number := attempt.port.getHost().port, now) > now:
            attempt.close()
            attempt = super().connectTo(reactor, address)
        self._free[number] = now + FORGOTTEN
        return attempt

    def write(self, data: bytes) -> None:
        """Send `data`, in as many datagrams as it takes."""
        self._pieces.extend(data[start : start + PIECE] for start in range(0, len(data), PIECE))
        self._sendNext()

    def end(self) -> None:
        """Close when everything is answered: UDP can't carry an end."""
        self._ended = True
        self._sendNext()

    def close(self) -> None:
        """Close the port; answers that are due aren't waited for."""
        if not self.closed.called:
            self._stopWaiting()
            super().close()
            self.lose()

    def failure(self, reply: Reply) -> PathError | None:
        """Return why the client gave up, if it did."""
        return self._error

    def datagramReceived(self, data: bytes, addr: Address) -> None:
        """Judge an answer and pass it on."""
        if self.closed.called or (data == self._before and data != self._due):
            return
        due, self._due, self._before = self._due, None, data
        self._stopWaiting()
        self.deliver(data)
        if due is not None and len(data) < len(due):
            self._fail(ExitCode.SHORT, f"the reply to datagram {self._count} has {len(data)} of {len(due)} bytes")
        else:
            self._sendNext()

    def refused(self, error: PathError) -> None:
        """Give up: datagrams don't reach a process there."""
        self._error = error
        self.close()

    def pauseProducing(self) -> None:
        """Send nothing more for now: what came is not yet taken."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Send again."""
        self._paused = False
        self._sendNext()

    def stopProducing(self) -> None:
        """Close at once; what still comes is not needed."""
        self.close()

    def _sendNext(self) -> None:
        if self._due is not None or self._paused or self.closed.called:
            return
        if self._pieces:
            piece = self._pieces.popleft()
            self._due = upper(piece)
            self._count += 1
            why = f"no reply to datagram {self._count} within {self._timeout:g} s: {LOST}"
            self._giveUpCall = self.clock.callLater(self._timeout, self._fail, ExitCode.TIMED_OUT, why)
            try:
                if self._due == piece and self.attempt and self._count > 1:
                    self.open(self.reactor, self.name, [self.attempt.address])
                self.sendDatagram(piece)
            except PathError as error:
                self.refused(error)
        elif self._ended:
            self.close()

    def _fail(self, code: ExitCode, why: str) -> None:
        self._error = PathError(code, why)
        self.close()

    def _stopWaiting(self) -> None:
        if self._giveUpCall and self._giveUpCall.active():
            self._giveUpCall.cancel()
