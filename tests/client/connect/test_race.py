"""From the addresses of a server to a connection."""

import socket
from errno import EADDRNOTAVAIL, ECONNRESET, EHOSTUNREACH, EMFILE, ENETUNREACH, EPIPE, ETIMEDOUT
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectBindError, ConnectError, ConnectionDone, UserError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from echoup.client.connect.race import ATTEMPT_DELAY, Race
from echoup.client.connect.trace import Trace
from echoup.client.exitcodes import ExitCode, PathError
from echoup.clock import RunningTime
from tests.support.doubles import ReactorTestCase


class Way:
    """A way to a server, which succeeds or fails when the test says so."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.factory: ClientFactory | None = None
        self.transport = self
        self.stopped = False
        self.socket = None

    def connect(self, factory: ClientFactory) -> "Way":
        """Begin."""
        self.factory = factory
        return self

    def getHost(self) -> Any:
        """Return an address without words."""
        return None

    getPeer = getHost

    def getHandle(self) -> None:
        """Return None: there is no socket."""

    def getDestination(self) -> IPv4Address:
        """Return an address to which there is a route."""
        return IPv4Address("TCP", "127.0.0.1", 1)

    def succeed(self) -> None:
        """Make the connection."""
        assert self.factory
        protocol: Any = self.factory.buildProtocol(None)
        protocol.makeConnection(self)

    def fail(self, error: Exception) -> None:
        """Fail to connect."""
        assert self.factory
        self.factory.clientConnectionFailed(self, Failure(error))  # type: ignore[arg-type]  # the factory ignores it

    def stopConnecting(self) -> None:
        """Give up, which Twisted reports as a failure."""
        self.stopped = True
        self.fail(UserError())


class RaceTests(ReactorTestCase):
    """`Race` connects to the first address that answers."""

    def setUp(self) -> None:
        """Begin a race of three addresses."""
        super().setUp()
        self.trace = Trace(self.reactor.seconds)
        self.race = Race(RunningTime(self.reactor), "there:1", self.trace)
        self.ways = [Way(address) for address in ("a:1", "b:1", "c:1")]
        self.race.start([(way.address, way.connect) for way in self.ways])

    @property
    def tried(self) -> list[str]:
        """The addresses that were tried, in order."""
        return [phase.details["address"] for phase in self.trace.phases]

    def assertNothingLeft(self) -> None:
        """Check that no attempt begins any more."""
        assert self.reactor.getDelayedCalls() == []
        count = len(self.trace.phases)
        self.reactor.advance(2)
        assert len(self.trace.phases) == count

    def test_firstAnswerEndsRace(self) -> None:
        """When the first address answers, no other is tried."""
        self.ways[0].succeed()
        assert self.successResultOf(self.race.connected) is self.ways[0]
        assert self.tried == ["a:1"]
        assert self.trace.phases[0].seconds == 0
        self.assertNothingLeft()

    def test_slowAddressIsPassed(self) -> None:
        """While one address is slow the next is tried too; the first that answers wins, and the others are stopped."""
        self.reactor.advance(ATTEMPT_DELAY - 0.01)
        assert self.tried == ["a:1"]
        self.reactor.advance(0.02)
        assert self.tried == ["a:1", "b:1"]
        self.reactor.advance(ATTEMPT_DELAY)
        assert self.tried == ["a:1", "b:1", "c:1"]
        self.ways[1].succeed()
        assert self.successResultOf(self.race.connected) is self.ways[1]
        assert [way.stopped for way in self.ways] == [True, False, True]
        assert [phase.seconds is None for phase in self.trace.phases] == [True, False, True]
        self.assertNothingLeft()

    def test_refusalStartsNext(self) -> None:
        """When one refuses, the next is tried at once, and the one after it has its own delay."""
        self.reactor.advance(0.2)
        self.ways[0].fail(Refused(111))
        assert self.tried == ["a:1", "b:1"]
        self.reactor.advance(0.2)
        assert self.tried == ["a:1", "b:1"]
        self.reactor.advance(0.1)
        assert self.tried == ["a:1", "b:1", "c:1"]
        assert self.trace.phases[0].error == "Connection refused"

    def assertFails(self, code: ExitCode, message: str) -> None:
        """Check that there is no connection, and the reason."""
        error = self.failureResultOf(self.race.connected, PathError).value
        assert (error.code, str(error)) == (code, message)
        self.assertNothingLeft()

    def test_allFailuresAreListed(self) -> None:
        """When no address answers, each is listed with its reason."""
        self.ways[0].fail(Refused(111))
        self.ways[1].fail(ConnectTimeout())
        self.assertNoResult(self.race.connected)
        self.ways[2].fail(ConnectError(ENETUNREACH))
        why = "a:1: Connection refused; b:1: timed out; c:1: Network is unreachable"
        self.assertFails(ExitCode.UNREACHABLE, f"cannot connect to there:1: {why}")

    def test_immediateFailureIsListed(self) -> None:
        """A way that fails at once is listed like the others."""

        def fail(_: ClientFactory) -> Any:
            raise OSError(24, "Too many open files")

        race = Race(RunningTime(self.reactor), "there", self.trace)
        race.start([("a", fail), ("b", fail)])
        error = self.failureResultOf(race.connected, PathError).value
        why = "Too many open files (this process has no file descriptors left, see ulimit -n)"
        assert (error.code, str(error)) == (ExitCode.LOCAL, f"cannot connect to there: a: {why}; b: {why}")

    def test_localTroubleCountsLeast(self) -> None:
        """Trouble of this machine is the reason only where every address has some; a timeout of the kernel is one."""
        mine = ConnectBindError(EMFILE, "Too many open files")
        for errors, code in (
            ((mine, ConnectError(EADDRNOTAVAIL)), ExitCode.LOCAL),
            ((mine, Refused(111)), ExitCode.UNREACHABLE),
            ((ConnectTimeout(), mine), ExitCode.TIMED_OUT),
            ((ConnectError(ETIMEDOUT), mine), ExitCode.TIMED_OUT),
            ((ConnectTimeout(), mine, ConnectError(EHOSTUNREACH)), ExitCode.UNREACHABLE),
        ):
            race = Race(RunningTime(self.reactor), "there", self.trace)
            ways = [Way(f"{number}:1") for number in range(len(errors))]
            race.start([(way.address, way.connect) for way in ways])
            for way, error in zip(ways, errors, strict=True):
                way.fail(error)
            assert self.failureResultOf(race.connected, PathError).value.code is code, errors

    def test_resetIsNoRefusal(self) -> None:
        """A connection that was reset before it was seen had been made: that ends the race, as a connection does."""
        why = "the server reset the connection before it was used"
        for number in (ECONNRESET, EPIPE):
            race = Race(RunningTime(self.reactor), "there:1", self.trace)
            ways = [Way(f"{name}:1") for name in "abc"]
            race.start([(way.address, way.connect) for way in ways])
            self.reactor.advance(ATTEMPT_DELAY + 0.01)
            ways[1].fail(ConnectError(number))
            error = self.failureResultOf(race.connected, PathError).value
            assert (error.code, str(error)) == (ExitCode.SHORT, f"there:1 (b:1): {why}")
            assert self.trace.phases[-1].error == why
            assert ways[0].stopped
            assert ways[2].factory is None

    def test_errorIsNeverAFailure(self) -> None:
        """An error without a number, which may contain a Failure, is one line without that Failure's text."""
        done = Failure(ConnectionDone())
        for error in (ConnectError(string=done), ConnectError(string=repr(done)), ConnectError(), Exception(done)):
            race = Race(RunningTime(self.reactor), "there", self.trace)
            way = Way("a")
            race.start([("a", way.connect)])
            way.fail(error)
            line = str(self.failureResultOf(race.connected, PathError).value)
            assert line == f"cannot connect to there (a): {type(error).__name__}"
            assert self.trace.phases[-1].error == type(error).__name__

    def test_fullQueueIsTold(self) -> None:
        """A Unix socket whose queue is full is told; the reactor takes it for the end of a connection."""
        path = f"{self.enterContext(TemporaryDirectory())}/socket"
        with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as waiting:
            listening.bind(path)
            listening.listen(0)
            waiting.connect(path)
            race = Race(RunningTime(self.reactor), "unix:x", self.trace)
            race.start([("unix:x", lambda factory: self.reactor.connectUNIX(path, factory))])
            self.reactor.advance(0.1)
        error = self.failureResultOf(race.connected, PathError).value
        why = "Resource temporarily unavailable (the server's queue is full)"
        assert (error.code, str(error)) == (ExitCode.UNREACHABLE, f"cannot connect to unix:x: {why}")

    def test_allTimeoutsAreTimeout(self) -> None:
        """Only when all addresses timed out the failure is a timeout."""
        for way in self.ways:
            way.fail(ConnectTimeout())
        self.assertFails(
            ExitCode.TIMED_OUT, "cannot connect to there:1: a:1: timed out; b:1: timed out; c:1: timed out"
        )

    def test_cancellingStopsAttempts(self) -> None:
        """Cancelling stops all attempts."""
        self.reactor.advance(ATTEMPT_DELAY + 0.01)
        self.race.connected.cancel()
        self.failureResultOf(self.race.connected)
        assert [way.stopped for way in self.ways] == [True, True, False]
        self.assertNothingLeft()

    def test_phaseHasAddressesAndKernelState(self) -> None:
        """With a real connection the phase has both addresses and the kernel's state."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            host, port = listening.getsockname()
            race = Race(RunningTime(self.reactor), "there", self.trace)
            race.start([("it", lambda factory: self.reactor.connectTCP(host, port, factory))])
            self.reactor.advance(0.1)
            self.reactor.until(lambda: bool(race.connected.called))
        transport = self.successResultOf(race.connected)
        phase = self.trace.phases[-1]
        assert (transport.getPeer().host, transport.getPeer().port) == (host, port)
        assert phase.details == {"address": "it", "local": f"127.0.0.1:{transport.getHost().port}"}
        assert phase.tcp
        assert phase.tcp.state == "ESTABLISHED"
