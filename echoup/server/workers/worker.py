"""A worker process: `python -m echoup.server.workers.worker`, which only the supervisor starts."""

import os
import pickle
import signal
import socket
from importlib import import_module
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITransport
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsJSON,
    globalLogBeginner,
)
from twisted.protocols.amp import AMP
from twisted.python.failure import Failure
from zope.interface import implementer

from echoup.clock import useMonotonicClock
from echoup.server.admission.gate import Gate
from echoup.server.listening.listeners import ListenError
from echoup.server.service import EchoUpService, reloadCertificates
from echoup.server.workers.commands import (
    CONFIGURATION,
    CONTROL,
    IGNORED,
    LOG,
    AbortDrain,
    Configuration,
    Drain,
    Enter,
    Leave,
    Ready,
    Reload,
)
from echoup.server.workers.memory import Page, Row, SharedSlots


class Worker(AMP):
    """Serves what its parent listens on; the parent's end of this connection decides how long."""

    _log = Logger()
    transport: ITransport

    def __init__(self, reactor: PosixReactorBase, configuration: Configuration) -> None:
        super().__init__()
        self._reactor = reactor
        self._listeners = configuration.plan.listeners
        self._isOver = False
        shared = configuration.shared
        page = Page(shared)
        row = Row(page, configuration.number)
        slots = SharedSlots(reactor, page, row) if shared.maximum else None
        gate = Gate(reactor, configuration.plan.limits, slots, self)
        self._service = EchoUpService(
            reactor, configuration.plan, gate, lambda connection: row.add(connection.received)
        )

    def connectionMade(self) -> None:
        """Begin to serve, or tell the parent why that is impossible, and end."""
        error = ""
        try:
            self._service.listen()
        except ListenError as reason:
            error = str(reason)
        else:
            self._service.startService()
        self.callRemote(Ready, error=error)
        if error:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End at once: where there is no parent, nobody could stop this process."""
        if not self._isOver:
            os._exit(1)

    @Drain.responder
    def drain(self, deadline: float) -> dict[str, object]:
        """Stop gracefully, and end the process."""
        stopped = Deferred.fromCoroutine(self._service.drain(max(deadline - self._reactor.seconds(), 0)))
        stopped.addErrback(lambda failure: self._log.failure("the stop failed", failure))
        stopped.addCallback(self._end)
        return {}

    def _end(self, result: object) -> None:
        self._isOver = True
        self._reactor.stop()

    @AbortDrain.responder
    def abortDrain(self) -> dict[str, object]:
        """Cut the stop short."""
        self._service.abortDrain()
        return {}

    @Reload.responder
    def reload(self, listeners: list[str]) -> dict[str, object]:
        """Read certificates again; the parent, which could, has said so already."""
        reloadCertificates([each for each in self._listeners if each.description in listeners], isSaid=False)
        return {}

    # The limit to each peer, which is one for all workers.

    def enter(self, peer: str) -> "Deferred[bool]":
        """Ask the parent."""
        answer: Deferred[dict[str, Any]] = self.callRemote(Enter, peer=peer)
        return answer.addCallback(lambda response: bool(response["isAdmitted"]))

    def leave(self, peer: str) -> None:
        """Tell the parent."""
        self.callRemote(Leave, peer=peer)

    def stop(self) -> None:
        """Do nothing: it's the parent who counts."""


@implementer(ILogObserver)
class LogToParent:
    """Writes each event as a line of JSON.

    When the pipe is full this waits: events are neither lost nor do they pile up here, and a parent reads.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, event: LogEvent) -> None:
        """Write `event`."""
        line = f"{eventAsJSON(event)}\n".encode()
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except BrokenPipeError:  # see Worker.connectionLost, which is about to be called
            os._exit(1)


def main() -> None:
    """Serve until the parent says otherwise."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    with os.fdopen(CONFIGURATION, "rb") as file:
        file.seek(0)
        configuration: Configuration = pickle.load(file)  # noqa: S301  # our own parent's
    # Whatever looks for stdin and stdout finds nothing there, rather than what was opened next, and the log.
    os.open(os.devnull, os.O_RDONLY)
    log = os.dup(LOG)
    os.dup2(CONFIGURATION, LOG)
    import_module(configuration.reactor).install()
    from twisted.internet import reactor as installed

    reactor = cast("PosixReactorBase", installed)
    useMonotonicClock(reactor)
    # Of what isn't ours, only what is worth a warning: the rest says that a port was opened or closed, N times.
    worthSaying = LogLevelFilterPredicate(LogLevel.warn)
    worthSaying.setLogLevelForNamespace("echoup", LogLevel.info)
    globalLogBeginner.beginLoggingTo([FilteringLogObserver(LogToParent(log), [worthSaying])], redirectStandardIO=False)
    with socket.socket(fileno=CONTROL) as control:
        factory = Factory.forProtocol(lambda: Worker(reactor, configuration))
        factory.noisy = False
        reactor.adoptStreamConnection(control.fileno(), socket.AF_UNIX, factory)
    reactor.run(installSignalHandlers=False)
    # Everything is closed and said. The interpreter would take 0.1 s to put its things away, in each worker, and that
    # after the deadline of the stop; twistd, which ends by a signal, doesn't do that either.
    os._exit(0)


if __name__ == "__main__":
    main()
