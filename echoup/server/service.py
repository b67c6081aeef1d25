"""Starts the daemon's listening and ends its connections gracefully."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from select import POLLIN
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.tcp import Port
from twisted.logger import Logger
from twisted.python.failure import Failure

from echoup.addresses import describeAddress
from echoup.server.admission.gate import Gate
from echoup.server.datagram.protocol import DatagramGate, EchoUpDatagram
from echoup.server.listening.inherited import InheritedListener
from echoup.server.listening.listeners import Listener, ListenError
from echoup.server.listening.sockets import allowPackets, stopHandshakes
from echoup.server.settings import Plan
from echoup.server.stream.arrival import ArrivalFactory
from echoup.server.stream.protocol import EchoUpFactory, OwnTotals, Totals, isReady
from echoup.server.stream.writethrough import writeThrough

LAST_CALL = 0.1
"""Seconds that a stop goes on accepting at the least, for clients whose handshake is under way (but no longer than half
of the drain timeout). None begins meanwhile."""

QUIET = 0.3
"""Seconds without a movement after which a stop ends a connection."""

FINISH_ALL = 0.8
"""The part of the drain timeout after which a stop ends the busy connections too."""

TICK = 0.05
"""Seconds between two looks at what a stop still waits for."""


_log = Logger()


class EchoUpService(Service):
    """Echoes at some addresses from its start to its stop.

    Starting raises ListenError, and leaves no port open, when any of the addresses can't be listened on.
    Stopping accepts what the kernel's queues hold, serves what is in flight and ends what is quiet; at the
    deadline it cuts the rest.
    """

    def __init__(
        self, reactor: PosixReactorBase, plan: Plan, gate: Gate | None = None, totals: Totals | None = None
    ) -> None:
        """`gate` and `totals` are for a worker, which shares what they count with others."""
        self._reactor = reactor
        self._plan = plan
        self._gate = gate or Gate(reactor, plan.limits)
        self._totals = OwnTotals()
        self._datagramGate = DatagramGate(reactor)
        self.factory = EchoUpFactory(reactor, self._gate, plan.logConnections, totals or self._totals)
        self.ports: list[Any] = []
        """The ports that are open; Twisted's, of both kinds."""
        self._closing: list[Port] = []  # those whose queues a stop closes, with whoever is in them
        self._looking = LoopingCall(self.factory.look, plan.limits)
        self._looking.clock = reactor
        self._hurried = False

    def privilegedStartService(self) -> None:
        """Listen on every address, or on none."""
        super().privilegedStartService()
        for address in self.listen():
            _log.info("listening on {address}", address=address)

    def listen(self) -> list[str]:
        """Do so, and return the addresses, as people write them; raise ListenError if that is impossible."""
        openings = [
            ("tls:" if listener.certificate else "", listener.description, self._listen(listener))
            for listener in self._plan.listeners
        ]
        makeProtocol = partial(EchoUpDatagram, self._datagramGate)
        for datagramListener in self._plan.datagramListeners:
            ports = datagramListener.listen(self._reactor, makeProtocol)
            openings.append(("udp:", datagramListener.description, ports))
        addresses = []
        for kind, description, opening in openings:
            try:
                for port in opening:
                    self.ports.append(port)
                    addresses.append(kind + describeAddress(port.getHost()))
            except OSError as error:
                self._closePorts()
                raise ListenError(description, error) from None
        return addresses

    def _listen(self, listener: Listener) -> Iterator[Any]:
        plan = self._plan
        arrivals = ArrivalFactory(self.factory, plan.limits.handshakeTimeout, plan.proxies, listener.certificate)
        for port in listener.listen(self._reactor, arrivals):
            if not isinstance(listener, InheritedListener):
                self._closing.append(cast("Port", port))
            self._gate.guard(cast("Port", port))
            writeThrough(cast("Port", port))
            yield port

    def startService(self) -> None:
        """Listen, unless that is done already, and look after the connections."""
        super().startService()
        if not self.ports:
            self.privilegedStartService()
        self._looking.start(self._plan.limits.tick, now=False)

    def stopService(self) -> "Deferred[None]":
        """Stop gracefully; the Deferred fires when the last connection is gone."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self.drain(self._plan.drainTimeout)
        logTotals(self._totals.connections, self._totals.bytes)

    def reload(self) -> None:
        """Read the certificates again, for the connections from now on; keep those that can't be read."""
        reloadCertificates(self._plan.listeners)

    def abortDrain(self) -> None:
        """Cut short a stop that is under way: no more waiting for anybody."""
        self._hurried = True

    async def drain(self, timeout: float) -> None:
        """Stop accepting, and end the connections; in `timeout` seconds none is left."""
        began = self._reactor.seconds()

        def allAccepted() -> bool:
            for connection in self.factory.connections:
                allowPackets(connection.transport.getHandle())
            queued = self._gate.waiting or any(isReady(port.fileno(), POLLIN) for port in self.ports)
            return self._reactor.seconds() >= began + LAST_CALL and not queued

        # Closing a listening socket resets the clients in its queue, which believe that they are connected.
        for port in self._closing:
            stopHandshakes(port.socket)
        await self._until(allAccepted, began + timeout / 2)
        self._gate.abandon()
        self._datagramGate.stop()
        await DeferredList([port.stopListening() for port in self.ports], consumeErrors=True)
        self._forgetPorts()
        await self._until(self._isEmpty, began + timeout * FINISH_ALL)
        for connection in list(self.factory.connections):
            connection.finish("stopping")
        await self._until(self._isEmpty, began + timeout)
        for connection in list(self.factory.connections):
            connection.cut("stopping")
        self._looking.stop()
        await deferLater(self._reactor, 0)

    async def _until(self, condition: Callable[[], bool], deadline: float) -> None:
        """Wait for `condition`, the deadline or abortDrain, whichever is first, and end what is quiet."""
        limits = replace(self._plan.limits, idleTimeout=QUIET)
        while not (condition() or self._hurried or self._reactor.seconds() >= deadline):
            self.factory.look(limits, "stopping")
            await deferLater(self._reactor, TICK)

    def _isEmpty(self) -> bool:
        return not self.factory.connections

    def _closePorts(self) -> None:
        """Close the ports at once: the reactor isn't running yet, so `stopListening` would do nothing."""
        for port in self.ports:
            port.connectionLost(Failure(CONNECTION_DONE))
        self._forgetPorts()

    def _forgetPorts(self) -> None:
        self.ports.clear()
        self._closing.clear()


def reloadCertificates(listeners: Iterable[Listener], isSaid: bool = True) -> list[str]:
    """Read the certificates again, and return the descriptions of those that were read.

    Log which can't be read; and which were, if that is to be said.
    """
    descriptions = []
    for listener in listeners:
        if listener.certificate:
            try:
                listener.certificate.reload()
            except ValueError as error:
                _log.error(
                    "kept the certificate of {listener}: {error}", listener=listener.description, error=str(error)
                )
            else:
                if isSaid:
                    _log.info("read the certificate of {listener} again", listener=listener.description)
                descriptions.append(listener.description)
    return descriptions


def logTotals(connections: int, size: int) -> None:
    """Log, at the end, what was done."""
    _log.info("served {connections} connections, {bytes} bytes", connections=connections, bytes=size)
