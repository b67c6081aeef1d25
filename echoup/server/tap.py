"""The service that the options of `twistd echoup` describe."""

import os
from typing import cast

from twisted.application.service import IService, MultiService
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized

from echoup.escaping import shown, word
from echoup.server.daemon import Daemon
from echoup.server.log.jsonlog import formatJSON
from echoup.server.options import Options
from echoup.server.overview import IMainService
from echoup.server.platform.twistedports import exchangeFormat, fileObserver
from echoup.server.service import EchoUpService
from echoup.server.settings import Limits, Plan, settingsOf

__all__ = ["Options", "makeService"]  # twistd takes both from here

_log = Logger()


def makeService(options: Options) -> IService:
    """Return the daemon that `options` describe, not started."""
    from twisted.internet import reactor as installed

    reactor = cast("PosixReactorBase", installed)
    user: int | None = options.parent.get("uid") if options.parent else None
    asked = Limits(
        maxConnections=options["max-connections"],
        maxConnectionsPerPeer=options["max-connections-per-peer"],
        idleTimeout=options["idle-timeout"],
        stallTimeout=options["stall-timeout"],
        handshakeTimeout=options["handshake-timeout"],
        udpRate=options["udp-rate"],
    )
    limits = asked.within(reactor)
    plan = Plan(
        listeners=tuple(options["listen"]),
        limits=limits,
        drainTimeout=options["drain-timeout"],
        logConnections=options["log-connections"],
        proxies=tuple(options["proxy-from"]),
        datagramListeners=tuple(options["udp"]),
        status=options["status"],
        statusHosts=tuple(options["status-host"]),
        readyDelay=options["ready-delay"],
        workers=options["workers"],
        logFormat=options["log-format"],
        tlsCert=options["tls-cert"],
        tlsKey=options["tls-key"],
        tlsClientCA=options["tls-client-ca"],
    )
    logSettings(plan)
    for variable in options.unknownVariables:
        _log.warn("{variable} is not a setting; it is ignored", variable=shown(variable))
    if limits != asked:
        _log.warn("the select reactor serves at most {maximum} connections", maximum=limits.maxConnections)
    service: IMainService
    if plan.workers == 1:
        service = EchoUpService(reactor, plan)
    else:
        from echoup.server.workers.supervisor import WorkersService  # 5 ms of each start without workers

        service = WorkersService(reactor, plan, plan.workers)
    daemon = Daemon(reactor, service, user)
    if plan.logFormat == "json" and options.parent and not exchangeFormat(options.parent, formatJSON):
        return _LoggedInJSON(daemon, options.parent)
    return daemon


class _LoggedInJSON(MultiService):
    """The daemon in an application whose log twistd writes as JSON, unless the user gave it another logger."""

    def __init__(self, daemon: Daemon, twistd: usage.Options) -> None:
        super().__init__()
        self._twistd = twistd
        daemon.setServiceParent(self)

    def setServiceParent(self, parent: Componentized) -> None:
        """Become part of the application `parent`, whose observer twistd uses from its first line on."""
        super().setServiceParent(parent)
        if not self._twistd.get("logger"):
            observer = fileObserver(self._twistd)
            observer.formatEvent = formatJSON
            parent.setComponent(ILogObserver, observer)


def logSettings(plan: Plan) -> None:
    """Log all settings in one line, each of them a field and one word; those that aren't set have none."""
    given = {name: _inLog(value) for name, value in settingsOf(plan).items() if value not in (None, [])}
    _log.info("settings: " + " ".join(f"{name}={{{name}}}" for name in given), **given)


def _inLog(value: object) -> object:
    match value:
        case bool():
            return "yes" if value else "no"
        case float() if value.is_integer():
            return int(value)
        case str():
            return word(os.fsencode(value))
        case list():
            return ",".join(word(os.fsencode(each)) for each in value)
    return value
