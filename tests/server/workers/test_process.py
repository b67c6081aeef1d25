"""A worker process, as its parent sees it."""

import os
import pickle
import signal
import socket
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, Logger, capturedLogs, eventAsJSON, formatEvent
from twisted.protocols.amp import AMP
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echoup.server.admission.peers import PeerLimit
from echoup.server.listening.certificate import ServerCertificate
from echoup.server.listening.inherited import InheritedListener
from echoup.server.settings import Limits, Plan
from echoup.server.workers.commands import IGNORED, Configuration, Drain, Enter, Leave, Ready, Reload
from echoup.server.workers.memory import Page, Shared
from echoup.server.workers.process import CLEANLY, WorkerProcess
from echoup.server.workers.worker import LogToParent
from tests.support.certificates import writeCertificates
from tests.support.descriptors import openDescriptors
from tests.support.doubles import HandReactor, ReactorTestCase


class Spawner(HandReactor):
    """A reactor that starts no process, but remembers what it would have given it."""

    def spawnProcess(  # type: ignore[override]  # with what is used here
        self, protocol: ProcessProtocol, *arguments: object, childFDs: dict[int, Any]
    ) -> Any:
        """Remember all that a process would get, and whether it could be ended by a signal at its start."""
        self.blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        self.childFDs = {
            number: descriptor if descriptor == "r" else os.dup(descriptor) for number, descriptor in childFDs.items()
        }
        protocol.transport = Spawned()  # type: ignore[assignment]  # as far as it is needed
        return protocol.transport


class Spawned:
    """A process that isn't there any more."""

    pid = 4242

    def signalProcess(self, name: str) -> None:
        """Fail."""
        raise ProcessExitedAlready


class WorkerEnd(AMP):
    """The worker's end of the control connection."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, object]] = []

    @Drain.responder
    def drain(self, deadline: float) -> dict[str, object]:
        """Remember."""
        self.told.append(("drain", deadline))
        return {}

    @Reload.responder
    def reload(self, listeners: list[str]) -> dict[str, object]:
        """Remember."""
        self.told.append(("reload", listeners))
        return {}


class WorkerProcessTestCase(ReactorTestCase):
    """A test with a worker process that isn't one."""

    def setUp(self) -> None:
        """Make it."""
        super().setUp()
        self.ended: list[WorkerProcess] = []
        self.limit = PeerLimit(Clock(), 2)
        self.process = WorkerProcess(1, 0.0, self.limit, self.ended.append)
        self.spawner = Spawner()
        self.addCleanup(self.spawner.close)

    def spawn(self, *listeners: InheritedListener, sockets: tuple[socket.socket, ...] = ()) -> Configuration:
        """Spawn it, and return its configuration as it was given."""
        shared = Shared.make(2, 5)
        self.addCleanup(Page(shared).close)
        plan = Plan(
            listeners=listeners,
            limits=Limits(maxConnections=5),
            drainTimeout=10.0,
            logConnections=True,
            proxies=(ip_network("10.0.0.0/8"),),
        )
        given = Configuration("reactor", 1, shared, plan)
        self.process.spawn(self.spawner, given, sockets)
        for descriptor in self.spawner.childFDs.values():
            if descriptor != "r":
                self.addCleanup(os.close, descriptor)
        return given

    def connect(self) -> WorkerEnd:
        """Return the worker's end of the control connection."""
        far = WorkerEnd()
        factory = Factory.forProtocol(lambda: far)
        self.spawner.adoptStreamConnection(self.spawner.childFDs[3], socket.AF_UNIX, factory)
        return far


class SpawnTests(WorkerProcessTestCase):
    """A process is spawned with all that it needs."""

    def test_configuration(self) -> None:
        """Its configuration comes whole, with its own numbers of the descriptors; certificates aren't read again."""
        folder = Path(self.enterContext(TemporaryDirectory()))
        writeCertificates(folder)
        certificate = ServerCertificate(f"{folder}/server.pem")
        listeners = [InheritedListener(f"ssl:{i}", "INET", 6 + i, certificate) for i in range(2)]
        with socket.socket() as first, socket.socket() as second:
            given = self.spawn(*listeners, sockets=(first, second))
            assert [os.fstat(self.spawner.childFDs[6 + i]).st_ino for i in range(2)] == [
                os.fstat(each.fileno()).st_ino for each in (first, second)
            ]
        Path(folder, "server.pem").unlink()
        with os.fdopen(os.dup(self.spawner.childFDs[0]), "rb") as file:
            file.seek(0)
            configuration = pickle.load(file)  # noqa: S301  # our own
        assert (configuration.shared.page, configuration.shared.room) == (4, 5)
        assert replace(configuration.plan, listeners=()) == replace(given.plan, listeners=())
        ours, other = (listener.certificate for listener in configuration.plan.listeners)
        assert ours is other
        assert ours.context

    def test_signals(self) -> None:
        """Until it ignores the signals that are the parent's they are blocked, there and nowhere else."""
        self.spawn()
        assert set(IGNORED) <= self.spawner.blocked
        assert not set(IGNORED) & signal.pthread_sigmask(signal.SIG_BLOCK, [])

    def test_descriptors(self) -> None:
        """Of what it was spawned with, this process keeps one end of the control connection."""
        before = openDescriptors()
        self.spawn()
        ours = openDescriptors() - before
        copies = {str(descriptor) for descriptor in self.spawner.childFDs.values()}
        assert len(ours - copies) == 1 + 3  # and what the test shares, and mmap's copy

    def test_pid(self) -> None:
        """Its number is known also when it is gone, and to kill it then does nothing."""
        self.spawn()
        assert self.process.pid == 4242
        self.process.kill()


