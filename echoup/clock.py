"""The clocks of a reactor: a monotonic one for its timers, and one for deadlines that leaves pauses out."""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from twisted.internet.base import DelayedCall, ReactorBase
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

BEAT = 0.125
"""Seconds between two looks at the time while a call is due later."""

LONGEST = 2 * BEAT
"""The most seconds between two looks at the time that count; a longer gap is a pause of the process."""

LOOKS = 4
"""Turns of the reactor between the time of a call and the call. On most reactors one turn reads what has arrived; on
uvloop a connection reaches its protocol after three (`test_whatHasComeIsTakenFirst`), and the fourth is a reserve."""


def useMonotonicClock(reactor: ReactorBase) -> None:
    """Run every timer of `reactor` by the monotonic clock. Call this before anything is scheduled.

    Twisted's timers follow the wall clock (twisted#2424): when it is stepped forward they fire too early, and when it
    is stepped back none fires until it has caught up. They get the time from `reactor.seconds` only.
    """
    reactor.seconds = monotonic


@implementer(IReactorTime)
class RunningTime:
    """A clock for deadlines: while a call is due later, it counts the seconds in which this process ran.

    A process that was stopped, starved or blocked finds its timers due before it has read what arrived meanwhile: a
    reactor calls them before it polls, and a poll that was interrupted returns no events (PEP 475). This clock counts
    at most LONGEST of a pause, so that no peer loses time in which it couldn't be heard, and makes a call only after
    the reactor has read what has arrived.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self.pauses = 0
        """The number of pauses: gaps of more than LONGEST between two looks at the time while a call was due later."""
        self._reactor = reactor
        self._lookedAt = reactor.seconds()
        self._leftOut = 0.0
        self._timers: dict[DelayedCall, IDelayedCall] = {}
        self._nextBeat: IDelayedCall | None = None

    def seconds(self) -> float:
        """See `IReactorTime`; without a pause this is the reactor's time."""
        now = self._reactor.seconds()
        passed = now - self._lookedAt
        if passed > LONGEST and self._timers:
            self.pauses += 1
            self._leftOut += passed - LONGEST
        self._lookedAt = now
        return now - self._leftOut

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kw: object) -> DelayedCall:  # noqa: A002
        """See `IReactorTime`; what has arrived by then is read first."""
        call = DelayedCall(self.seconds() + delay, callable, args, kw, self._cancel, self._reset, self.seconds)
        self._timers[call] = self._reactor.callLater(delay, self._wait, call)
        if not self._nextBeat:
            self._beat()
        return call

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """See `IReactorTime`."""
        return list(self._timers)

    def _beat(self) -> None:
        """Look at the time, so that a long wait of the reactor isn't taken for a pause."""
        self.seconds()
        self._nextBeat = self._reactor.callLater(BEAT, self._beat)

    def _wait(self, call: DelayedCall, turns: int = LOOKS) -> None:
        left = call.getTime() - self.seconds()  # in each turn, because a long turn is not a pause
        if left > 0:
            self._timers[call] = self._reactor.callLater(left, self._wait, call)
        elif turns:
            self._timers[call] = self._reactor.callLater(0, self._wait, call, turns - 1)
        else:
            self._remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)

    def _cancel(self, call: DelayedCall) -> None:
        self._remove(call).cancel()

    def _remove(self, call: DelayedCall) -> IDelayedCall:
        self.seconds()  # notices a pause, while there is still a call that was due later
        timer = self._timers.pop(call)
        if self._nextBeat and not self._timers:
            self._nextBeat.cancel()
            self._nextBeat = None
        return timer

    def _reset(self, call: DelayedCall) -> None:
        self._timers[call].cancel()
        self._wait(call)
