"""Starts the daemon's listening and ends its connections gracefully."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from select import POLLIN
from typing import cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.tcp import Port
from twisted.logger import Logger
from twisted.python.failure import Failure

from echoup.address import describeAddress
from echoup.server.limits import Gate, Limits
from echoup.server.listen import Listener, ListenError
from echoup.server.protocol import EchoUpFactory, isReady

LAST_CALL = 0.1
"""Seconds that a stop goes on accepting at the least, for clients whose handshake is under way (but no longer than half
of the drain timeout)."""

QUIET = 0.3
"""Seconds without a movement after which a stop ends a connection."""

FINISH_ALL = 0.8
"""The part of the drain timeout after which a stop ends the busy connections too."""

TICK = 0.05
"""Seconds between two looks at what a stop still waits for."""


class EchoUpService(Service):
    """Echoes at some addresses from its start to its stop.

    Starting raises ListenError, and leaves no port open, when any of the addresses can't be listened on.
    Stopping accepts what the kernel's queues hold, serves what is in flight and ends what is quiet; at the
    deadline it cuts the rest.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: PosixReactorBase,
        listeners: Sequence[Listener],
        limits: Limits,
        drainTimeout: float = 10.0,
        logConnections: bool = False,
    ) -> None:
        """`drainTimeout` is in seconds, from the call of `stopService` to the deadline."""
        self._reactor = reactor
        self._listeners = listeners
        self._limits = limits
        self._drainTimeout = drainTimeout
        self._gate = Gate(reactor, limits)
        self.factory = EchoUpFactory(reactor, self._gate, logConnections)
        self.ports: list[Port] = []
        self._looking = LoopingCall(self.factory.look, limits)
        self._looking.clock = reactor
        self._hurried = False

    def privilegedStartService(self) -> None:
        """Listen on every address, or on none."""
        super().privilegedStartService()
        for listener in self._listeners:
            try:
                for port in listener.listen(self._reactor, self.factory):
                    self.ports.append(cast("Port", port))
            except OSError as error:
                self._closePorts()
                raise ListenError(listener.description, error) from None
        for port in self.ports:
            self._gate.guard(port)
            self._log.info("listening on {address}", address=describeAddress(port.getHost()))

    def startService(self) -> None:
        """Listen, unless that is done already, and look after the connections."""
        super().startService()
        if not self.ports:
            self.privilegedStartService()
        self._looking.start(self._limits.tick, now=False)

    def stopService(self) -> "Deferred[None]":
        """Stop gracefully; the Deferred fires when the last connection is gone."""
        super().stopService()
        return Deferred.fromCoroutine(self._drain())

    def hurry(self) -> None:
        """Cut short a stop that is under way: no more waiting for anybody."""
        self._hurried = True

    async def _drain(self) -> None:
        began = self._reactor.seconds()
        timeout = self._drainTimeout

        def allAccepted() -> bool:
            queued = any(isReady(port.fileno(), POLLIN) for port in self.ports)
            return self._reactor.seconds() >= began + LAST_CALL and not queued

        # Closing a listening socket resets the clients in its queue, which believe that they are connected.
        await self._until(allAccepted, began + timeout / 2)
        self._gate.abandon()
        await DeferredList([port.stopListening() for port in self.ports], consumeErrors=True)
        self.ports.clear()
        await self._until(self._isEmpty, began + timeout * FINISH_ALL)
        for connection in list(self.factory.connections):
            connection.finish("stopping")
        await self._until(self._isEmpty, began + timeout)
        for connection in list(self.factory.connections):
            connection.cut("stopping")
        self._looking.stop()
        await deferLater(self._reactor, 0)

    async def _until(self, condition: Callable[[], bool], deadline: float) -> None:
        """Wait for `condition`, the deadline or hurry, whichever is first, and end what is quiet."""
        limits = replace(self._limits, idleTimeout=QUIET)
        while not (condition() or self._hurried or self._reactor.seconds() >= deadline):
            self.factory.look(limits, "stopping")
            await deferLater(self._reactor, TICK)

    def _isEmpty(self) -> bool:
        return not self.factory.connections

    def _closePorts(self) -> None:
        """Close the ports at once: the reactor isn't running yet, so `stopListening` would do nothing."""
        for port in self.ports:
            port.connectionLost(Failure(CONNECTION_DONE))
        self.ports.clear()
