"""A main service that serves nothing."""

from collections.abc import Iterable

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from echoup.server.counts import Counts
from echoup.server.overview import Check, IMainService, Overview, Slice
from echoup.server.settings import Limits, Plan


@implementer(IMainService)
class IdleService(Service):
    """Records what it is asked to do; its stop lasts until `stopped` fires."""

    def __init__(self, plan: Plan | None = None) -> None:
        self.plan = plan or Plan(listeners=(), limits=Limits())
        self.events: list[str] = []
        self.stopped: Deferred[None] = Deferred()
        self.conditions: list[Check] = []

    def privilegedStartService(self) -> None:
        """Record it."""
        self.events.append("listens")

    def startService(self) -> None:
        """Record it."""
        super().startService()
        self.events.append("starts")

    def stopService(self) -> "Deferred[None]":
        """Record it, and return a Deferred."""
        super().stopService()
        self.events.append("stops")
        return self.stopped

    def reload(self) -> None:
        """Record it."""
        self.events.append("reloads")

    def abortDrain(self) -> None:
        """Record it."""
        self.events.append("aborts")

    def checks(self) -> Iterable[Check]:
        """Return the conditions that the test sets."""
        return self.conditions

    def overview(self) -> "Deferred[Overview]":
        """Return that nothing happens."""
        return succeed(Overview(counts=Counts([]), listeners=(), datagramListeners=()))

    def connectionsAfter(self, cursor: str, peer: str) -> "Deferred[Slice]":
        """Return no connection."""
        return succeed(([], "", 0))
