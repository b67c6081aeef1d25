"""The status site as a service: what it has, and where it listens."""

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.task import deferLater
from twisted.internet.tcp import Port
from twisted.logger import Logger
from twisted.web.resource import IResource

from echoup.plurals import plural
from echoup.server.listening.listeners import Listener, listeningOn
from echoup.server.listening.sockets import ListeningAddress, accept, closePort
from echoup.server.log.ratelimitedlog import RateLimitedLog
from echoup.server.overview import IMainService
from echoup.server.platform.twistedports import limitAccepts, reportExhaustion
from echoup.server.status.api import ConnectionsResource, StatusResource
from echoup.server.status.channel import MOST, StatusFactory
from echoup.server.status.health import Health
from echoup.server.status.metrics import MetricsResource
from echoup.server.status.probes import PlainPage, ReadyPage

ACCEPTS = MOST // 4
"""Connections that are accepted in a row: what each has sent is read before as many come that it is dropped."""

INDEX = """\
/livez            whether the daemon runs
/readyz           whether it is ready for connections; ?verbose lists the conditions
/metrics          what it counts, for Prometheus
/api/status       its settings, addresses and totals (JSON)
/api/connections  the open connections (JSON); ?peer=ADDRESS:PORT: those of one peer
"""


class StatusSite(Service):
    """Serves the status site at one listener, from its start to its stop."""

    _log = Logger()

    def __init__(self, reactor: PosixReactorBase, listener: Listener, service: IMainService, health: Health) -> None:
        """Show `service`, and whether it is ready by `health`."""
        self._reactor = reactor
        self._listener = listener
        resources: dict[bytes, IResource] = {
            b"/": PlainPage(INDEX),
            b"/livez": PlainPage("ok\n"),
            b"/readyz": ReadyPage(health),
            b"/metrics": MetricsResource(reactor, service, health),
            b"/api/status": StatusResource(service, health),
            b"/api/connections": ConnectionsResource(service),
        }
        self._factory = StatusFactory(reactor, resources, service.plan.statusHosts)
        self._exhaustions = RateLimitedLog(reactor, self._logExhaustion)
        self._listening: list[ListeningAddress] = []
        self.ports: list[Port] = []
        """The ports that are open."""

    def privilegedStartService(self) -> None:
        """Listen; raise ListenError if that is impossible."""
        super().privilegedStartService()
        with listeningOn(self._listener.description):
            self._listening = self._listener.open()
            for address in self._listening:
                port = accept(self._reactor, self._factory, address)
                self.ports.append(port)
                limitAccepts(port, lambda: ACCEPTS, lambda: None)
                reportExhaustion(port, self._exhaustions.count)

    def startService(self) -> None:
        """Listen, unless that is done already, and log where."""
        super().startService()
        if not self.ports:
            self.privilegedStartService()
        for address in self._listening:
            isUNIX = address.address.startswith("unix")
            self._log.info("status site on {address}", address=("" if isUNIX else "http://") + address.address)

    def stopService(self) -> "Deferred[None]":
        """Stop listening, and close the connections."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await DeferredList([port.stopListening() for port in self.ports], consumeErrors=True)
        self._forgetPorts()
        await deferLater(self._reactor, 0)  # the connections are reset in the next turn

    def close(self) -> None:
        """Close everything at once, because the start has failed."""
        for port in self.ports:  # the reactor doesn't run yet, so `stopListening` would do nothing
            closePort(port)
        self._forgetPorts()

    def _forgetPorts(self) -> None:
        for address in self._listening:
            address.close()
        self.ports.clear()
        self._listening.clear()
        self._factory.stop()
        self._exhaustions.stop()

    def _logExhaustion(self, count: int) -> None:
        self._log.warn(
            f"the status site refused {{connections}} {plural(count, 'connection')}: no file descriptors left",
            connections=count,
        )
