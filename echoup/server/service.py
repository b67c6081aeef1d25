"""Listens, and serves what comes, until it is stopped."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.tcp import Port
from twisted.logger import Logger
from twisted.python.failure import Failure

from echoup.addresses import describeAddress
from echoup.server.admission.gate import Gate
from echoup.server.connection import Connection
from echoup.server.connections import Connections
from echoup.server.datagram.protocol import DatagramGate, EchoUpDatagram
from echoup.server.drain import Drain
from echoup.server.listening.inherited import InheritedListener
from echoup.server.listening.listeners import Listener, ListenError, UNIXListener
from echoup.server.settings import Plan
from echoup.server.socketoptions import stopHandshakes
from echoup.server.stream.arrival import ArrivalFactory
from echoup.server.stream.protocol import EchoUpFactory
from echoup.server.stream.writethrough import writeThrough

_log = Logger()


class EchoUpService(Service):
    """Echoes at some addresses from its start to its stop.

    Starting raises ListenError, and leaves no port open, when one of the addresses can't be listened on.
    """

    def __init__(
        self,
        reactor: PosixReactorBase,
        plan: Plan,
        gate: Gate | None = None,
        report: Callable[[Connection], None] | None = None,
    ) -> None:
        """`gate` and `report` are those of a worker, which shares what they count."""
        self._reactor = reactor
        self._plan = plan
        self._datagramGate = DatagramGate(reactor)
        gate = gate or Gate(reactor, plan.limits)
        self.connections = Connections(reactor, plan.limits, gate, plan.logConnections, report)
        self.ports: list[Any] = []
        """The ports that are open; Twisted's, of both kinds."""
        self._closing: list[Port] = []  # those whose queues a stop closes
        self._drain = Drain(reactor, self.connections)

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
        isPrepared = not (isinstance(listener, UNIXListener) or getattr(listener, "domain", "") == "UNIX")
        streams = EchoUpFactory(self._reactor, plan.limits, self.connections, listener.description, isPrepared)
        arrivals = ArrivalFactory(streams, plan.limits.handshakeTimeout, plan.proxies, listener.certificate)
        for port in listener.listen(self._reactor, arrivals):
            if not isinstance(listener, InheritedListener):
                self._closing.append(cast("Port", port))
            self.connections.gate.guard(cast("Port", port))
            writeThrough(cast("Port", port))
            yield port

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
        logTotals(self.connections.served, self.connections.received)

    def reload(self) -> None:
        """Read the certificates again, for the connections from now on; keep those that can't be read."""
        reloadCertificates(self._plan.listeners)

    def abortDrain(self) -> None:
        """End a stop that is under way without waiting any longer."""
        self._drain.abort()

    async def drain(self, timeout: float) -> None:
        """Stop accepting, and end the connections; in `timeout` seconds none is left."""
        for port in self._closing:
            stopHandshakes(port.socket)
        await self._drain.run(self.ports, self._stopListening, timeout)

    async def _stopListening(self) -> None:
        self._datagramGate.stop()
        await DeferredList([port.stopListening() for port in self.ports], consumeErrors=True)
        self._forgetPorts()

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
