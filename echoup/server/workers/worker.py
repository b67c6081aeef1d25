"""A worker process: `python -m echoup.server.workers.worker`, which only the supervisor starts."""

import atexit
import json
import os
import pickle
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITransport
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import connectionDone
from twisted.internet.stdio import StandardIO
from twisted.logger import (
    FilteringLogObserver,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    globalLogPublisher,
    jsonFileLogObserver,
)
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from echoup.clock import useMonotonicClock
from echoup.server.admission.gate import Gate
from echoup.server.admission.peers import IPeers
from echoup.server.listening.listeners import ListenError
from echoup.server.listening.renewal import reloadCertificates
from echoup.server.log.logqueue import queueLog
from echoup.server.service import EchoUpService
from echoup.server.workers.commands import LOG, PAGE, ROOM, SAID, TOLD, Configuration, encode
from echoup.server.workers.memory import Page, SharedSlots


@implementer(IPeers)
class Worker(LineOnlyReceiver):
    """Serves connections as the supervisor, at the other end of the pipes, says; it is the `IPeers` of its own gate."""

    _log = Logger()
    transport: ITransport

    delimiter = b"\n"
    MAX_LENGTH = sys.maxsize

    def __init__(
        self, reactor: PosixReactorBase, configuration: Configuration, finishLog: Callable[[], object]
    ) -> None:
        """`finishLog` is called before the process ends."""
        self._reactor = reactor
        self._finishLog = finishLog
        self._listeners = configuration.plan.listeners
        self._asked: deque[Deferred[bool]] = deque()
        page = Page(replace(configuration.shared, page=PAGE, room=ROOM))
        number = configuration.number
        slots = SharedSlots(reactor, page, number) if page.shared.maximum else None
        gate = Gate(reactor, configuration.plan.limits, slots, self, page.counts(number))
        self._service = EchoUpService(reactor, configuration.plan, gate, idPrefix=f"{configuration.serial}.")

    def connectionMade(self) -> None:
        """Begin to serve; if that is impossible, tell the supervisor why, and end."""
        try:
            self._service.listen()
        except ListenError as error:
            self._say("failed", str(error))
            self.transport.loseConnection()
        else:
            self._service.startService()
            self._say("ready")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End at once: without the supervisor nothing could stop this process."""
        self._end(1)

    def lineReceived(self, line: bytes) -> None:
        """Do what the supervisor says."""
        match json.loads(line):
            case ["entered", isWithinLimit]:
                self._asked.popleft().callback(isWithinLimit)
            case ["drain", deadline]:
                Deferred.fromCoroutine(self._drain(deadline))
            case ["abortDrain"]:
                self._service.abortDrain()
            case ["reload", listeners]:  # the supervisor has read them too, and logged that
                reloadCertificates([each for each in self._listeners if each.description in listeners], isSaid=False)
            case ["measure", ticket]:
                self._service.overview().addCallback(lambda _: self._say("measured", ticket))
            case ["list", ticket, cursor, peer]:
                self._service.connectionsAfter(cursor, peer).addCallback(
                    lambda found: self._say("listed", ticket, *found[:2])
                )

    def _say(self, *message: object) -> None:
        self.transport.write(encode(*message))

    async def _drain(self, deadline: float) -> None:
        """Stop gracefully, and end the process at once: the interpreter's own end would take another 0.1 s."""
        try:
            await self._service.drain(max(deadline - self._reactor.seconds(), 0))
        except Exception:
            self._log.failure("the shutdown failed")
        self._end(0)

    def _end(self, code: int) -> None:
        self._finishLog()
        os._exit(code)

    # The limit on the connections from each peer, which the supervisor counts: see `IPeers`.

    def enter(self, peer: str) -> "Deferred[bool]":
        """Ask the supervisor; answers come in the order of the questions."""
        answer: Deferred[bool] = Deferred()
        self._asked.append(answer)
        self._say("enter", peer)
        return answer

    def leave(self, peer: str) -> None:
        """Tell the supervisor."""
        self._say("leave", peer)

    def stop(self) -> None:
        """Do nothing: the supervisor logs the refusals."""


def main() -> None:
    """Serve until the supervisor ends it."""
    try:
        configuration: Configuration = pickle.load(sys.stdin.buffer)  # noqa: S301  # from the supervisor
    except ValueError as error:  # a certificate, for which OpenSSL needs /proc
        path, _, reason = str(error).rpartition(": ")
        os.write(SAID, encode("failed", f"{reason}: {path}"))
        sys.exit(1)
    import_module(configuration.reactor).install()
    from twisted.internet import reactor as installed

    reactor = cast("PosixReactorBase", installed)
    useMonotonicClock(reactor)
    # Of other packages, only warnings are logged.
    worthSaying = LogLevelFilterPredicate(LogLevel.warn)
    worthSaying.setLogLevelForNamespace("echoup", LogLevel.info)
    observer = jsonFileLogObserver(os.fdopen(LOG, "w", encoding="utf-8"), recordSeparator="")
    # What Python writes to stderr, such as an exception that it ignores, is logged as well: stderr may be blocked.
    globalLogBeginner.beginLoggingTo([FilteringLogObserver(observer, [worthSaying])])
    (log,) = queueLog(globalLogPublisher)  # the supervisor reads the pipe, unless it is suspended
    atexit.register(log.finish)
    StandardIO(Worker(reactor, configuration, log.finish), TOLD, SAID)  # type: ignore[call-arg]  # mypy sees the one for Windows
    reactor.run(installSignalHandlers=False)


if __name__ == "__main__":
    main()
