"""The supervisor starts workers, replaces them and stops them."""

import json
import os
import pickle
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from errno import ENOENT
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from echoup.server.counts import ListenerCounts, Total
from echoup.server.datagram.port import parseDatagramListener
from echoup.server.listening.listeners import ListenError, StartError, parseListener
from echoup.server.overview import Check, IMainService, Overview, Slice
from echoup.server.reasons import EndReason
from echoup.server.settings import Limits, Plan
from echoup.server.workers import supervisor as workers
from echoup.server.workers.commands import CONFIGURATION, LISTENING, PAGE, ROOM, SAID, encode
from echoup.server.workers.memory import Page, SharedSlots
from echoup.server.workers.process import PATIENCE
from echoup.server.workers.supervisor import GRACE, STEADY, WorkersService
from tests.support.certificates import writeCertificates
from tests.support.descriptors import keepsDescriptors
from tests.support.doubles import HandReactor, ReactorTestCase, raised

DRAIN = 10.0


class Child:
    """The transport of a worker that is no process: it says what the test wants, and records what it is told."""

    def __init__(self, reactor: "Spawner", protocol: ProcessProtocol, descriptors: dict[int, int]) -> None:
        self.reactor = reactor
        self.protocol = protocol
        self.descriptors = descriptors
        self.pid = 1000 + len(reactor.spawned)
        self.told: list[list[object]] = []
        with os.fdopen(os.dup(descriptors[CONFIGURATION]), "rb") as file:
            self.configuration = pickle.load(file)  # noqa: S301  # our own
        self.shared = replace(self.configuration.shared, page=descriptors[PAGE], room=descriptors[ROOM])

    def begin(self) -> None:
        """Say what the test wants, if it wants something; a worker that failed ends."""
        if self.reactor.answer:
            self.say(*self.reactor.answer)
            if self.reactor.answer[0] == "failed":
                self.end(ProcessTerminated(1))

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        """Record the messages."""
        self.told += map(json.loads, data.splitlines())

    def say(self, *message: object) -> None:
        """Say something."""
        self.protocol.childDataReceived(SAID, encode(*message))

    def signalProcess(self, name: str) -> None:
        """End."""
        self.end(ProcessTerminated(None, getattr(signal, f"SIG{name}")))

    def end(self, reason: Exception) -> None:
        """End, as a process does."""
        if self in self.reactor.alive:
            self.reactor.alive.remove(self)
            self.close()
            self.reactor.callLater(0, self.protocol.processEnded, Failure(reason))

    @property
    def counts(self) -> ListenerCounts:
        """What it counts of the first listener."""
        (counts, *_) = Page(self.shared).counts(self.configuration.number).listeners.values()
        return counts

    def close(self) -> None:
        """Close what it got."""
        for descriptor in self.descriptors.values():
            os.close(descriptor)
        self.descriptors = {}


class Spawner(HandReactor):
    """A reactor whose processes are `Child`ren."""

    answer: tuple[str, ...] = ("ready",)
    """The message of each that begins; none if it is empty."""
    refusal: Exception | None = None
    """Why there can't be another one."""

    def __init__(self) -> None:
        self.spawned: list[Child] = []
        self.alive: list[Child] = []
        super().__init__()

    def spawnProcess(  # type: ignore[override]  # with what is used here
        self, protocol: ProcessProtocol, *arguments: object, childFDs: dict[int, Any]
    ) -> Any:
        """Make a child."""
        if self.refusal:
            raise self.refusal
        descriptors = {number: os.dup(given) for number, given in childFDs.items() if isinstance(given, int)}
        child = Child(self, protocol, descriptors)
        self.spawned.append(child)
        self.alive.append(child)
        protocol.transport = child  # type: ignore[assignment]  # as far as it is needed
        self.callLater(0, child.begin)
        return child

    def close(self) -> None:
        """Close what the children have, too."""
        for child in self.alive:
            child.close()
        super().close()