class ControlTests(WorkerProcessTestCase):
    """A worker is answered, and told."""

    def setUp(self) -> None:
        """Connect it."""
        super().setUp()
        self.spawn()
        self.far = self.connect()

    def test_ready(self) -> None:
        """It is ready when it says so, and not when it says that it can't be."""
        assert not self.process.isReady
        self.far.callRemote(Ready, error="")
        self.spawner.until(lambda: self.process.isReady)
        self.far.callRemote(Ready, error="no")
        self.spawner.until(lambda: self.process.error == "no")
        assert not self.process.isReady

    def test_peers(self) -> None:
        """The limit to each peer is asked for it; what it doesn't give back is given back when it ends."""
        answers: list[bool] = []
        for _ in range(3):
            answer: Any = self.far.callRemote(Enter, peer="192.0.2.1")
            answer.addCallback(lambda response: answers.append(response["isAdmitted"]))
        self.spawner.until(lambda: len(answers) == 3)
        assert answers == [True, True, False]
        self.far.callRemote(Leave, peer="192.0.2.1")
        self.spawner.until(lambda: self.limit.enter("192.0.2.1"))
        self.process.processEnded(Failure(ProcessDone(0)))
        assert self.process.peers == {"192.0.2.1": 1}
        self.process.disconnected()
        assert self.limit._counts == {"192.0.2.1": 1}

    def test_forgottenPeers(self) -> None:
        """Of a peer without a connection nothing is kept, however many there were."""
        for i in range(3):
            self.far.callRemote(Enter, peer=f"192.0.2.{i}")
            self.far.callRemote(Leave, peer=f"192.0.2.{i}")
        done: Any = self.far.callRemote(Enter, peer="192.0.2.9")
        self.spawner.until(lambda: done.called)
        assert list(self.process.peers) == ["192.0.2.9"]

    def test_told(self) -> None:
        """It is told what it has to do."""
        self.process.tell(Drain, deadline=0.1 + 0.2)
        self.process.tell(Reload, listeners=["ssl:1", "ü"])
        self.spawner.until(lambda: len(self.far.told) == 2)
        assert self.far.told == [("drain", 0.1 + 0.2), ("reload", ["ssl:1", "ü"])]


class EndTests(WorkerProcessTestCase):
    """A process ends in one of several ways."""

    def test_notConnected(self) -> None:
        """Before it is connected, and after that, telling it something does no harm."""
        self.process.tell(Drain, deadline=1.0)
        self.spawn()
        far = self.connect()
        assert far.transport
        far.transport.loseConnection()
        self.spawner.turn()
        self.process.tell(Drain, deadline=1.0)

    def test_ends(self) -> None:
        """How it ended can be said."""
        for reason, error, end in (
            (ProcessDone(0), "", CLEANLY),
            (ProcessTerminated(1), "", "with exit code 1"),
            (ProcessTerminated(1), "no key", "with exit code 1 (no key)"),
            (ProcessTerminated(None, 9), "", "by signal 9"),
        ):
            process = WorkerProcess(1, 0.0, self.limit, self.ended.append)
            process.processEnded(Failure(reason))
            assert self.ended == []
            process.error = error
            process.disconnected()
            assert (process.end, self.ended.pop()) == (end, process)

    def test_lastWords(self) -> None:
        """Its end is known when the process has ended and its connection, too, in whatever order that is noticed."""
        self.spawn()
        far = self.connect()
        far.callRemote(Ready, error="no key")
        assert far.transport
        far.transport.loseConnection()
        os.dup2(0, self.spawner.childFDs[3])  # which closes it
        self.process.processEnded(Failure(ProcessTerminated(1)))
        assert self.ended == []
        self.spawner.until(lambda: bool(self.ended))
        assert self.process.end == "with exit code 1 (no key)"


class LogTests(SynchronousTestCase):
    """What a worker logs is logged by its parent, as if that had done it."""

    def setUp(self) -> None:
        """Make a process that ended somehow."""
        self.process = WorkerProcess(0, 0.0, PeerLimit(Clock(), 1), lambda _: None)

    def relayed(self, namespace: str, log: str, **fields: object) -> LogEvent:
        """Return the event that arrives of one that was logged, in pieces."""
        with capturedLogs() as sent:
            Logger(namespace).warn(log, **fields)
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as source:
            LogToParent(writing)(sent[0])
            os.close(writing)
            line = source.read()
        with capturedLogs() as events:
            for byte in line:
                self.process.outReceived(bytes([byte]))
        (event,) = events
        return event

    def test_ours(self) -> None:
        """Our own events come with all their fields, and formatted as they were."""
        event = self.relayed("echoup.x", "seconds={seconds:.3f} peer={peer}", seconds=1.23456, peer="é\n")
        assert formatEvent(event) == "seconds=1.235 peer=é\n"
        assert (event["seconds"], event["peer"]) == (1.23456, "é\n")
        assert (event["log_namespace"], event["log_level"].name) == ("echoup.x", "warn")

    def test_others(self) -> None:
        """Of others', what can't be sent as it is comes as text."""
        event = self.relayed("twisted.x", "it is {thing!r}", thing=StringTransport)
        assert "StringTransport" in str(formatEvent(event))

    def test_unfinished(self) -> None:
        """What a worker didn't finish before it was killed is forgotten."""
        with capturedLogs() as events:
            self.process.outReceived(eventAsJSON({"log_namespace": "echoup", "log_format": "x"}).encode()[:10])
            self.process.processEnded(Failure(ProcessTerminated(None, 9)))
        assert events == []
