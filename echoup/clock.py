"""A monotonic clock for a reactor."""

from time import monotonic

from twisted.internet.base import ReactorBase


def useMonotonicClock(reactor: ReactorBase) -> None:
    """Run every timer of `reactor` by the monotonic clock. Call this before anything is scheduled.

    Twisted's timers follow the wall clock (twisted#2424): when it is stepped forward they fire too early, and when it
    is stepped back none fires until it has caught up. They get the time from `reactor.seconds` only.
    """
    reactor.seconds = monotonic
