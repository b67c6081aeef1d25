"""A worker process, as the supervisor sees it."""

import json
import os
import pickle
import signal
import socket
import time
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, Logger, capturedLogs, eventAsJSON, formatEvent, jsonFileLogObserver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echoup.server.admission.peers import PeerLimit
from echoup.server.listening.certificate import ServerCertificate
from echoup.server.listening.inherited import InheritedListener
from echoup.server.settings import Limits, Plan
from echoup.server.workers.commands import (
    CONFIGURATION,
    ERRORS,
    LISTENING,
    LOG,
    OUTPUT,
    PAGE,
    ROOM,
    SAID,
    TOLD,
    Configuration,
    encode,
)
from echoup.server.workers.memory import Shared
from echoup.server.workers.process import BLOCKED, CLEANLY, PATIENCE, State, WorkerProcess
from tests.support.certificates import writeCertificates
from tests.support.descriptors import keepsDescriptors
from tests.support.doubles import HandReactor, ReactorTestCase


class Spawned:
    """The transport of a process that ended already; it has the messages that the process was sent."""

    pid = 4242

    def __init__(self) -> None:
        self.told: list[list[object]] = []
        self.isConnected = True

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        """Record the messages, or fail as Twisted's transport does where the pipe is closed."""
        if not self.isConnected:
            raise KeyError(descriptor)
        assert descriptor == TOLD
        self.told += map(json.loads, data.splitlines())

    def signalProcess(self, name: str) -> None:
        """Fail."""
        raise ProcessExitedAlready


class Spawner(HandReactor):
    """A reactor that starts no process, but records what it would have given it."""

    def spawnProcess(  # type: ignore[override]  # with what is used here
        self, protocol: ProcessProtocol, *arguments: object, childFDs: dict[int, Any]
    ) -> Any:
        """Record all that a process would get, and which signals are blocked at its start."""
        self.blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        self.childFDs = childFDs
        self.files = {number: os.fstat(given).st_ino for number, given in childFDs.items() if isinstance(given, int)}
        with os.fdopen(os.dup(childFDs[CONFIGURATION]), "rb") as file:
            self.configuration = pickle.load(file)  # noqa: S301  # our own
        protocol.transport = Spawned()  # type: ignore[assignment]  # as far as it is needed
        return protocol.transport


class WorkerProcessTestCase(ReactorTestCase):
    """A test with a worker process that isn't one."""

    def setUp(self) -> None:
        """Make it."""
        super().setUp()
        self.limit = PeerLimit(Clock(), 2)
        self.process = WorkerProcess(self.reactor, self.limit)
        self.transport = Spawned()
        self.process.transport = self.transport  # type: ignore[assignment]  # as far as it is needed

    def say(self, *message: object) -> list[list[object]]:
        """Let the process say something, and return all that it was told by now."""
        self.process.childDataReceived(SAID, encode(*message))
        return self.transport.told


class SpawnTests(WorkerProcessTestCase):
    """A process is spawned with all that it needs."""

    def setUp(self) -> None:
        """Make a reactor that starts no process."""
        super().setUp()
        self.spawner = Spawner()
        self.addCleanup(self.spawner.close)

    def spawn(self, *listeners: InheritedListener, inherited: tuple[int, ...] = ()) -> Configuration:
        """Spawn it, and return its configuration as it was given."""
        plan = Plan(
            listeners=listeners,
            limits=Limits(maxConnections=5),
            drainTimeout=10.0,
            logConnections=True,
            proxies=(ip_network("10.0.0.0/8"),),
        )
        given = Configuration("reactor", 1, 7, Shared(10, 11, 2, 5, ("ssl:0",)), plan)
        self.process.spawn(self.spawner, given, inherited)
        return given

    def test_configurationComesWhole(self) -> None:
        """All of the configuration arrives; the certificates aren't read again."""
        folder = Path(self.enterContext(TemporaryDirectory()))
        writeCertificates(folder)
        certificate = ServerCertificate(f"{folder}/server.pem")
        listeners = [InheritedListener(f"ssl:{i}", "INET", LISTENING + i, certificate) for i in range(2)]
        Path(folder, "server.pem").unlink()
        given = self.spawn(*listeners)
        arrived = self.spawner.configuration
        assert (arrived.reactor, arrived.number, arrived.serial) == ("reactor", 1, 7)
        assert arrived.shared == given.shared
        assert arrived.plan.limits == given.plan.limits
        assert (arrived.plan.drainTimeout, arrived.plan.logConnections) == (10.0, True)
        assert arrived.plan.proxies == given.plan.proxies
        ours, other = (listener.certificate for listener in arrived.plan.listeners)
        assert ours is other
        assert ours.context

    def test_processGetsDescriptors(self) -> None:
        """It gets pipes, the stderr of the supervisor, and what it inherits, from PAGE on."""
        with socket.socket() as first, socket.socket() as second:
            inherited = (0, 1, first.fileno(), second.fileno())
            self.spawn(inherited=inherited)
            pipes = {number: given for number, given in self.spawner.childFDs.items() if isinstance(given, str)}
            assert pipes == {TOLD: "w", SAID: "r", LOG: "r"}
            expected = zip((OUTPUT, ERRORS, PAGE, ROOM, LISTENING, LISTENING + 1), (2, 2, *inherited), strict=True)
            for number, descriptor in expected:
                assert self.spawner.files[number] == os.fstat(descriptor).st_ino

    def test_processStartsWithBlockedSignals(self) -> None:
        """The signals that are the supervisor's are blocked at its start, in no other process and at no other time."""
        self.spawn()
        assert set(BLOCKED) <= self.spawner.blocked
        assert not set(BLOCKED) & signal.pthread_sigmask(signal.SIG_BLOCK, [])

    def test_configurationIsClosed(self) -> None:
        """Of what it was spawned with, this process keeps nothing but the pipes."""
        with keepsDescriptors():
            self.spawn()

    def test_processIsShown(self) -> None:
        """It is shown by its serial number, with the time of its start."""
        before = time.time()
        self.spawn()
        view = self.process.view
        assert (view.number, view.pid, view.state) == (7, 4242, "starting")
        assert before <= view.startedAt <= time.time()

    def test_goneProcessHasNumber(self) -> None:
        """Its number is known also when it is gone, and to kill it then does nothing."""
        self.spawn()
        assert self.process.pid == 4242
        self.process.kill()


