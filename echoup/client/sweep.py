"""One timer for all connections on which a reply is due."""

from typing import Protocol
from weakref import WeakValueDictionary

from twisted.internet.interfaces import IDelayedCall, IReactorTime

LOOKS = 10
"""How often a client is looked at within its timeout; it is given up at most this part of it late."""

_sweeps: "WeakValueDictionary[IReactorTime, Sweep]" = WeakValueDictionary()


class Watched(Protocol):
    """What a sweep looks after."""

    @property
    def timeout(self) -> float:
        """Seconds after which a client gives up."""

    def checkProgress(self) -> None:
        """Give up if nothing has come for too long."""


class Sweep:
    """Lets every client that waits for a reply check its progress; its timer runs only while there is one."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._watched: set[Watched] = set()
        self._next: IDelayedCall | None = None

    @staticmethod
    def of(reactor: IReactorTime) -> "Sweep":
        """Return the sweep that all clients on `reactor` share."""
        sweep = _sweeps.get(reactor)
        if sweep is None:
            sweep = _sweeps[reactor] = Sweep(reactor)
        return sweep

    def __contains__(self, client: Watched) -> bool:
        return client in self._watched

    def join(self, client: Watched) -> None:
        """Look after `client` from now on."""
        self._watched.add(client)
        self._lookWithin(client.timeout / LOOKS)

    def leave(self, client: Watched) -> None:
        """Look after `client` no more."""
        self._watched.discard(client)
        if self._next and not self._watched:
            self._next.cancel()
            self._next = None

    def _lookWithin(self, seconds: float) -> None:
        if not self._next:
            self._next = self._reactor.callLater(seconds, self._look)
        elif self._next.getTime() > self._reactor.seconds() + seconds:
            self._next.reset(seconds)

    def _look(self) -> None:
        self._next = None
        for client in list(self._watched):
            client.checkProgress()
        if self._watched:
            self._lookWithin(min(client.timeout for client in self._watched) / LOOKS)
