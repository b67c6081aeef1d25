"""The parent of workers: it starts them, replaces them and stops them."""

import os
import pickle
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.logger import capturedLogs, formatEvent
from twisted.protocols.amp import AMP
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from echoup.server.datagram.port import parseDatagramListener
from echoup.server.listening.listeners import ListenError, StartError, parseListener
from echoup.server.settings import Limits, Plan
from echoup.server.workers import supervisor as workers
from echoup.server.workers.commands import (
    CONFIGURATION,
    CONTROL,
    LISTENING,
    PAGE,
    ROOM,
    AbortDrain,
    Drain,
    Ready,
    Reload,
)
from echoup.server.workers.memory import Page, Row, Shared, SharedSlots
from echoup.server.workers.supervisor import GRACE, STEADY, WorkersService
from tests.support.certificates import writeCertificates
from tests.support.descriptors import openDescriptors
from tests.support.doubles import HandReactor, ReactorTestCase, raised

DRAIN = 10.0


class Child(AMP):
    """A worker that is no process: it says what it is told to say, and remembers what it is told."""

    def __init__(self, reactor: "Nursery", parent: ProcessProtocol, descriptors: dict[int, int]) -> None:
        super().__init__()
        self.reactor = reactor
        self.parent = parent
        self.descriptors = descriptors
        self.pid = 1000 + len(reactor.born)
        self.told: list[tuple[object, ...]] = []
        with os.fdopen(os.dup(descriptors[CONFIGURATION]), "rb") as file:
            file.seek(0)
            self.configuration = pickle.load(file)  # noqa: S301  # our own
        shared: Shared = self.configuration.shared
        self.shared = Shared(descriptors[PAGE], descriptors[ROOM], shared.workers, shared.maximum)

    def connectionMade(self) -> None:
        """Be ready, if the test wants that."""
        if self.reactor.answer is not None:
            self.callRemote(Ready, error=self.reactor.answer)

    @Drain.responder
    def drain(self, deadline: float) -> dict[str, object]:
        """Remember."""
        self.told.append(("drain", deadline))
        return {}

    @AbortDrain.responder
    def abortDrain(self) -> dict[str, object]:
        """Remember."""
        self.told.append(("abortDrain",))
        return {}

    @Reload.responder
    def reload(self, listeners: list[str]) -> dict[str, object]:
        """Remember."""
        self.told.append(("reload", *listeners))
        return {}

    def signalProcess(self, name: str) -> None:
        """End."""
        self.end(ProcessTerminated(None, getattr(signal, f"SIG{name}")))

    def end(self, reason: Exception) -> None:
        """End, as a process does."""
        if self in self.reactor.alive:
            self.reactor.alive.remove(self)
            self.close()
            self.reactor.callLater(0, self.parent.processEnded, Failure(reason))

    def close(self) -> None:
        """Close what it got."""
        if self.transport:
            self.transport.loseConnection()
        for descriptor in self.descriptors.values():
            os.close(descriptor)
        self.descriptors = {}


class Nursery(HandReactor):
    """A reactor whose processes are `Child`ren."""

    answer: str | None = ""
    """What they say when they begin: no error, or one; None if they say nothing."""
    refusal: OSError | None = None
    """Why there can't be another one."""

    def __init__(self) -> None:
        self.born: list[Child] = []
        self.alive: list[Child] = []
        super().__init__()

    def spawnProcess(  # type: ignore[override]  # with what is used here
        self, protocol: ProcessProtocol, *arguments: object, childFDs: dict[int, Any]
    ) -> Any:
        """Make a child."""
        if self.refusal:
            raise self.refusal
        descriptors = {number: os.dup(given) for number, given in childFDs.items() if given != "r"}
        child = Child(self, protocol, descriptors)
        self.born.append(child)
        self.alive.append(child)
        protocol.transport = child  # type: ignore[assignment]  # as far as it is needed
        self.adoptStreamConnection(descriptors[CONTROL], socket.AF_UNIX, Factory.forProtocol(lambda: child))
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
        self.nursery = Nursery()
        self.addCleanup(self.nursery.close)
        self.patch(workers, "reapAllProcesses", lambda: None)
        self.patch(workers, "DELAYS", lambda attempt: float(2**attempt))

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
        return WorkersService(self.nursery, plan, workers=2)

    def said(self, call: Callable[[], object]) -> list[str]:
        """Return what our own code logs during a call."""
        with capturedLogs() as events:
            call()
        ours = [event for event in events if event["log_namespace"].startswith("echoup")]
        return [f"{event['log_level'].name}: {formatEvent(event)}" for event in ours]

    def start(self, *descriptions: str) -> None:
        """Start a service."""
        self.service = self.build(*descriptions)
        self.service.startService()
        self.addCleanup(self.service._close)


