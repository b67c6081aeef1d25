"""The record of one connection, from its accept to its end."""

from dataclasses import dataclass
from enum import Enum, auto

from twisted.internet.interfaces import IAddress
from zope.interface import Attribute, Interface

from echoup.server.counts import ListenerCounts, Total
from echoup.server.platform.twistedports import unsentBy
from echoup.server.reasons import EndReason
from echoup.server.settings import Limits


class Admission(Enum):
    """The gate's answer about a connection."""

    ADMITTED = auto()
    WAITING = auto()  # it is not read, and no timeout runs
    REFUSED = auto()


# In Python 3.11 a look-up in the class costs 0.1 us.
ADMITTED, WAITING, REFUSED = Admission
_RECEIVED, _SENT = Total.RECEIVED, Total.SENT


class IConnectionProtocol(Interface):
    """The protocol that serves a connection: before its stream, or as its stream."""

    transport = Attribute("The IStreamTransport below it.")

    def begin() -> None:
        """Serve the connection, which is admitted, from now on."""

    def checkProgress(now: float, limits: Limits, idleReason: EndReason) -> None:
        """End the connection if it had no traffic for longer than `limits` allow; `now` is in the clock's seconds."""

    def finish(reason: EndReason) -> None:
        """End the connection without losing a byte of what was received."""

    def abort(reason: EndReason) -> None:
        """Drop the connection, and the data that waits for the peer."""


@dataclass(frozen=True, slots=True)
class Pass:
    """The place that a connection holds while it is inside the gate."""

    peer: str | None = None
    """The address whose limit it also counts for."""


@dataclass(eq=False, slots=True)
class Connection:
    """One connection. The protocol that serves it holds this record, and hands it on to the next one."""

    id: int
    listener: str
    """The description of the listener that accepted it."""
    counts: ListenerCounts
    """What is counted of all connections of that listener."""
    peer: IAddress
    """The address of the client: behind a proxy, the one that the PROXY header names."""
    source: str | None
    """The IP address whose limit it counts for; None while a proxy has yet to name it, and on a Unix socket."""
    startedAt: float
    """When it was accepted or admitted, or its stream began, whichever was last, in seconds of the reactor's clock."""
    received: int = 0
    """Bytes of the stream that came in; each of them was sent back, or waits to be."""
    reason: EndReason | None = None
    """Why it ended or is ending; None while it is open."""
    details: tuple[tuple[str, str], ...] = ()
    """Further fields of the log line: names, and values of one word each."""
    protocol: IConnectionProtocol | None = None
    """The protocol that serves it; None before and after."""
    admission: Admission | None = None
    """The gate's last answer; None before the first."""
    held: Pass | None = None
    """The place that the gate counts for it."""
    isServed: bool = False
    """Whether its stream has begun."""
    countedReceived: int = 0
    """Bytes of the stream that are in the counts already."""
    countedSent: int = 0

    def note(self, **fields: str) -> None:
        """Add `fields` to the details."""
        self.details += tuple(fields.items())

    def countTraffic(self) -> None:
        """Add to the counts what was received and sent since the last call."""
        received = self.received
        if received == self.countedSent:
            return
        assert self.protocol
        sent = max(received - unsentBy(self.protocol.transport), self.countedSent)
        self.counts.add(_RECEIVED, received - self.countedReceived)
        self.counts.add(_SENT, sent - self.countedSent)
        self.countedReceived, self.countedSent = received, sent

    def settle(self, answer: Admission) -> None:
        """Act on the gate's answer: abort the connection, pause it while it waits, or resume and serve it."""
        wasWaiting = self.admission is WAITING
        self.admission = answer
        assert self.protocol
        if answer is REFUSED:
            self.protocol.abort(EndReason.REFUSED)
        elif answer is WAITING:
            self.protocol.transport.pauseProducing()
        else:
            if wasWaiting:
                self.protocol.transport.resumeProducing()
            self.protocol.begin()
