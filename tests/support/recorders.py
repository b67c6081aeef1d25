"""Protocols, factories and producers that record what happens to them."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer, IPushProducer
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer


class Recorder(Protocol):
    """Records what happens to it; `acts` is called when it is connected."""

    transport: Any

    def __init__(self, acts: Callable[["Recorder"], object] = lambda _: None) -> None:
        self.events: list[str] = []
        self.data = b""
        self.reason: Any = None
        self._acts = acts
        self._awaited: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def happened(self, event: str) -> None:
        """Record an event, and fire the Deferreds that wait for it."""
        self.events.append(event)
        self.look()

    def look(self) -> None:
        """Fire the Deferreds whose condition holds."""
        for waiting in list(self._awaited):
            condition, deferred = waiting
            if condition():
                self._awaited.remove(waiting)
                deferred.callback(None)

    def until(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Return a Deferred that fires when `condition` holds, which is evaluated after each event."""
        deferred: Deferred[None] = Deferred()
        self._awaited.append((condition, deferred))
        self.look()
        return deferred

    def event(self, name: str) -> Deferred[None]:
        """Return a Deferred that fires when the event has happened."""
        return self.until(lambda: name in self.events)

    def received(self, data: bytes) -> Deferred[None]:
        """Return a Deferred that fires when exactly `data` has been received."""
        return self.until(lambda: self.data == data)

    def connectionMade(self) -> None:
        """Record it, and act."""
        self.happened("made")
        self._acts(self)

    def dataReceived(self, data: bytes) -> None:
        """Record it; several calls in a row are one event."""
        self.data += data
        if self.events[-1] == "data":
            self.look()
        else:
            self.happened("data")

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Record it."""
        self.reason = reason
        self.happened("lost")


@implementer(IHalfCloseableProtocol)
class HalfCloseableRecorder(Recorder):
    """A recorder that continues when one half of its connection is closed."""

    def readConnectionLost(self) -> None:
        """Record it."""
        self.happened("readLost")

    def writeConnectionLost(self) -> None:
        """Record it."""
        self.happened("writeLost")


class Breaking(HalfCloseableRecorder):
    """A recorder that fails at one of its events."""

    def __init__(self, at: str, error: type[BaseException] = ValueError) -> None:
        super().__init__()
        self._at = at
        self._error = error

    def happened(self, event: str) -> None:
        """Record it, and fail if it is the one."""
        super().happened(event)
        if event == self._at:
            raise self._error("broken")


class ServerOf(Factory[Any]):
    """Builds the protocols that it is given, and then new recorders."""

    noisy = False

    def __init__(self, *protocols: Protocol) -> None:
        self.ready = list(protocols)
        self.built: list[Any] = []

    def buildProtocol(self, addr: object) -> Protocol:
        """Return the next one."""
        protocol = self.ready.pop(0) if self.ready else Recorder()
        self.built.append(protocol)
        return protocol


class ClientOf(ClientFactory[Any]):
    """Builds one protocol, and records what happens to the connection."""

    noisy = False

    def __init__(self, protocol: Protocol | None) -> None:
        self.only: Any = protocol
        self.failed: Deferred[Any] = Deferred()
        self.lost: Deferred[Any] = Deferred()

    def buildProtocol(self, addr: object) -> Any:
        """Return the protocol."""
        return self.only

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        """Record it."""
        self.failed.callback(reason.value)

    def clientConnectionLost(self, connector: object, reason: Failure) -> None:
        """Record it."""
        self.lost.callback(reason.value)


@implementer(IPushProducer, IPullProducer)
class Producer:
    """Records its calls; `resume` is called on resumeProducing."""

    def __init__(self, resume: Callable[[], object] = lambda: None) -> None:
        self.calls: list[str] = []
        self._resume = resume

    def pauseProducing(self) -> None:
        """Record it."""
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        """Record it, and act."""
        self.calls.append("resume")
        self._resume()

    def stopProducing(self) -> None:
        """Record it."""
        self.calls.append("stop")