class WorkersTestCase(ReactorTestCase):
    """A test with a service of two workers."""

    def setUp(self) -> None:
        """Make it."""
        super().setUp()
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.spawner = Spawner()
        self.addCleanup(self.spawner.close)
        self.patch(workers, "reapAllProcesses", lambda: None)
        self.patch(workers, "DELAYS", (0.0, 1.0, 2.0, 4.0))

    def build(self, *descriptions: str, udp: tuple[str, ...] = ()) -> WorkersService:
        """Return a service that isn't started."""
        listeners = tuple(map(parseListener, descriptions or ("127.0.0.1:0",)))
        limits = Limits(maxConnections=5, maxConnectionsPerPeer=1)
        plan = Plan(
            listeners=listeners,
            limits=limits,
            drainTimeout=DRAIN,
            datagramListeners=tuple(map(parseDatagramListener, udp)),
        )
        return WorkersService(self.spawner, plan, workers=2)

    def said(self, call: Callable[[], object]) -> list[str]:
        """Return the lines that our own code logs during a call."""
        with capturedLogs() as events:
            call()
        ours = [event for event in events if event["log_namespace"].startswith("echoup")]
        return [f"{event['log_level'].name}: {formatEvent(event)}" for event in ours]

    def start(self, *descriptions: str) -> None:
        """Start a service."""
        self.service = self.build(*descriptions)
        self.service.startService()
        self.addCleanup(self.close, self.service)

    def close(self, service: WorkersService) -> None:
        """Close what a service that was started has open, unless it was stopped."""
        if service.running:
            service._close()
            service._page.close()


class StartTests(WorkersTestCase):
    """A start is over when all workers serve, or has failed."""

    def test_supervisorIsService(self) -> None:
        """It is a service."""
        verifyObject(IMainService, self.build())

    def test_startTellsAddresses(self) -> None:
        """When all workers serve, the addresses are logged once; each worker has a TCP socket of its own."""
        service = self.build("127.0.0.1:0", f"unix:{self.folder}/socket", udp=("127.0.0.1:0",))
        self.addCleanup(self.close, service)
        assert self.said(service.privilegedStartService) == []
        lines = self.said(service.startService)
        tcp, unix = (opening for _, opening in service._openings)
        assert lines[:2] == [f"info: listening on {tcp.address}", f"info: listening on unix:{self.folder}/socket"]
        assert lines[2].startswith("info: listening on udp:127.0.0.1:")
        assert [child.configuration.number for child in self.spawner.spawned] == [0, 1]
        for number, child in enumerate(self.spawner.spawned):
            sockets = [os.fstat(child.descriptors[LISTENING + i]).st_ino for i in range(2)]
            assert sockets == [os.fstat(tcp.sockets[number].fileno()).st_ino, os.fstat(unix.sockets[0].fileno()).st_ino]
            first, second = child.configuration.plan.listeners
            assert (first.domain, first.descriptor) == ("INET", LISTENING)
            assert (second.domain, second.descriptor) == ("UNIX", LISTENING + 1)

    def test_takenAddressLeavesNothingOpen(self) -> None:
        """Where an address is taken nothing is left open."""
        with socket.create_server(("127.0.0.1", 0)) as other, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            datagrams.bind(("127.0.0.1", 0))
            taken, takenToo = (f"127.0.0.1:{each.getsockname()[1]}" for each in (other, datagrams))
            raised(ListenError, self.build(f"unix:{self.folder}/socket", taken).startService)  # Twisted keeps one open
            for service, address in (
                (self.build("127.0.0.1:0", f"unix:{self.folder}/socket", taken), taken),
                (self.build(f"unix:{self.folder}/socket", udp=(takenToo,)), f"udp:{takenToo}"),
            ):
                with keepsDescriptors():
                    error = raised(ListenError, service.startService)
                assert str(error) == f"address already in use: cannot listen on {address}"
                assert list(self.folder.iterdir()) == []
        assert self.spawner.spawned == []

    def test_failingWorkerEndsStart(self) -> None:
        """When a worker can't serve, the start fails with that worker's error, and no worker is left."""
        self.spawner.answer = ("failed", "permission denied: server.pem")
        error = raised(StartError, self.build().startService)
        assert str(error) == "permission denied: server.pem: cannot start the workers"
        assert self.spawner.alive == []

    def test_endingWorkerEndsStart(self) -> None:
        """When a worker ends before it serves, the start fails."""
        self.spawner.answer = ()
        self.spawner.callLater(0, lambda: self.spawner.spawned[1].end(ProcessTerminated(3)))
        error = raised(StartError, self.build().startService)
        assert str(error) == "a worker ended with exit code 3: cannot start the workers"
        assert self.spawner.alive == []

    def test_missingProcessEndsStart(self) -> None:
        """When no process can be started, the start fails."""
        self.spawner.refusal = OSError("no more processes")
        error = raised(StartError, self.build().startService)
        assert str(error) == "no more processes: cannot start the workers"

    def test_missingFileIsNamed(self) -> None:
        """Where a file of the workers is missing or can't be read, its name is said."""
        self.spawner.refusal = FileNotFoundError(ENOENT, "No such file or directory", "/bin/python")
        error = raised(StartError, self.build().startService)
        assert str(error) == "no such file or directory: cannot start the workers: /bin/python"

    def test_unreadableModulesEndStart(self) -> None:
        """Where the user, or the root folder, has no access to the workers' module, no worker is started."""
        self.patch(workers, "__file__", "/no/such/supervisor.py")
        error = raised(StartError, self.build().startService)
        assert str(error) == "no such file or directory: cannot start the workers: /no/such/worker.py"
        assert self.spawner.spawned == []

    def test_slowWorkerEndsStart(self) -> None:
        """When a worker isn't ready in time, the start fails."""
        self.spawner.answer = ()
        self.spawner.callLater(0, self.spawner.clock.advance, workers.START + 1)
        error = raised(StartError, self.build().startService)
        assert str(error) == "not ready after 30 seconds: cannot start the workers"
        assert self.spawner.alive == []