class StartTests(WorkersTestCase):
    """A start is over when all workers serve, or has failed."""

    def test_interface(self) -> None:
        """It is a service."""
        verifyObject(IService, self.build())

    def test_listening(self) -> None:
        """When all workers are ready it says, once, where they listen; each has its own socket of those that can be."""
        service = self.build("127.0.0.1:0", f"unix:{self.folder}/socket", udp=("127.0.0.1:0",))
        self.addCleanup(service._close)
        assert self.said(service.privilegedStartService) == []
        lines = self.said(service.startService)
        tcp, unix = (opening for _, opening in service._openings)
        assert lines[:2] == [f"info: listening on {tcp.address}", f"info: listening on unix:{self.folder}/socket"]
        assert lines[2].startswith("info: listening on udp:127.0.0.1:")
        assert [child.configuration.number for child in self.nursery.born] == [0, 1]
        for number, child in enumerate(self.nursery.born):
            sockets = [os.fstat(child.descriptors[LISTENING + i]).st_ino for i in range(2)]
            assert sockets == [os.fstat(tcp.sockets[number].fileno()).st_ino, os.fstat(unix.sockets[0].fileno()).st_ino]
            first, second = child.configuration.plan.listeners
            assert (first.domain, first.descriptor) == ("INET", LISTENING)
            assert (second.domain, second.descriptor) == ("UNIX", LISTENING + 1)

    def test_taken(self) -> None:
        """Where an address is taken nothing is left open."""
        with socket.create_server(("127.0.0.1", 0)) as other, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            datagrams.bind(("127.0.0.1", 0))
            taken, takenToo = (f"127.0.0.1:{each.getsockname()[1]}" for each in (other, datagrams))
            raised(ListenError, self.build(f"unix:{self.folder}/socket", taken).startService)  # Twisted keeps one open
            before = openDescriptors()
            for service, address in (
                (self.build("127.0.0.1:0", f"unix:{self.folder}/socket", taken), taken),
                (self.build(f"unix:{self.folder}/socket", udp=(takenToo,)), takenToo),
            ):
                error = raised(ListenError, service.startService)
                assert str(error) == f"cannot listen on {address}: Address already in use"
                assert list(self.folder.iterdir()) == []
                assert openDescriptors() == before
        assert self.nursery.born == []

    def test_cannotServe(self) -> None:
        """When a worker can't serve, the start fails with its words, and none is left."""
        self.nursery.answer = "server.pem: Permission denied"
        error = raised(StartError, self.build().startService)
        assert str(error) == "cannot start the workers: server.pem: Permission denied"
        assert self.nursery.alive == []

    def test_ends(self) -> None:
        """So it does when one ends before it serves."""
        self.nursery.answer = None
        self.nursery.callLater(0, lambda: self.nursery.born[1].end(ProcessTerminated(3)))
        error = raised(StartError, self.build().startService)
        assert str(error) == "cannot start the workers: one ended with exit code 3"
        assert self.nursery.alive == []

    def test_cannotSpawn(self) -> None:
        """Or when there can't be a process at all."""
        self.nursery.refusal = OSError("no more processes")
        error = raised(StartError, self.build().startService)
        assert str(error) == "cannot start the workers: no more processes"

    def test_slow(self) -> None:
        """Or when one isn't ready in time."""
        self.nursery.answer = None
        self.nursery.callLater(0, self.nursery.clock.advance, workers.START + 1)
        error = raised(StartError, self.build().startService)
        assert str(error) == "cannot start the workers: they are not ready after 30 seconds"
        assert self.nursery.alive == []


class ReplaceTests(WorkersTestCase):
    """A worker that dies is replaced, and what it held is there again."""

    def setUp(self) -> None:
        """Start the service."""
        super().setUp()
        self.start()

    def kill(self, child: Child) -> list[str]:
        """Let it die, and return what is said about it."""
        child.signalProcess("KILL")
        return self.said(self.nursery.turn)

    def test_delays(self) -> None:
        """The first time at once, then later and later, until one has lived for a while."""
        for delay in (0.0, 1.0, 2.0, 4.0):
            child = self.nursery.alive[-1]
            line = f"error: worker {child.pid} ended by signal 9; another one starts in {delay:.1f} seconds"
            assert self.kill(child) == [line]
            if delay:
                assert len(self.nursery.alive) == 1
                self.nursery.advance(delay - 0.1)
                assert len(self.nursery.alive) == 1
                self.nursery.advance(0.15)
            assert len(self.nursery.alive) == 2
            assert self.nursery.alive[-1].configuration.number == 1
        self.nursery.advance(STEADY, step=1)
        assert self.kill(self.nursery.alive[-1])[0].endswith("in 0.0 seconds")
        assert len(self.nursery.alive) == 2

    def test_cannotSpawn(self) -> None:
        """Where there can't be another process, that is tried again."""
        self.nursery.refusal = OSError("no more processes")
        lines = self.kill(self.nursery.alive[0])
        assert lines[1:] == ["error: a worker cannot start: no more processes; another one starts in 1.0 seconds"]
        self.nursery.refusal = None
        self.nursery.advance(1.1)
        assert len(self.nursery.alive) == 2

    def test_placesOfDeadWorkersAreFree(self) -> None:
        """The places that a worker held are free again, and no others, however many workers end."""
        for _ in range(2):
            for number, child in enumerate(list(self.nursery.alive)):
                page = Page(child.shared)
                slots = SharedSlots(self.nursery, page, Row(page, child.configuration.number))
                for _ in range(2 + number):
                    assert slots.take()
                assert not number or not slots.take()
            for child in list(self.nursery.alive):
                self.kill(child)
            self.nursery.advance(2)
            assert self.service._page.free == 5


