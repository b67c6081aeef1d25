"""The service that listens, and serves connections and datagrams until it is stopped."""

import gc
from collections.abc import Iterable
from functools import partial
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
from echoup.server.listening.renewal import reloadCertificates
from echoup.server.listening.sockets import ListeningAddress, accept, closePort
from echoup.server.overview import IMainService
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
        self._plan = plan
        self._reflectionGuard = ReflectionGuard(reactor, plan.limits.udpRate)
        gate = gate or Gate(reactor, plan.limits, counts=Counts(each.description for each in plan.listeners))
        self.connections = Connections(reactor, plan.limits, gate, plan.logConnections, idPrefix)
        self.ports: list[Any] = []
        """The ports that are open; Twisted's, of both kinds."""
        self._listening: list[ListeningAddress] = []
        self._drain = Drain(self.connections)

    def privilegedStartService(self) -> None:
        """Listen, and log the addresses."""
        super().privilegedStartService()
        logAddresses(self.listen(), self._listening)

    def listen(self) -> list[str]:
        """Listen on every address, and return them as people write them; or raise ListenError, and listen on none."""
        try:
            addresses = [address for listener in self._plan.listeners for address in self._listen(listener)]
            makeProtocol = partial(EchoUpDatagram, self._reflectionGuard)
            for datagramListener in self._plan.datagramListeners:
                with listeningOn(f"udp:{datagramListener.description}"):
                    ports = datagramListener.open(self._reactor, makeProtocol)
                self.ports += ports
                addresses += [f"udp:{describeName(port.getHandle().getsockname())}" for port in ports]
        except ListenError:
            for port in self.ports:  # the reactor doesn't run yet, so `stopListening` would do nothing
                closePort(port)
            self._forgetPorts()
            raise
        return addresses

    def _listen(self, listener: Listener) -> list[str]:
        plan = self._plan
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
        return [("tls:" if listener.certificate else "") + address.address for address in opened]

    def startService(self) -> None:
        """Listen, unless that is done already."""
        super().startService()
        if not self.ports:
            self.privilegedStartService()

    def stopService(self) -> "Deferred[None]":
        """Stop gracefully; the Deferred fires when the last connection is gone."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self.drain(self._plan.drainTimeout)
        logTotals(self.connections.counts)

    def reload(self) -> None:
        """Read the certificates again, for new connections; keep the old ones of those that can't be read."""
        reloadCertificates(self._plan.listeners)

    def abortDrain(self) -> None:
        """End the shutdown that is under way at once."""
        self._drain.abort()

    async def drain(self, timeout: float) -> None:
        """Stop accepting, and end all connections within `timeout` seconds."""
        # With 20 000 connections a full garbage collection takes 50 to 120 ms, in which none of them is served. It
        # skips frozen objects. They need not be freed, because the process is about to end.
        gc.freeze()
        for address in self._listening:
            address.stopHandshakes()
        await self._drain.run(self.ports, self._stopListening, timeout)

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
