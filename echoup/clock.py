"""A clock for a reactor that setting the time doesn't move."""

from time import monotonic

from twisted.internet.base import ReactorBase


def useMonotonicClock(reactor: ReactorBase) -> None:
    """Let every timer of `reactor` run on seconds since boot instead of the time of day.

    Twisted's timers follow the wall clock (twisted#2424): when it is stepped forward all of them fire at once, and when
    it is stepped back none fires until it has caught up. `reactor.seconds` is the only place where the timers ask for
    the time. Call this before anything is scheduled.
    """
    reactor.seconds = monotonic