class StopTests(WorkersTestCase):
    """A stop is over when all workers are gone."""

    def setUp(self) -> None:
        """Start the service."""
        super().setUp()
        self.start("127.0.0.1:0", f"unix:{self.folder}/socket")

    def stop(self) -> "Deferred[None]":
        """Begin to stop."""
        stopped = self.service.stopService()
        self.nursery.turn()
        return stopped

    def test_drains(self) -> None:
        """The workers are told the deadline, our copies of the sockets are closed, and the totals are said."""
        children = list(self.nursery.alive)
        stopped = self.stop()
        assert [child.told for child in children] == [[("drain", DRAIN)]] * 2
        assert list(self.folder.iterdir()) == []
        for number, child in enumerate(children):
            Row(Page(child.shared), number).add(10)
        self.nursery.advance(1)
        assert not stopped.called
        for child in children:
            child.end(ProcessDone(0))
        lines = self.said(lambda: self.nursery.advance(0.5))
        assert self.successResultOf(stopped) is None
        assert lines == ["info: served 2 connections, 20 bytes"]
        assert self.nursery.getDelayedCalls() == []

    def test_killed(self) -> None:
        """Who is still there some time after the deadline is killed; nobody is replaced."""
        self.nursery.alive[0].end(ProcessTerminated(1))
        self.nursery.turn()
        stopped = self.stop()
        lines = self.said(lambda: self.nursery.advance(DRAIN + GRACE - 0.1))
        assert lines == []
        assert len(self.nursery.alive) == 2
        lines = self.said(lambda: self.nursery.advance(1))
        assert len(lines) == 3
        self.successResultOf(stopped)
        assert len(self.nursery.born) == 3
        assert self.nursery.getDelayedCalls() == []

    def test_hurry(self) -> None:
        """Told to abortDrain, it tells the workers, and doesn't wait any longer for those who don't."""
        children = list(self.nursery.alive)
        stopped = self.stop()
        self.service.abortDrain()
        self.nursery.turn()
        assert [child.told[-1] for child in children] == [("abortDrain",)] * 2
        children[0].end(ProcessDone(0))
        self.nursery.advance(GRACE + 1)
        self.successResultOf(stopped)
        assert self.nursery.getDelayedCalls() == []

    def test_hurryLate(self) -> None:
        """However often it is told, nobody has more time than without that."""
        stopped = self.stop()
        self.nursery.advance(DRAIN)
        for _ in range(3):
            self.nursery.advance(0.2)
            self.service.abortDrain()
        assert self.nursery.alive == []
        self.nursery.advance(1)
        self.successResultOf(stopped)

    def test_hurryAnyTime(self) -> None:
        """To tell that when there is no stop, or when it is nearly over, does no harm."""
        self.service.abortDrain()
        children = list(self.nursery.alive)
        stopped = self.stop()
        for child in children:
            child.end(ProcessDone(0))
        self.nursery.advance(0.3)
        self.successResultOf(stopped)
        self.service.abortDrain()

    def test_noReplacement(self) -> None:
        """A replacement that was to come doesn't."""
        for _ in range(2):
            self.nursery.alive[-1].signalProcess("KILL")
            self.nursery.turn()
        assert len(self.nursery.alive) == 1
        stopped = self.stop()
        self.nursery.alive[0].end(ProcessDone(0))
        self.nursery.advance(5)
        self.successResultOf(stopped)
        assert len(self.nursery.born) == 3


class ReloadTests(WorkersTestCase):
    """Certificates are read again by the parent, and then by the workers."""

    def test_reload(self) -> None:
        """There is a line for each listener, and the workers are told of those that could be read."""
        writeCertificates(self.folder)
        other = self.folder / "own.pem"
        other.write_bytes((self.folder / "server.pem").read_bytes())
        names = [f"ssl:0:interface=127.0.0.1:privateKey={self.folder}/{name}.pem" for name in ("server", "own")]
        self.start("127.0.0.1:0", *names)
        assert self.said(self.service.reload) == [f"info: read the certificate of {name} again" for name in names]
        other.unlink()
        reason = f"{other}: No such file or directory"
        assert self.said(self.service.reload) == [
            f"info: read the certificate of {names[0]} again",
            f"error: kept the certificate of {names[1]}: {reason}",
        ]
        self.nursery.turn()
        assert [child.told for child in self.nursery.alive] == [[("reload", *names), ("reload", names[0])]] * 2

    def test_none(self) -> None:
        """Where there are none, nobody is told anything."""
        self.start()
        assert self.said(self.service.reload) == []
        self.nursery.turn()
        assert [child.told for child in self.nursery.alive] == [[], []]