class ReplaceTests(WorkersTestCase):
    """A worker that ends is replaced, and what it held is free again."""

    def setUp(self) -> None:
        """Start the service."""
        super().setUp()
        self.start()

    def kill(self, child: Child) -> list[str]:
        """Kill it, and return what is logged."""
        child.signalProcess("KILL")
        return self.said(self.spawner.turn)

    def test_repeatedEndsDelayReplacement(self) -> None:
        """A worker is replaced at once, then later and later, until one has run for a while."""
        for delay in (0.0, 1.0, 2.0, 4.0, 4.0):
            child = self.spawner.alive[-1]
            when = f" in {delay:.1f} s" if delay else ""
            assert self.kill(child) == [f"error: worker {child.pid} ended by signal 9; starting a replacement{when}"]
            if delay:
                assert len(self.spawner.alive) == 1
                self.spawner.advance(delay - 0.1)
                assert len(self.spawner.alive) == 1
                self.spawner.advance(0.15)
            assert len(self.spawner.alive) == 2
            assert self.spawner.alive[-1].configuration.number == 1
        self.spawner.advance(STEADY, step=1)
        assert self.kill(self.spawner.alive[-1])[0].endswith("; starting a replacement")
        assert len(self.spawner.alive) == 2

    def test_missingProcessIsTriedAgain(self) -> None:
        """When no process can be started, for whatever reason, that is tried again."""
        for refusal in (OSError("no more processes"), MemoryError("no more memory")):
            self.spawner.refusal = refusal
            lines = self.kill(self.spawner.alive[0])
            assert lines[1:] == [f"error: cannot start a worker: {refusal}; starting a replacement in 1.0 s"]
            self.spawner.refusal = None
            self.spawner.advance(1.1)
            assert len(self.spawner.alive) == 2
            self.spawner.advance(STEADY, step=1)

    def test_placesOfEndedWorkersAreFree(self) -> None:
        """The places that a worker held are free again, and no others, however many workers end."""
        for _ in range(2):
            for number, child in enumerate(list(self.spawner.alive)):
                slots = SharedSlots(self.spawner, Page(child.shared), child.configuration.number)
                for _ in range(2 + number):
                    assert slots.take()
                assert not number or not slots.take()
            for child in list(self.spawner.alive):
                self.kill(child)
            self.spawner.advance(2)
            assert self.service._page.free == 5


