"""A worker process, as its parent sees it."""

import os
import pickle
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import Factory, ProcessProtocol, connectionDone
from twisted.logger import Logger, eventFromJSON, globalLogPublisher
from twisted.protocols.amp import BinaryBoxProtocol, BoxDispatcher, Command, CommandLocator
from twisted.python.failure import Failure

from echoup.server.admission.peers import PeerLimit, uncount
from echoup.server.workers.commands import (
    CONFIGURATION,
    CONTROL,
    ERRORS,
    IGNORED,
    LISTENING,
    LOG,
    PAGE,
    ROOM,
    Configuration,
    Enter,
    Leave,
    Ready,
)

CLEANLY = "with exit code 0"
"""The `end` of a worker that was told to stop."""


class WorkerProcess(ProcessProtocol):
    """One worker: what it logs is logged here, and what it asks is answered."""

    _log = Logger()
    transport: IProcessTransport

    pid = 0
    isReady = False
    isGone = False
    error = ""
    """Why it can't serve, once it has said so."""
    end = ""
    """How it ended, once it has."""

    def __init__(
        self, number: int, startedAt: float, peers: PeerLimit, ended: "Callable[[WorkerProcess], None]"
    ) -> None:
        """`ended` is called when the process is gone, and all that it had to say has been heard."""
        self.number = number
        self.startedAt = startedAt
        self.limit = peers
        self.peers: Counter[str] = Counter()
        self._ended = ended
        self._control = BoxDispatcher(_Responses(self))
        self._unfinished = b""
        self._isConnected = True

    def spawn(self, reactor: PosixReactorBase, configuration: Configuration, sockets: Sequence[socket.socket]) -> None:
        """Start the process, which is to accept at `sockets`; raise OSError if that is impossible."""
        shared = configuration.shared
        configuration = replace(configuration, shared=replace(shared, page=PAGE, room=ROOM))
        ours, theirs = socket.socketpair()
        with ours, theirs, os.fdopen(os.memfd_create("configuration"), "wb") as file:
            for end in (ours, theirs):
                end.setblocking(False)
            file.write(pickle.dumps(configuration))
            file.flush()
            descriptors: dict[int, int | str] = {
                CONFIGURATION: file.fileno(),
                LOG: "r",
                ERRORS: 2,
                CONTROL: theirs.fileno(),
                PAGE: shared.page,
                ROOM: shared.room,
            }
            descriptors.update(enumerate((listening.fileno() for listening in sockets), LISTENING))
            # It looks for modules exactly where this process does: not in the current folder, unless this one does.
            command = [sys.executable, "-P", "-m", "echoup.server.workers.worker"]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
            # Until it ignores them a signal would end it; those that are blocked here are so there.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)
            try:
                process = reactor.spawnProcess(
                    self, sys.executable, command, environment, childFDs=cast("Any", descriptors)
                )
                self.pid = process.pid
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            factory = Factory.forProtocol(lambda: _Connection(self, self._control))
            factory.noisy = False
            reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)

    def tell(self, command: type[Command], **arguments: object) -> None:
        """Send a command that has no answer; to a process that isn't connected yet, nothing."""
        if self._control.boxSender:
            self._control.callRemote(command, **arguments)

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    def outReceived(self, data: bytes) -> None:
        """Log what it logs."""
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        for line in lines:
            event = eventFromJSON(line.decode())
            if event["log_namespace"].startswith("echoup"):
                # Ours have nothing but numbers and texts, which have come whole. Of those that have other objects there
                # is what these would have been formatted to, as `flattenEvent` has it: that ignores `{seconds:.3f}`.
                event.pop("log_flattened", None)
            globalLogPublisher(event)

    def processEnded(self, reason: Failure) -> None:
        """Remember how."""
        number = getattr(reason.value, "signal", None)
        self.end = f"by signal {number}" if number else f"with exit code {getattr(reason.value, 'exitCode', 0)}"
        self._finish()

    def disconnected(self) -> None:
        """Remember that the control connection has nothing more to say."""
        self._isConnected = False
        self._finish()

    def _finish(self) -> None:
        """Give back what it held, once all is known; the reactor may come to its end before its last words."""
        if self.end and not self._isConnected:
            for peer in self.peers.elements():
                self.limit.leave(peer)
            if self.error:
                self.end += f" ({self.error})"
            self.isGone = True
            self._ended(self)


class _Connection(BinaryBoxProtocol):
    """The control connection."""

    def __init__(self, process: WorkerProcess, receiver: BoxDispatcher) -> None:
        super().__init__(receiver)
        self._process = process

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the process."""
        super().connectionLost(reason)
        self._process.disconnected()


class _Responses(CommandLocator):
    """What a worker may ask or tell."""

    def __init__(self, process: WorkerProcess) -> None:
        super().__init__()
        self._process = process

    @Ready.responder
    def ready(self, error: str) -> dict[str, object]:
        self._process.error = error
        self._process.isReady = not error
        return {}

    @Enter.responder
    def enter(self, peer: str) -> dict[str, object]:
        isAdmitted = self._process.limit.enter(peer)
        if isAdmitted:
            self._process.peers[peer] += 1
        return {"isAdmitted": isAdmitted}

    @Leave.responder
    def leave(self, peer: str) -> dict[str, object]:
        uncount(self._process.peers, peer)
        self._process.limit.leave(peer)
        return {}
