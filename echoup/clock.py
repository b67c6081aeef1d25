"""A reactor's clock that nobody can set."""

from time import monotonic

from twisted.internet.base import ReactorBase


def useMonotonicClock(reactor: ReactorBase) -> None:
    """Let every timer of `reactor` run on seconds since boot instead of the time of day.

    Twisted's timers follow the wall clock (#2424): when that is stepped forward all of them fire at
    once, and when it is stepped back none fires until it has caught up. `reactor.seconds` is the
    one place where the timers ask for the time. Call it before anything is scheduled.
    """
    reactor.seconds = monotonic