class MessageTests(WorkerProcessTestCase):
    """A worker is heard, answered and told."""

    def test_stateIsWhatProcessSays(self) -> None:
        """It serves when it says so, and not before."""
        states = [self.process.state]
        self.say("ready")
        assert [*states, self.process.state] == [State.STARTING, State.SERVING]

    def test_failedProcessIsNotServing(self) -> None:
        """It doesn't serve when it says that it can't; its error is kept."""
        self.say("failed", "no key: ü\udcff")
        assert self.process.state is State.STARTING
        assert self.process.error == "no key: ü\udcff"

    def test_processAsksForItsPeers(self) -> None:
        """The limit to each peer is asked for it; what it doesn't give back is given back when it ends."""
        for _ in range(3):
            told = self.say("enter", "192.0.2.1")
        assert told == [["entered", True], ["entered", True], ["entered", False]]
        self.say("leave", "192.0.2.1")
        assert self.limit.enter("192.0.2.1")
        self.process.processEnded(Failure(ProcessDone(0)))
        assert self.limit._counts == {"192.0.2.1": 1}

    def test_peersWithoutConnectionAreDropped(self) -> None:
        """Of a peer without a connection nothing is kept, also if it was refused."""
        full = PeerLimit(Clock(), 0)
        for limit in (self.limit, full):
            self.process._limit = limit
            for i in range(3):
                told = self.say("enter", f"192.0.2.{i}")
                if told[-1] == ["entered", True]:
                    self.say("leave", f"192.0.2.{i}")
        assert not self.process._peers

    def test_messagesArriveInPieces(self) -> None:
        """What it says and what it logs may come in pieces, by turns."""
        said = encode("enter", "192.0.2.1")
        with capturedLogs() as events:
            Logger("echoup").info("x")
            logged = eventAsJSON(events[0]).encode() + b"\n"
            for i in range(max(len(said), len(logged))):
                self.process.childDataReceived(SAID, said[i : i + 1])
                self.process.childDataReceived(LOG, logged[i : i + 1])
        assert self.transport.told == [["entered", True]]
        assert [formatEvent(event) for event in events] == ["x", "x"]

    def test_messagesArriveAsTheyWere(self) -> None:
        """What it is told arrives as it was."""
        self.process.tell("drain", 0.1 + 0.2)
        self.process.tell("reload", ["ssl:1", "ü\n"])
        assert self.transport.told == [["drain", 0.1 + 0.2], ["reload", ["ssl:1", "ü\n"]]]

    def test_closedPipeTakesNoMessage(self) -> None:
        """To tell it something while it ends does nothing."""
        self.transport.isConnected = False
        self.process.tell("drain", 1.0)
        assert self.transport.told == []


