"""From the addresses of a server to a connection with one of them."""

import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure

from echoup.addresses import describeAddress
from echoup.client.connect.trace import Phase, Step, Trace
from echoup.client.exitcodes import ExitCode, PathError

ATTEMPT_DELAY = 0.25
"""Seconds that an address has before the next one is tried beside it (RFC 8305, 5)."""

Way = tuple[str, Callable[[ClientFactory], Any]]
"""An address in words, and a function that begins to connect a factory to it and returns the IConnector."""


class Race:
    """Tries the addresses of a server in turn, each also while the one before is slow (RFC 8305).

    `connected` fires with the transport of the first connection that is made; the caller sets its protocol in that
    same call. It fails with a PathError when all addresses failed. Cancelling it stops all attempts.
    """

    def __init__(self, reactor: Any, server: object, trace: Trace) -> None:
        """`server` is what messages call it."""
        self.connected: Deferred[Any] = Deferred(lambda _: self._stop())
        self.tried: list[str] = []
        """The addresses that were tried, in order."""
        self._reactor = reactor
        self._server = server
        self._trace = trace
        self._ways: deque[Way] = deque()
        self._attempts: list[_Attempt] = []
        self._errors: dict[str, BaseException | None] = {}
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
            self.lose(attempt, error)
        else:
            self._delay = self._reactor.callLater(ATTEMPT_DELAY, self._next) if self._ways else None

    def win(self, attempt: "_Attempt", transport: Any) -> None:
        """Fire `connected` with the connection of `attempt`, and stop the other attempts."""
        self._trace.end(attempt.phase, transport.getHandle(), local=describeAddress(transport.getHost()))
        self._attempts.remove(attempt)
        self._stop()
        self.connected.callback(transport)

    def lose(self, attempt: "_Attempt", error: BaseException | None) -> None:
        """Note that `attempt` failed; try the next address, or, after the last, fail `connected`."""
        if attempt not in self._attempts:
            return
        self._attempts.remove(attempt)
        self._trace.end(attempt.phase, error=_explain(error))
        self._errors[attempt.address] = error
        if self._ways:
            self._cancelDelay()
            self._next()
        elif not self._attempts:
            self.connected.errback(_failure(self._server, self._errors))

    def _stop(self) -> None:
        self._cancelDelay()
        while self._attempts:
            attempt = self._attempts.pop()
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


class _Attempt(ClientFactory):
    """The attempt to connect to one address."""

    noisy = False
    protocol = _Connected
    connector: Any

    def __init__(self, race: Race, address: str, phase: Phase) -> None:
        self.race = race
        self.address = address
        self.phase = phase

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self.race.lose(self, reason.value)


def _explain(error: BaseException | None) -> str:
    if isinstance(error, ConnectTimeout):
        return "timed out"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    number = getattr(error, "osError", None)
    return os.strerror(number) if isinstance(number, int) and number > 0 else str(error).partition("\n")[0]


def _failure(server: object, errors: dict[str, BaseException | None]) -> PathError:
    """Return the error of a server all of whose addresses failed."""
    timedOut = all(isinstance(error, ConnectTimeout) for error in errors.values())
    reasons = [
        _explain(error) if address == str(server) else f"{address}: {_explain(error)}"
        for address, error in errors.items()
    ]
    code = ExitCode.TIMED_OUT if timedOut else ExitCode.UNREACHABLE
    return PathError(code, f"cannot connect to {server}: {'; '.join(reasons)}")
