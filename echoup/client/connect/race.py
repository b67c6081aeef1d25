"""From the addresses of a server to a connection with one of them."""

from collections import deque
from collections.abc import Callable, Iterable
from errno import EAGAIN, ECONNRESET, EPIPE
from socket import SO_ERROR, SOL_SOCKET
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from echoup.addresses import describeAddress
from echoup.client.connect.systemerror import explainError, worst
from echoup.client.connect.trace import Phase, Step, Trace
from echoup.client.exitcodes import ExitCode, PathError
from echoup.clock import RunningTime

ATTEMPT_DELAY = 0.25
"""Seconds after which the next address is tried in parallel (RFC 8305, 5)."""

RESET = (ECONNRESET, EPIPE)
"""The errors of a connection that was made, and then reset; a reset before that is ECONNREFUSED.

See tcp_reset in linux/net/ipv4/tcp_input.c. EPIPE means that the other end had been closed before.
"""

Way = tuple[str, Callable[[ClientFactory], Any]]
"""An address in words, and a function that begins to connect a factory to it and returns the IConnector."""

Reason = tuple[ExitCode, str]
"""Why an address can't be connected to: the exit code if there is no other address, and the words."""


class Race:
    """Tries the addresses of a server in turn, each also while the one before is slow (RFC 8305).

    `connected` fires with the transport of the first connection that is made; the caller sets its protocol in that
    same call. It fails with a PathError when all addresses failed, or when the first connection was reset before it was
    seen. Cancelling it stops all attempts.
    """

    def __init__(self, clock: RunningTime, server: object, trace: Trace, patience: float = 0) -> None:
        """`server` is what messages call it; each address has `patience` seconds to answer, or, with 0, any time."""
        self.connected: Deferred[Any] = Deferred(lambda _: self._stop())
        self.tried: list[str] = []
        """The addresses that were tried, in order."""
        self._clock, self._patience = clock, patience
        self._server = server
        self._trace = trace
        self._ways: deque[Way] = deque()
        self._attempts: list[_Attempt] = []
        self._reasons: dict[str, Reason] = {}
        self._delay: IDelayedCall | None = None

    def start(self, ways: Iterable[Way]) -> None:
        """Try one way after the other."""
        self._ways.extend(ways)
        self._next()

    def _next(self) -> None:
        address, connect = self._ways.popleft()
        self.tried.append(address)
        attempt = _Attempt(self, address, self._trace.begin(Step.CONNECT, address=address))
        self._attempts.append(attempt)
        try:
            attempt.connector = connect(attempt)
        except OSError as error:  # of an interface that doesn't exist, or without a free descriptor
            self.lose(attempt, _explain(error))
        else:
            # Until there is a protocol, the attempt is told what a protocol would be.
            attempt.connector.transport.protocol = attempt
            if self._patience:
                attempt.limit = self._clock.callLater(self._patience, self._giveUp, attempt)
            self._delay = self._clock.callLater(ATTEMPT_DELAY, self._next) if self._ways else None

    def win(self, attempt: "_Attempt", transport: Any) -> None:
        """Fire `connected` with the connection of `attempt`, and stop the other attempts."""
        self._trace.end(attempt.phase, transport.getHandle(), local=describeAddress(transport.getHost()))
        self._remove(attempt)
        self._stop()
        self.connected.callback(transport)

    def reset(self, attempt: "_Attempt") -> None:
        """Fail `connected`, because the server reset the connection of `attempt`, and stop the other attempts.

        No other address is tried, as when a connection is reset a moment after it was seen.
        """
        why = "the server reset the connection before it was used"
        self._trace.end(attempt.phase, error=why)
        self._remove(attempt)
        self._stop()
        self.connected.errback(PathError(ExitCode.SHORT, why, self._server, attempt.address))

    def lose(self, attempt: "_Attempt", reason: Reason) -> None:
        """Note that `attempt` failed; try the next address, or, after the last, fail `connected`."""
        if attempt not in self._attempts:
            return
        self._remove(attempt)
        self._trace.end(attempt.phase, error=reason[1])
        self._reasons[attempt.address] = reason
        if self._ways:
            self._cancelDelay()
            self._next()
        elif not self._attempts:
            self.connected.errback(_failure(self._server, self._reasons))

    def _giveUp(self, attempt: "_Attempt") -> None:
        self.lose(attempt, _explain(ConnectTimeout()))
        attempt.connector.stopConnecting()

    def _remove(self, attempt: "_Attempt") -> None:
        self._attempts.remove(attempt)
        if attempt.limit and attempt.limit.active():
            attempt.limit.cancel()

    def _stop(self) -> None:
        self._cancelDelay()
        for attempt in reversed(self._attempts.copy()):
            self._remove(attempt)
            handle = getattr(attempt.connector.transport, "socket", None)  # None if there was no free descriptor
            self._trace.abandon(attempt.phase, handle)
            attempt.connector.stopConnecting()

    def _cancelDelay(self) -> None:
        if self._delay and self._delay.active():
            self._delay.cancel()


class _Connected(Protocol):
    """Passes on the transport of a connection when it is made."""

    factory: Any  # the _Attempt

    def connectionMade(self) -> None:
        self.factory.race.win(self.factory, self.transport)


@implementer(IHalfCloseableProtocol)
class _Attempt(ClientFactory):
    """The attempt to connect to one address."""

    noisy = False
    protocol = _Connected
    connector: Any
    limit: IDelayedCall | None = None
    """Ends the attempt."""
    _error: OSError | None = None

    def __init__(self, race: Race, address: str, phase: Phase) -> None:
        self.race = race
        self.address = address
        self.phase = phase

    def readConnectionLost(self) -> None:
        """Give up, for the reason that the kernel has.

        The poll and epoll reactors take an ICMP error, or a Unix socket's full queue, for the peer's end. Without a
        protocol to tell, the transport closes the socket before anything has read the reason, and fails with the words
        "Connection was closed cleanly" (`twisted.internet.tcp.Connection.readConnectionLost`).
        """
        number = self.connector.transport.getHandle().getsockopt(SOL_SOCKET, SO_ERROR)
        self._error = OSError(number or EAGAIN, "")
        self.connector.stopConnecting()

    def writeConnectionLost(self) -> None:
        """Do nothing: nothing was written."""

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        error = self._error or reason.value
        if isinstance(error, ConnectError) and error.osError:
            error = OSError(error.osError, "")
        if isinstance(error, OSError) and error.errno in RESET:
            self.race.reset(self)
        else:
            self.race.lose(self, _explain(error, getattr(connector.getDestination(), "host", "")))


def _explain(error: BaseException | None, host: str = "") -> Reason:
    """Return why `host`, if that is an IP address, can't be connected to."""
    if isinstance(error, ConnectTimeout):
        return ExitCode.TIMED_OUT, "timed out"
    # The text of another error is not for users: that of a ConnectError may be the representation of a Failure.
    return explainError(error, host) if isinstance(error, OSError) else (ExitCode.UNREACHABLE, type(error).__name__)


def _failure(server: object, reasons: dict[str, Reason]) -> PathError:
    """Return the error of a server all of whose addresses failed."""
    code = worst({code for code, _ in reasons.values()})
    (first, (_, reason)), *others = reasons.items()
    if others:
        reason = "; ".join(f"{address}: {why}" for address, (_, why) in reasons.items())
    return PathError(code, reason, server, None if others else first, "cannot connect to")