class QuestionTests(WorkerProcessTestCase):
    """A worker is asked questions, which it may answer in any order, or not at all."""

    def setUp(self) -> None:
        """Let it serve."""
        super().setUp()
        self.say("ready")

    def test_answersFindTheirQuestions(self) -> None:
        """Several questions at a time may be answered in any order, and each gets its own answer."""
        measured, first, second = (self.process.ask(*each) for each in (["measure"], ["list", "", "a"], ["list", "7"]))
        assert self.transport.told == [["measure", 0], ["list", 1, "", "a"], ["list", 2, "7"]]
        self.say("listed", 2, [{"id": "1.8"}], "")
        self.say("listed", 1, [], "5")
        self.say("measured", 0)
        answers = [self.successResultOf(each) for each in (measured, first, second)]
        assert answers == [[], [[], "5"], [[{"id": "1.8"}], ""]]
        assert self.reactor.getDelayedCalls() == []

    def test_silentProcessIsGivenUp(self) -> None:
        """A question without an answer is given up after a while, and no other one is asked before the late answer."""
        asked = self.process.ask("measure")
        self.reactor.advance(PATIENCE - 0.1)
        assert not asked.called
        other = self.process.ask("measure")
        self.reactor.advance(0.2)
        assert self.successResultOf(asked) is None
        for _ in range(3):
            assert self.successResultOf(self.process.ask("measure")) is None
        assert self.transport.told == [["measure", 0], ["measure", 1]]
        self.say("measured", 0)
        self.say("measured", 1)
        assert self.successResultOf(other) == []
        self.process.ask("measure")
        assert self.say("measured", 2)[-1] == ["measure", 2]

    def test_endAnswersAllQuestions(self) -> None:
        """A process that ends leaves no question open; afterwards, and before it serves, it isn't asked any."""
        asked = [self.process.ask("measure") for _ in range(3)]
        self.reactor.advance(PATIENCE / 2)
        asked.append(self.process.ask("list", "", ""))
        self.process.processEnded(Failure(ProcessTerminated(None, 9)))
        starting = WorkerProcess(self.reactor, self.limit)
        assert [self.successResultOf(each) for each in asked] == [None] * 4
        assert [self.successResultOf(each.ask("measure")) for each in (self.process, starting)] == [None] * 2
        assert self.reactor.getDelayedCalls() == []


class EndTests(WorkerProcessTestCase):
    """A process ends in one of several ways."""

    def test_endIsDescribed(self) -> None:
        """How it ended is known once it has ended."""
        for reason, error, end in (
            (ProcessDone(0), "", CLEANLY),
            (ProcessTerminated(1), "", "with exit code 1"),
            (ProcessTerminated(1), "no key", "with exit code 1 (no key)"),
            (ProcessTerminated(None, 9), "", "by signal 9"),
        ):
            process = WorkerProcess(self.reactor, self.limit)
            if error:
                process.childDataReceived(SAID, encode("failed", error))
            self.assertNoResult(process.ended)
            process.processEnded(Failure(reason))
            self.successResultOf(process.ended)
            assert (process.state, process.end) == (State.ENDED, end)


class LogTests(SynchronousTestCase):
    """What a worker logs is logged by the supervisor, as if that had done it."""

    def setUp(self) -> None:
        """Make a process."""
        self.process = WorkerProcess(Clock(), PeerLimit(Clock(), 1))

    def relayed(self, namespace: str, log: str, **fields: object) -> LogEvent:
        """Return the event that arrives of one that was logged, in pieces."""
        with capturedLogs() as sent:
            Logger(namespace).warn(log, **fields)
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as source:
            with os.fdopen(writing, "w", encoding="utf-8") as pipe:
                jsonFileLogObserver(pipe, recordSeparator="")(sent[0])
            line = source.read()
        with capturedLogs() as events:
            for byte in line:
                self.process.childDataReceived(LOG, bytes([byte]))
        (event,) = events
        return event

    def test_ownEventsComeWhole(self) -> None:
        """Our own events come with all their fields, and formatted as they were."""
        event = self.relayed("echoup.x", "seconds={seconds:.3f} peer={peer}", seconds=1.23456, peer="é\n")
        assert formatEvent(event) == "seconds=1.235 peer=é\n"
        assert (event["seconds"], event["peer"]) == (1.23456, "é\n")
        assert (event["log_namespace"], event["log_level"].name) == ("echoup.x", "warn")

    def test_ownFieldsKeepTheirTypes(self) -> None:
        """Each field of our own events is a member of the event, and numbers are numbers, not texts."""
        fields = {"id": "3.17", "bytes": 2**40, "seconds": 0.125, "reason": "done", "via": None, "isCut": False}
        event = self.relayed("echoup.x", "connection id={id} {bytes} bytes in {seconds:.3f} s", **fields)
        assert {name: event[name] for name in fields} == fields
        assert "log_flattened" not in event
        again = json.loads(eventAsJSON(event))
        assert {name: again[name] for name in fields} == fields

    def test_objectsInOtherEventsComeAsText(self) -> None:
        """In events of others, what can't be sent as it is comes as text."""
        event = self.relayed("twisted.x", "it is {thing!r}", thing=StringTransport)
        assert "StringTransport" in str(formatEvent(event))

    def test_unfinishedLineIsDropped(self) -> None:
        """A line that a worker didn't finish before it was killed isn't logged."""
        with capturedLogs() as events:
            line = eventAsJSON({"log_namespace": "echoup", "log_format": "x"}).encode()
            self.process.childDataReceived(LOG, line[:10])
            self.process.processEnded(Failure(ProcessTerminated(None, 9)))
        assert events == []