class OverviewTests(WorkersTestCase):
    """What all workers do together is known, whatever becomes of one of them."""

    def setUp(self) -> None:
        """Start the service."""
        super().setUp()
        self.start("127.0.0.1:0", f"unix:{self.folder}/socket")

    def overview(self) -> "Deferred[Overview]":
        """Ask for it."""
        overview = self.service.overview()
        self.spawner.turn()
        return overview

    def listed(self, cursor: str, peer: str = "") -> "Deferred[Slice]":
        """Ask for connections."""
        listed = self.service.connectionsAfter(cursor, peer)
        self.spawner.turn()
        return listed

    def test_overviewIsOfAllWorkers(self) -> None:
        """All workers bring their counts up to date, at the same time, and the sum is what is shown."""
        asked = self.overview()
        for child in self.spawner.alive:
            self.assertNoResult(asked)
            assert child.told == [["measure", 0]]
            child.counts.add(Total.OPENED, child.configuration.serial)
            child.say("measured", 0)
        overview = self.successResultOf(asked)
        assert [(counts.open, counts[Total.SENT]) for counts in overview.counts.listeners.values()] == [(3, 0), (0, 0)]
        assert [(view.number, view.pid, view.state) for view in overview.workers] == [
            (1, self.spawner.alive[0].pid, "serving"),
            (2, self.spawner.alive[1].pid, "serving"),
        ]
        assert (overview.workerRestarts, overview.silentWorkers) == (0, ())

    def test_queuesAreThoseOfAllSockets(self) -> None:
        """The connections in the queues of all sockets of an address are summed, and so are the limits."""
        (_, tcp), (_, unix) = self.service._openings
        for listening in tcp.sockets:
            listening.listen(3)
        with ExitStack() as opened:
            for _ in range(4):
                opened.enter_context(socket.create_connection(tcp.sockets[0].getsockname()))
            asked = self.overview()
            for child in self.spawner.alive:
                child.say("measured", 0)
            views = self.successResultOf(asked).listeners
        assert [(view.description, view.addresses) for view in views] == [
            ("127.0.0.1:0", (tcp.address,)),
            (f"unix:{self.folder}/socket", (unix.address,)),
        ]
        assert [(view.queue, view.queueLimit) for view in views] == [(4, 6), (None, None)]

    def test_silentWorkerIsStillCounted(self) -> None:
        """The counts of a worker that doesn't answer are those that it had, and it is named."""
        silent, other = self.spawner.alive
        silent.counts.add(Total.OPENED, 2)
        asked = self.overview()
        other.say("measured", 0)
        self.spawner.advance(PATIENCE - 0.1)
        self.assertNoResult(asked)
        self.spawner.advance(0.2)
        overview = self.successResultOf(asked)
        assert overview.counts[Total.OPENED] == 2
        assert overview.silentWorkers == (1,)
        assert self.service._clock.getDelayedCalls() == []

    def test_killedWorkerIsCounted(self) -> None:
        """A worker that is killed while it is asked leaves no question open; its connections are counted as killed."""
        killed, other = self.spawner.alive
        killed.counts.add(Total.OPENED, 3)
        killed.counts.add(EndReason.DONE)
        other.counts.add(Total.OPENED)
        asked = self.overview()
        other.say("measured", 0)
        killed.signalProcess("KILL")
        self.spawner.turn(1)
        overview = self.successResultOf(asked)
        assert (overview.counts[Total.OPENED], overview.counts[EndReason.KILLED]) == (4, 2)
        assert [(view.number, view.state) for view in overview.workers] == [(2, "serving"), (3, "starting")]
        assert (overview.workerRestarts, overview.silentWorkers) == (1, ())

    def test_missingWorkersAreCounted(self) -> None:
        """A worker that doesn't serve, because it waits for its replacement or that only starts, is missing."""
        for _ in range(2):
            assert Check("workers") in self.service.checks()
            self.spawner.alive[-1].signalProcess("KILL")
            self.spawner.turn(1)
            assert Check("workers", "1 of 2 missing") in self.service.checks()
            self.spawner.turn()
        assert len(self.spawner.alive) == 1
        overview = self.overview()
        self.spawner.alive[0].say("measured", 0)
        assert [view.state for view in self.successResultOf(overview).workers] == ["serving", "ended"]

    def test_fullnessIsThatOfAllWorkers(self) -> None:
        """When all workers together have taken all places for a while, the daemon isn't ready, and the log says so."""
        assert list(self.service.checks()) == [Check("full"), Check("workers"), Check("certificates")]
        slots = [SharedSlots(self.spawner, Page(child.shared), i) for i, child in enumerate(self.spawner.alive)]
        assert [slots[i % 2].take() for i in range(5)] == [True] * 5
        Page(self.spawner.alive[1].shared).counts(1).addFull()
        lines = self.said(lambda: self.spawner.advance(4))
        assert lines == [
            "warn: full: all 5 connections of --max-connections are taken; further clients wait in the kernel's queue"
        ]
        (check, *_) = self.service.checks()
        assert check.problem.startswith("5 connections for ")
        slots[0].give()
        assert self.said(lambda: self.spawner.advance(1)) == ["info: room again: 4 of 5 connections"]
        assert Check("full") in self.service.checks()

    def test_connectionsAreThoseOfOneWorkerAfterTheOther(self) -> None:
        """The workers are asked in turn, each until it has no more connections."""
        first, second = self.spawner.alive
        cursor, peer, found = "", "192.0.2.1:7", []
        for child, own, connections, nextOwn in (
            (first, "", [{"id": "1.1"}], "1.1"),
            (first, "1.1", [{"id": "1.2"}], ""),
            (second, "2.", [], "2.7"),
            (second, "2.7", [{"id": "2.9"}], ""),
        ):
            listed = self.listed(cursor, peer)
            name, ticket, *rest = child.told[-1]
            assert (name, rest) == ("list", [own, peer])
            child.say("listed", ticket, connections, nextOwn)
            some, cursor, silent = self.successResultOf(listed)
            found += some
            assert not silent
        assert cursor == ""
        assert [connection["id"] for connection in found] == ["1.1", "1.2", "2.9"]

    def test_endedAndSilentWorkersAreLeftOut(self) -> None:
        """The list goes on after a worker that ended, or that doesn't answer, which it names; replacements are last."""
        ended, silent = self.spawner.alive
        listed = self.listed("")
        ended.say("listed", 0, [{"id": "1.1"}], "1.1")
        _, cursor, _ = self.successResultOf(listed)
        listed = self.listed(cursor)
        ended.signalProcess("KILL")
        self.spawner.turn()
        connections, cursor, number = self.successResultOf(listed)
        assert (connections, number) == ([], 0)
        listed = self.listed(cursor)
        self.spawner.advance(PATIENCE + 0.1)
        connections, cursor, number = self.successResultOf(listed)
        assert (connections, number) == ([], 2)
        assert [message[0] for message in silent.told] == ["list"]
        listed = self.listed(cursor)
        self.spawner.alive[-1].say("listed", 0, [{"id": "3.1"}], "")
        assert self.successResultOf(listed) == ([{"id": "3.1"}], "", 0)

    def test_foreignCursorIsTheLast(self) -> None:
        """There are no connections after a cursor that none of our answers has."""
        for cursor in ("x", "1", "1:", "9.", "-1.", "1.x", "1" * 5000 + ".", "\0.\n"):
            assert self.successResultOf(self.service.connectionsAfter(cursor, "")) == ([], "", 0)

    def test_overviewIsKnownAfterStop(self) -> None:
        """When the last worker is gone the counts can still be read."""
        self.spawner.alive[0].counts.add(Total.OPENED)
        stopped = self.service.stopService()
        self.spawner.turn()
        for child in list(self.spawner.alive):
            child.end(ProcessDone(0))
        self.spawner.advance(0.5)
        self.successResultOf(stopped)
        overview = self.successResultOf(self.overview())
        assert overview.counts[EndReason.KILLED] == 1
        assert [view.state for view in overview.workers] == ["ended"] * 2
        assert self.successResultOf(self.service.connectionsAfter("", "")) == ([], "", 0)


