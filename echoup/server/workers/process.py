"""A worker process, as the supervisor sees it."""

import json
import os
import pickle
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from itertools import count
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport, IReactorTime
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import eventFromJSON, globalLogPublisher
from twisted.python.failure import Failure

from echoup.server.admission.peers import PeerLimit, uncount
from echoup.server.overview import WorkerView
from echoup.server.workers.commands import (
    CONFIGURATION,
    ERRORS,
    LOG,
    OUTPUT,
    PAGE,
    SAID,
    TOLD,
    Configuration,
    encode,
)

BLOCKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""The signals that only the supervisor acts on. A terminal sends some of them to all of its processes, and systemd to
all processes of a service."""

CLEANLY = "with exit code 0"
"""The `end` of a worker that was told to stop."""

PATIENCE = 1.0
"""Seconds within which a worker answers a question, unless it is stopped or starved."""


class State(Enum):
    """What a worker does; the values are those of `WorkerView.state`."""

    STARTING = "starting"
    SERVING = "serving"
    ENDED = "ended"


class WorkerProcess(ProcessProtocol):
    """One worker: relays its log, and counts its connections from each peer within a limit for all workers.

    A worker that is stopped reads no questions. So one that owes an answer for too long isn't asked again until it has
    given it, and the messages that wait for it stay bounded.
    """

    transport: IProcessTransport

    state = State.STARTING
    pid = 0
    serial = 0
    """Its number among all processes that were started, from 1."""
    startedAt = 0.0
    """In seconds of the wall clock."""
    error = ""
    """Why it can't serve, if it said so."""
    end = ""
    """How it ended, once it has."""

    def __init__(self, clock: IReactorTime, limit: PeerLimit) -> None:
        self.ended: Deferred[None] = Deferred()
        """Fires when the process is gone and all of its messages have been read."""
        self._clock = clock
        self._limit = limit
        self._peers: Counter[str] = Counter()
        self._tickets = count()
        self._asked: dict[int, Deferred[list[Any] | None]] = {}
        self._unfinished: defaultdict[int, bytes] = defaultdict(bytes)

    def spawn(self, reactor: PosixReactorBase, configuration: Configuration, inherited: Sequence[int]) -> None:
        """Start the process, which gets the descriptors `inherited` from PAGE on; raise OSError if it can't start."""
        with os.fdopen(os.memfd_create("configuration"), "w+b") as file:
            pickle.dump(configuration, file)
            file.seek(0)
            descriptors: dict[int, int | str] = {
                CONFIGURATION: file.fileno(),
                OUTPUT: 2,
                ERRORS: 2,
                TOLD: "w",
                SAID: "r",
                LOG: "r",
                **dict(enumerate(inherited, PAGE)),
            }
            # It looks for modules exactly where this process does: not in the current folder, unless this one does.
            command = [sys.executable, "-P", "-m", "echoup.server.workers.worker"]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
            # A process inherits the signals that are blocked; a worker leaves them so.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
            try:
                process = reactor.spawnProcess(
                    self, sys.executable, command, environment, childFDs=cast("Any", descriptors)
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self.pid, self.serial, self.startedAt = process.pid, configuration.serial, time.time()

    @property
    def view(self) -> WorkerView:
        """What is shown of it."""
        return WorkerView(number=self.serial, pid=self.pid, state=self.state.value, startedAt=self.startedAt)

    def tell(self, *message: object) -> None:
        """Send a message, unless the process is gone."""
        with suppress(KeyError):  # its pipe is closed before `processEnded` is called
            self.transport.writeToChild(TOLD, encode(*message))

    def ask(self, question: str, *arguments: object) -> "Deferred[list[Any] | None]":
        """Ask a question; the Deferred fires with the answer, or with None if it isn't serving or doesn't answer."""
        isOverdue = any(answer.called for answer in self._asked.values())
        if self.state is not State.SERVING or isOverdue:
            return succeed(None)
        ticket = next(self._tickets)
        answer = self._asked[ticket] = Deferred()
        self.tell(question, ticket, *arguments)
        return answer.addTimeout(PATIENCE, self._clock, lambda *_: None)

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Read its messages and its log; an unfinished last line is dropped."""
        *lines, self._unfinished[childFD] = (self._unfinished[childFD] + data).split(b"\n")
        for line in lines:
            if childFD == LOG:
                self._logged(line.decode())
            else:
                self._said(json.loads(line))

    def _logged(self, line: str) -> None:
        event = eventFromJSON(line)
        if event["log_namespace"].startswith("echoup"):
            # The fields of our own events are numbers and texts, which JSON keeps. For others, JSON has the text that
            # `flattenEvent` made of each field; that text ignores a format such as `{seconds:.3f}`.
            event.pop("log_flattened", None)
        globalLogPublisher(event)

    def _said(self, message: list[Any]) -> None:
        match message:
            case ["ready"]:
                self.state = State.SERVING
            case ["failed", error]:
                self.error = error
            case ["enter", peer]:
                isWithinLimit = self._limit.enter(peer)
                if isWithinLimit:
                    self._peers[peer] += 1
                self.tell("entered", isWithinLimit)
            case ["leave", peer]:
                uncount(self._peers, peer)
                self._limit.leave(peer)
            case ["measured" | "listed", ticket, *answer]:
                self._asked.pop(ticket).callback(answer)

    def processEnded(self, reason: Failure) -> None:
        """Record how it ended, and give back its counts in the limit; its pipes are closed by now."""
        number = getattr(reason.value, "signal", None)
        self.end = f"by signal {number}" if number else f"with exit code {getattr(reason.value, 'exitCode', 0)}"
        if self.error:
            self.end += f" ({self.error})"
        for peer in self._peers.elements():
            self._limit.leave(peer)
        self.state = State.ENDED
        self.ended.callback(None)
        while self._asked:
            self._asked.popitem()[1].callback(None)
