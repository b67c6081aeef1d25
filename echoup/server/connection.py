"""The record of one connection, from its accept to its end."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from twisted.internet.interfaces import IAddress
from zope.interface import Attribute, Interface

from echoup.addresses import describeAddress
from echoup.server.counts import ListenerCounts, Total
from echoup.server.platform.kernelqueues import unsentOn
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


class Stage(Enum):
    """How far a connection is; the values are the words of the status site."""

    WAITING = "waiting"  # for a place, or for the answer of another process about its peer
    HEADER = "proxy-header"  # its PROXY header isn't complete
    HANDSHAKE = "handshake"  # its TLS handshake isn't
    ECHOING = "echoing"
    PAUSED = "paused"  # it is not read, because bytes wait for the peer
    ENDING = "ending"


class IConnectionProtocol(Interface):
    """The protocol that serves a connection: before its stream, or as its stream."""

    transport = Attribute("The IStreamTransport below it.")
    stage = Attribute("The Stage that it has reached.")

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
    """Further fields of the log line: names, and escaped values."""
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
    """Those of them that the kernel has taken; see `twistedports.unsentBy`."""

    def note(self, **fields: str) -> None:
        """Add `fields` to the details."""
        self.details += tuple(fields.items())

    @property
    def stage(self) -> Stage:
        """How far it is, while it is open."""
        if self.admission is WAITING or not self.protocol:
            return Stage.WAITING
        stage: Stage = self.protocol.stage
        return stage

    def countTraffic(self, unsent: int) -> None:
        """Add to the counts what was received and sent since the last call; `unsent` bytes wait here for the peer."""
        received, before = self.received, self.countedSent
        sent = max(received - unsent, before)
        self.counts.add(_RECEIVED, received - self.countedReceived)
        self.counts.add(_SENT, sent - before)
        self.countedReceived, self.countedSent = received, sent

    def isFrom(self, peer: str) -> bool:
        """Return whether it comes from or through `peer`, as `describeAddress` writes it; an empty one is any."""
        return not peer or peer in (describeAddress(self.peer), dict(self.details).get("via"))

    def describe(self, idPrefix: str, now: float) -> dict[str, Any]:
        """Return what the status site shows of it, as JSON; `now` is in seconds of the reactor's clock.

        `age` is in seconds since `startedAt`. `received` and `sent` are bytes of the stream. `unsent` are those that
        this process or the kernel still holds for the peer, in TLS records where there is TLS. `tls` is None without
        TLS, and `reason` until the connection is ending.
        """
        assert self.protocol
        transport, details = self.protocol.transport, dict(self.details)
        unsent = unsentBy(transport)
        self.countTraffic(unsent)
        return {
            "id": f"{idPrefix}{self.id}",
            "listener": self.listener,
            "peer": describeAddress(self.peer),
            "via": details.get("via"),
            "state": self.stage.value,
            "age": round(now - self.startedAt, 3),
            "received": self.received,
            "sent": self.countedSent,
            "unsent": unsent + unsentOn(transport.getHandle()),
            "tls": {
                "version": details["tls_version"],
                "server_name": details.get("server_name"),
                "subject": details.get("client_subject"),
            }
            if "tls_version" in details
            else None,
            "reason": self.reason and self.reason.value,
        }

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
