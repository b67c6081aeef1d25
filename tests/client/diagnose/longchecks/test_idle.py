"""The check `idle`, with servers in the same reactor whose connections die in each way."""

from collections.abc import Callable
from socket import IPPROTO_TCP, TCP_QUICKACK
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import DatagramProtocol, Factory

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.diagnose.finding import Finding, Status
from echoup.client.diagnose.longchecks import idle
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.diagnose.scope import Scope
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.target.datagram import DatagramTarget
from echoup.client.target.stream import StreamTarget
from tests.support.doubles import ReactorTestCase
from tests.support.serverprotocols import Mirror, Server


class Forgetful(Server):
    """A server for which a connection is over when nothing has come for `limit` seconds."""

    transport: Any
    reactor: Any
    limit = 5.0
    isOver = False

    def __init__(self) -> None:
        self.timers: list[Any] = []

    def dataReceived(self, data: bytes) -> None:
        """Answer while the connection isn't over."""
        if self.isOver:
            self.refuse()
            return
        super().dataReceived(data)
        self.timers.append(self.reactor.callLater(self.limit, self.end))

    def connectionLost(self, *reason: Any) -> None:
        """Wait no longer."""
        super().connectionLost(*reason)
        for timer in self.timers:
            if timer.active():
                timer.cancel()

    def end(self) -> None:
        """Forget the connection."""
        self.isOver = True

    def refuse(self) -> None:
        """Acknowledge what came late; by itself the kernel does so after 40 ms of its own clock."""
        self.transport.getHandle().setsockopt(IPPROTO_TCP, TCP_QUICKACK, 1)


class Closing(Forgetful):
    """One that closes."""

    def end(self) -> None:
        """Close."""
        self.transport.loseConnection()


class Aborting(Forgetful):
    """One that resets."""

    def end(self) -> None:
        """Reset."""
        self.transport.abortConnection()


class ClosingLate(Forgetful):
    """One that closes when something comes."""

    def refuse(self) -> None:
        """Close."""
        self.transport.loseConnection()


class AbortingLate(Forgetful):
    """One that resets when something comes."""

    def refuse(self) -> None:
        """Reset."""
        self.transport.abortConnection()


class EchoDatagrams(DatagramProtocol):
    """Answers datagrams, from each port until it was silent for `limit` seconds."""

    def __init__(self, reactor: Any, limit: float) -> None:
        self.reactor, self.limit = reactor, limit
        self.heard: dict[Any, float] = {}

    transport: Any

    def datagramReceived(self, data: bytes, address: Any) -> None:
        """Answer."""
        now = self.reactor.seconds()
        if now - self.heard.setdefault(address, now) < self.limit:
            self.heard[address] = now
            self.transport.write(data.upper(), address)


