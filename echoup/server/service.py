"""The service that listens, and serves connections and datagrams until it is stopped."""

import gc
from collections.abc import Callable, Iterable
from functools import partial
from time import time
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import Logger
from zope.interface import implementer

from echoup.addresses import describeName
from echoup.plurals import plural
from echoup.server.admission.gate import Gate
from echoup.server.connections import Connections
from echoup.server.counts import Counts, Total
from echoup.server.datagram.protocol import EchoUpDatagram
from echoup.server.datagram.reflection import ReflectionGuard
from echoup.server.drain import Drain
from echoup.server.listening.listeners import Listener, ListenError, listeningOn
from echoup.server.listening.renewal import certificateProblem, reloadCertificates
from echoup.server.listening.sockets import ListeningAddress, accept, closePort
from echoup.server.occupancy import Occupancy
from echoup.server.overview import Check, DatagramListenerView, IMainService, ListenerView, Overview, Slice
from echoup.server.platform.socketoptions import passesOptions
from echoup.server.platform.twistedports import writeThrough
from echoup.server.settings import Plan
from echoup.server.stream.arrival import ArrivalFactory
from echoup.server.stream.protocol import EchoUpFactory

_log = Logger()


@implementer(IMainService)
class EchoUpService(Service):
    """Echoes at the addresses of a plan from its start to its stop.

    Starting raises ListenError, and leaves no port open, when one of the addresses can't be listened on.
    """

    def __init__(
        self,
        reactor: PosixReactorBase,
        plan: Plan,
        gate: Gate | None = None,
        idPrefix: str = "",
    ) -> None:
        """Without `gate` this process has the limits of `plan` to itself; for `idPrefix` see `Connections`."""
        self._reactor = reactor
        self.plan = plan
        self._reflectionGuard = ReflectionGuard(reactor, plan.limits.udpRate)
        maximum = 0 if gate else plan.limits.maxConnections  # another process watches those of all
        gate = gate or Gate(reactor, plan.limits, counts=Counts(each.description for each in plan.listeners))
        self.connections = Connections(reactor, plan.limits, gate, plan.logConnections, idPrefix)
        self._occupancy = Occupancy(reactor, maximum, lambda: gate.free, lambda: gate.counts.timesFull)
        self.ports: list[Any] = []
        """The ports that are open; Twisted's, of both kinds."""
        self._listening: list[ListeningAddress] = []
        self._listeners: list[Callable[[], ListenerView]] = []
        self._datagramListeners: list[Callable[[], DatagramListenerView]] = []
        self._drain = Drain(self.connections)

    def privilegedStartService(self) -> None:
        """Listen, and log the addresses."""
        super().privilegedStartService()
        logAddresses(self.listen(), self._listening)

    def listen(self) -> list[str]:
        """Listen on every address, and return them as people write them; or raise ListenError, and listen on none."""
        try:
            addresses = [address for listener in self.plan.listeners for address in self._listen(listener)]
            makeProtocol = partial(EchoUpDatagram, self._reflectionGuard)
            for datagramListener in self.plan.datagramListeners:
                with listeningOn(f"udp:{datagramListener.description}"):
                    ports = datagramListener.open(self._reactor, makeProtocol)
                self.ports += ports
                own = [f"udp:{describeName(port.getHandle().getsockname())}" for port in ports]
                view = partial(DatagramListenerView.of, datagramListener, own, ports[0].counts)
                self._datagramListeners.append(view)
                addresses += own
        except ListenError:
            for port in self.ports:  # the reactor doesn't run yet, so `stopListening` would do nothing
                closePort(port)
            self._forgetPorts()
            raise
        return addresses

    def _listen(self, listener: Listener) -> tuple[str, ...]:
        plan = self.plan
        with listeningOn(listener.description):
            opened = listener.open()
            self._listening += opened
            for address in opened:
                isPrepared = passesOptions(address.sockets[0])
                streams = EchoUpFactory(self._reactor, plan.limits, self.connections, listener.description, isPrepared)
                factory = ArrivalFactory(streams, plan.limits.handshakeTimeout, plan.proxies, listener.certificate)
                port = accept(self._reactor, factory, address)
                self.ports.append(port)
                self.connections.gate.guard(port, self.connections.counts.listeners[listener.description])
                writeThrough(port)
        view = ListenerView.watch(listener, opened)
        self._listeners.append(view)
        return view().addresses

    def startService(self) -> None:
        """Listen, unless that is done already."""
        super().startService()
        if not self.ports:
            self.privilegedStartService()
        self._occupancy.start()

    def stopService(self) -> "Deferred[None]":
        """Stop gracefully; the Deferred fires when the last connection is gone."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self.drain(self.plan.drainTimeout)
        logTotals(self.connections.counts)

    def reload(self) -> None:
        """Read the certificates again, for new connections; keep the old ones of those that can't be read."""
        reloadCertificates(self.plan.listeners)

    def checks(self) -> Iterable[Check]:
        """Return whether there is room, and whether the certificates are valid."""
        yield self._occupancy.check()
        yield Check("certificates", certificateProblem(self.plan.listeners, time()))

    def overview(self) -> "Deferred[Overview]":
        """Bring the counts up to date, and return what this process does."""
        return Deferred.fromCoroutine(self._overview())

    async def _overview(self) -> Overview:
        await self.connections.updateCounts()
        return Overview(
            counts=self.connections.counts,
            listeners=tuple(view() for view in self._listeners),
            datagramListeners=tuple(view() for view in self._datagramListeners),
        )

    def connectionsAfter(self, cursor: str, peer: str) -> "Deferred[Slice]":
        """Return some of the open connections: see `IMainService`."""
        return Deferred.fromCoroutine(self._connectionsAfter(cursor, peer))

    async def _connectionsAfter(self, cursor: str, peer: str) -> Slice:
        return *await self.connections.after(cursor, peer), 0

    def abortDrain(self) -> None:
        """End the shutdown that is under way at once."""
        self._drain.abort()

    async def drain(self, timeout: float) -> None:
        """Stop accepting, and end all connections within `timeout` seconds."""
        # With 20 000 connections a full garbage collection takes 50 to 120 ms, in which none of them is served. It
        # skips frozen objects. They need not be freed, because the process is about to end.
        gc.freeze()
        self._occupancy.stop()
        for address in self._listening:
            address.stopHandshakes()
        await self._drain.run(self.ports, self._stopListening, timeout)
        self.connections.counts.setOpen(waiting=0, paused=0)

    async def _stopListening(self) -> None:
        self._reflectionGuard.stop()
        await DeferredList([port.stopListening() for port in self.ports], consumeErrors=True)
        self._forgetPorts()

    def _forgetPorts(self) -> None:
        for address in self._listening:
            address.close()
        self.ports.clear()
        self._listening.clear()


def logAddresses(addresses: Iterable[str], opened: Iterable[ListeningAddress]) -> None:
    """Log the addresses, and what is not promised at those that were `opened`."""
    for address in addresses:
        _log.info("listening on {address}", address=address)
    for listening in opened:
        if listening.weakness:
            _log.warn("{address} is MPTCP: {weakness}", address=listening.address, weakness=listening.weakness)


def logTotals(counts: Counts) -> None:
    """Log the totals at the end of a shutdown: the connections that were served, and the bytes received on them."""
    connections, size = counts[Total.SERVED], counts[Total.RECEIVED]
    _log.info(
        f"served {{connections}} {plural(connections, 'connection')}, {{bytes}} {plural(size, 'byte')}",
        connections=connections,
        bytes=size,
    )