class StopTests(WorkersTestCase):
    """A stop is over when all workers are gone."""

    def setUp(self) -> None:
        """Start the service."""
        super().setUp()
        self.start("127.0.0.1:0", f"unix:{self.folder}/socket")

    def stop(self) -> "Deferred[None]":
        """Begin to stop."""
        stopped = self.service.stopService()
        self.spawner.turn()
        return stopped

    def test_stopDrainsWorkers(self) -> None:
        """The workers are told the deadline, our copies of the sockets are closed, and the totals are logged."""
        children = list(self.spawner.alive)
        stopped = self.stop()
        assert [child.told for child in children] == [[["drain", DRAIN]]] * 2
        assert list(self.folder.iterdir()) == []
        for child in children:
            child.counts.add(Total.SERVED)
            child.counts.add(Total.RECEIVED, 10)
        self.spawner.advance(1)
        assert not stopped.called
        for child in children:
            child.end(ProcessDone(0))
        lines = self.said(lambda: self.spawner.advance(0.5))
        assert self.successResultOf(stopped) is None
        assert lines == ["info: served 2 connections, 20 bytes"]
        assert self.spawner.getDelayedCalls() == []

    def test_workerIsKilledAfterDeadline(self) -> None:
        """A worker that still runs some time after the deadline is killed; none is replaced."""
        self.spawner.alive[0].end(ProcessTerminated(1))
        self.spawner.turn()
        child = self.spawner.alive[0]
        child.counts.add(Total.OPENED)
        child.counts.add(Total.RECEIVED, 7)
        stopped = self.stop()
        lines = self.said(lambda: self.spawner.advance(DRAIN + GRACE - 0.1))
        assert lines == []
        assert len(self.spawner.alive) == 2
        lines = self.said(lambda: self.spawner.advance(1))
        assert len(lines) == 3
        assert lines[-1] == "info: served 0 connections, 7 bytes"
        self.successResultOf(stopped)
        assert self.service._counts[child.configuration.number][EndReason.KILLED] == 1
        assert len(self.spawner.spawned) == 3
        assert self.spawner.getDelayedCalls() == []

    def test_abortIsPassedOn(self) -> None:
        """The workers are told of `abortDrain`, and one that doesn't end is killed soon."""
        children = list(self.spawner.alive)
        stopped = self.stop()
        self.service.abortDrain()
        self.spawner.turn()
        assert [child.told[-1] for child in children] == [["abortDrain"]] * 2
        children[0].end(ProcessDone(0))
        self.spawner.advance(4)  # what a worker with thousands of connections may need under load
        assert self.spawner.alive == [children[1]]
        self.spawner.advance(GRACE)
        self.successResultOf(stopped)
        assert self.spawner.getDelayedCalls() == []

    def test_repeatedAbortGivesNoTime(self) -> None:
        """However often a stop is aborted, no worker has more time than without that."""
        stopped = self.stop()
        self.spawner.advance(DRAIN)
        for _ in range(3):
            self.spawner.advance(0.4 * GRACE)
            self.service.abortDrain()
        assert self.spawner.alive == []
        self.spawner.advance(1)
        self.successResultOf(stopped)

    def test_abortOutsideStopDoesNothing(self) -> None:
        """`abortDrain` does no harm before a stop, or when it is over."""
        self.service.abortDrain()
        children = list(self.spawner.alive)
        stopped = self.stop()
        for child in children:
            child.end(ProcessDone(0))
        self.spawner.advance(0.3)
        self.successResultOf(stopped)
        self.service.abortDrain()

    def test_stopCancelsReplacement(self) -> None:
        """A worker whose replacement is due later isn't replaced during a stop."""
        for _ in range(2):
            self.spawner.alive[-1].signalProcess("KILL")
            self.spawner.turn()
        assert len(self.spawner.alive) == 1
        stopped = self.stop()
        self.spawner.alive[0].end(ProcessDone(0))
        self.spawner.advance(5)
        self.successResultOf(stopped)
        assert len(self.spawner.spawned) == 3


