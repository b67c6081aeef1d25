"""One timer for all connections on which a reply is due."""

from collections.abc import Callable
from weakref import WeakValueDictionary

from twisted.internet.interfaces import IDelayedCall, IReactorTime

LOOKS = 10
"""How often progress is checked within a timeout; a connection is given up at most this part of it late."""

Check = Callable[[], None]
"""What gives up a connection if nothing has come for too long."""

_sweeps: "WeakValueDictionary[IReactorTime, Sweep]" = WeakValueDictionary()


class Sweep:
    """Checks the progress of every connection on which a reply is due; its timer runs only while there is one."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._timeouts: dict[Check, float] = {}
        self._next: IDelayedCall | None = None

    @staticmethod
    def of(reactor: IReactorTime) -> "Sweep":
        """Return the sweep of all connections on `reactor`."""
        sweep = _sweeps.get(reactor)
        if sweep is None:
            sweep = _sweeps[reactor] = Sweep(reactor)
        return sweep

    def join(self, check: Check, timeout: float) -> None:
        """Call `check` LOOKS times in `timeout` seconds from now on."""
        self._timeouts[check] = timeout
        self._lookWithin(timeout / LOOKS)

    def leave(self, check: Check) -> None:
        """Call `check` no more."""
        self._timeouts.pop(check, None)
        if self._next and not self._timeouts:
            self._next.cancel()
            self._next = None

    def _lookWithin(self, seconds: float) -> None:
        if not self._next:
            self._next = self._reactor.callLater(seconds, self._look)
        elif self._next.getTime() > self._reactor.seconds() + seconds:
            self._next.reset(seconds)

    def _look(self) -> None:
        self._next = None
        for check in list(self._timeouts):
            check()
        if self._timeouts:
            self._lookWithin(min(self._timeouts.values()) / LOOKS)
