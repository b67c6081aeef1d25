"""From a name to a connection, with a trace of every step."""

import os
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure

from echoup.addresses import describeAddress
from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.connect.trace import Phase, Step, Trace
from echoup.client.exitcodes import ExitCode, PathError

ATTEMPT_DELAY = 0.25
"""Seconds that an address has before the next one is tried beside it (RFC 8305, 5)."""

Way = tuple[str, Callable[[ClientFactory], Any]]
"""An address in words, and what begins to connect to it for a factory and returns the IConnector."""


class Race:
    """Tries the addresses of a server in turn, and the next one also when the one before takes its time (RFC 8305).

    `connected` fires with the transport of the first connection that is made, whose protocol is to be set at once; it
    fails with a PathError when there is none. To cancel it stops all attempts.
    """

    def __init__(self, reactor: Any, server: object, trace: Trace) -> None:
        """`server` is what messages call it."""
        self.connected: Deferred[Any] = Deferred(lambda _: self._stop())
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
        attempt = _Attempt(self, self._trace.begin(Step.CONNECT, address=address))
        self._attempts.append(attempt)
        try:
            attempt.connector = connect(attempt)
        except OSError as error:  # of an interface that isn't there, or for want of descriptors
            self.lose(attempt, error)
        else:
            self._delay = self._reactor.callLater(ATTEMPT_DELAY, self._next) if self._ways else None

    def win(self, attempt: "_Attempt", transport: Any) -> None:
        """The connection of `attempt` is made: the others are not needed any more."""
        self._trace.local, self._trace.remote = map(describeAddress, (transport.getHost(), transport.getPeer()))
        self._trace.end(attempt.phase, transport.getHandle(), local=self._trace.local)
        self._attempts.remove(attempt)
        self._stop()
        self.connected.callback(transport)

    def lose(self, attempt: "_Attempt", error: BaseException | None) -> None:
        """Nothing came of `attempt`."""
        if attempt not in self._attempts:
            return
        self._attempts.remove(attempt)
        self._trace.end(attempt.phase, error=_explain(error))
        self._errors[attempt.phase.details["address"]] = error
        if self._ways:
            self._cancelDelay()
            self._next()
        elif not self._attempts:
            self.connected.errback(_failure(self._server, self._errors))

    def _stop(self) -> None:
        self._cancelDelay()
        while self._attempts:
            attempt = self._attempts.pop()
            attempt.phase.tcp = attempt.tcp
            attempt.connector.stopConnecting()

    def _cancelDelay(self) -> None:
        if self._delay and self._delay.active():
            self._delay.cancel()


class _Attempt(ClientFactory):
    """One address that is tried."""

    noisy = False
    connector: Any

    def __init__(self, race: Race, phase: Phase) -> None:
        self._race = race
        self.phase = phase

    @property
    def tcp(self) -> TCPInfo | None:
        """The connection as it is now, as long as it's not made."""
        return TCPInfo.of(getattr(self.connector.transport, "socket", None))  # there may be no descriptors left

    def buildProtocol(self, addr: object) -> Protocol:
        return _Arrival(partial(self._race.win, self))

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self._race.lose(self, reason.value)


class _Arrival(Protocol):
    """Tells that a connection is made."""

    def __init__(self, arrive: Callable[[Any], None]) -> None:
        self._arrive = arrive

    def connectionMade(self) -> None:
        self._arrive(self.transport)


def _explain(error: BaseException | None) -> str:
    if isinstance(error, ConnectTimeout):
        return "timed out"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    number = getattr(error, "osError", None)
    return os.strerror(number) if isinstance(number, int) and number > 0 else str(error).partition("\n")[0]


def _failure(server: object, errors: dict[str, BaseException | None]) -> PathError:
    """Return what it is called when all addresses of a server fail."""
    timedOut = all(isinstance(error, ConnectTimeout) for error in errors.values())
    reasons = [
        _explain(error) if address == str(server) else f"{address}: {_explain(error)}"
        for address, error in errors.items()
    ]
    code = ExitCode.TIMED_OUT if timedOut else ExitCode.UNREACHABLE
    return PathError(code, f"cannot connect to {server}: {'; '.join(reasons)}")