class ReloadTests(WorkersTestCase):
    """The supervisor reads the certificates again, and then the workers do."""

    def test_workersReloadWhatSupervisorRead(self) -> None:
        """There is a log line for each listener, and the workers are told of those whose files could be read."""
        writeCertificates(self.folder)
        other = self.folder / "own.pem"
        other.write_bytes((self.folder / "server.pem").read_bytes())
        names = [f"ssl:0:interface=127.0.0.1:privateKey={self.folder}/{name}.pem" for name in ("server", "own")]
        self.start("127.0.0.1:0", *names)
        assert self.said(self.service.reload) == [
            f"info: reloaded the certificate in {self.folder}/{name}.pem" for name in ("server", "own")
        ]
        other.unlink()
        reason = f"{other}: No such file or directory"
        assert self.said(self.service.reload) == [
            f"info: reloaded the certificate in {self.folder}/server.pem",
            f"error: cannot reload the certificate in {other}; the old one stays in use: {reason}",
        ]
        self.spawner.turn()
        assert [child.told for child in self.spawner.alive] == [[["reload", names], ["reload", names[:1]]]] * 2

    def test_reloadWithoutCertificatesTellsNothing(self) -> None:
        """Without certificates the workers aren't told anything."""
        self.start()
        assert self.said(self.service.reload) == []
        self.spawner.turn()
        assert [child.told for child in self.spawner.alive] == [[], []]