class IdleTests(ReactorTestCase):
    """A path whose connections may be idle for some time."""

    def listen(self, build: Callable[[], Server], datagrams: float = 0) -> StreamTarget:
        """Let `build` make the servers, and answer datagrams if they come after `datagrams` seconds at most."""

        def make() -> Server:
            server = build()
            server.reactor = self.reactor  # type: ignore[attr-defined]  # a Forgetful needs it
            return server

        port = self.reactor.listenTCP(0, Factory.forProtocol(make), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number = port.getHost().port
        if datagrams:
            answering = self.reactor.listenUDP(number, EchoDatagrams(self.reactor, datagrams), interface="127.0.0.1")
            self.addCleanup(answering.stopListening)
        return StreamTarget("", "127.0.0.1", number)

    def begin(self, target: Any, longest: float) -> "Deferred[Finding]":
        """Begin the check."""
        self.path = PathUnderTest(self.reactor, target, Scope(idle=longest, timeout=2))
        self.told: list[str] = []
        return Deferred.fromCoroutine(idle.check(self.path, self.told.append))

    def check(self, target: Any, longest: float = 8) -> Finding:
        """Return what the check finds; nothing may be left of it."""
        done = self.begin(target, longest)
        before = self.reactor.seconds()
        while not done.called:
            self.reactor.advance(0.5)
            assert self.reactor.seconds() - before < 2.5 * longest + 12
        self.assertNothingIsLeft()
        return self.successResultOf(done)

    def assertNothingIsLeft(self) -> None:
        """Check that no connection is left, nor a timer."""
        self.reactor.turn()
        assert not self.path.clock.getDelayedCalls()
        assert not [client for client in self.path._clients if client.connected]

    def assertCut(self, server: type[Server], cause: str, status: Status, words: str) -> Finding:
        """Check what is said of a server whose connections die after 5 s."""
        found = self.check(self.listen(server))
        (problem,) = found.problems
        assert (problem.cause, problem.status) == (cause, status)
        assert words in found.summary
        assert words in problem.text
        cut = found.figures["connections"]["cut"]
        assert abs(cut["after"] - 5) <= 1
        assert cut["within"] <= 0.5
        return found

    def test_livingPathIsPraised(self) -> None:
        """Where everything lives, the check says for how long; UDP that does not answer is no problem."""
        found = self.check(self.listen(Server))
        assert (found.status, found.problems) == (Status.OK, ())
        assert found.summary == "connections live idle for 8 s"
        assert found.figures["datagrams"] is None
        assert any("next after 3.6 s" in words for words in self.told)

    def test_livingDatagramsArePraised(self) -> None:
        """Where UDP is answered, its sockets are left alone, too."""
        found = self.check(self.listen(Server, datagrams=100))
        assert found.summary == "connections live idle for 8 s; UDP is answered after 8 s idle"
        assert found.figures["datagrams"]["lived"] >= 8

    def test_closeWhileIdleIsANote(self) -> None:
        """A FIN while idle is timed as it comes, and is the server's own timeout."""
        found = self.assertCut(Closing, "idle-closed", Status.NOTE, "closed in order (FIN) after 5")
        assert found.figures["connections"]["keepalive"] == {"interval": 1, "lived": False}

    def test_resetWhileIdleIsAWarning(self) -> None:
        """An RST while idle is named."""
        self.assertCut(Aborting, "idle-reset", Status.WARN, "reset (RST) after 5")

    def test_closeAtProbeIsBisected(self) -> None:
        """A FIN that only comes when something is sent is found by bisection."""
        self.assertCut(ClosingLate, "idle-closed-late", Status.WARN, "closed (FIN) at the next byte")

    def test_resetAtProbeIsBisected(self) -> None:
        """So is an RST."""
        self.assertCut(AbortingLate, "idle-rejected", Status.WARN, "reset (RST) at the next byte")

    def test_acknowledgedProbeWithoutReply(self) -> None:
        """A probe that the other kernel acknowledges is told from one that is dropped."""
        self.assertCut(Forgetful, "idle-unanswered", Status.WARN, "though TCP is acknowledged")

    def test_unacknowledgedProbeIsSilence(self) -> None:
        """A probe that nothing acknowledges is a silent cut, and keepalive is tried against it."""
        self.patch(TCPInfo, "of", lambda _: TCPInfo("ESTABLISHED", 0, 3, unacknowledged=1))
        found = self.assertCut(Forgetful, "idle-silent", Status.WARN, "cut silently after")
        assert "nothing was acknowledged" in found.problems[0].seen[0]

    def test_oneEventIsNoTimeout(self) -> None:
        """Connections that are all cut at one moment, but not again, were not idle for too long."""
        servers: list[Server] = []

        class Counted(Server):
            def connectionMade(self) -> None:
                servers.append(self)

        def restart() -> None:
            for server in servers:
                server.transport.abortConnection()

        target = self.listen(Counted)
        self.reactor.callLater(4, restart)
        found = self.check(target)
        (problem,) = found.problems
        assert (problem.cause, problem.status) == ("idle-cut-once", Status.WARN)
        assert "died" in found.summary

    def test_forgottenDatagramsAreFound(self) -> None:
        """UDP sockets that get no answer after a pause are found, beside connections that live."""
        found = self.check(self.listen(Server, datagrams=3), 6)
        (problem,) = found.problems
        assert problem.cause == "idle-datagrams-silent"
        assert abs(found.figures["datagrams"]["cut"]["after"] - 3) <= 1
        assert found.figures["connections"]["cut"] is None

    def test_datagramTarget(self) -> None:
        """Of a UDP target only UDP is measured; without any answer the check fails."""
        port = self.listen(Server, datagrams=100).port
        found = self.check(DatagramTarget("127.0.0.1", port), 2)
        assert found.summary == "UDP is answered after 2 s idle"
        assert found.figures["connections"] is None
        done = self.begin(DatagramTarget("127.0.0.1", self.occupy()), 2)
        self.reactor.advance(4)
        assert self.failureResultOf(done, PathError).value.code is ExitCode.TIMED_OUT

    def test_refusedPathBreaksOff(self) -> None:
        """Where no connection can be made, the check raises that error."""
        target = self.listen(Server)
        done = self.begin(StreamTarget("", "127.0.0.1", target.port + 1 if target.port < 65535 else 1), 2)
        self.reactor.advance(4)
        assert self.failureResultOf(done, PathError).value.code is ExitCode.UNREACHABLE
        self.assertNothingIsLeft()

    def test_wrongRepliesBreakOff(self) -> None:
        """Where something else echoes, the check raises that error."""
        done = self.begin(self.listen(Mirror), 2)
        self.reactor.advance(4)
        assert self.failureResultOf(done, PathError).value.code is ExitCode.WRONG

    def test_sleepOfTheMachineSpoilsIt(self) -> None:
        """Where the machine slept meanwhile, nothing is said of the path."""
        asleep = iter((0.0, 120.0))
        self.patch(idle, "_slept", lambda: next(asleep))
        found = self.check(self.listen(Server), 2)
        assert found.isSkipped
        assert "slept for 120 s" in found.summary

    def test_pauseCountsAsIdle(self) -> None:
        """A pause of this process counts as idle time, as it does for the path."""
        done = self.begin(self.listen(Server), 2)
        self.reactor.advance(0.5)
        self.reactor.pause(3)
        self.reactor.advance(4)
        found = self.successResultOf(done)
        assert found.figures["connections"]["lived"] > 4
        assert found.figures["pauses"]

    def test_cancelEndsAtOnce(self) -> None:
        """Cancelling drops all connections and sockets."""
        done = self.begin(self.listen(Server, datagrams=100), 100)
        self.reactor.advance(3)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertNothingIsLeft()
