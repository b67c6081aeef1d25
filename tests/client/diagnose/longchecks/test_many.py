"""The check `many`, with servers in the same reactor that have limits, and with limits of this machine."""

import os
from collections.abc import Callable
from pathlib import Path
from resource import RLIM_INFINITY
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from echoup.client.diagnose.finding import Finding, Status
from echoup.client.diagnose.longchecks import many, ownlimits
from echoup.client.diagnose.longchecks.manyproblems import FailedConnection, Holding, NextFailure
from echoup.client.diagnose.longchecks.ownlimits import RESERVE, allowance
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.diagnose.scope import Scope
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import Ending
from echoup.client.target.stream import StreamTarget
from tests.support.doubles import ReactorTestCase
from tests.support.serverprotocols import Mirror, Server


class Limited(Server):
    """A server that serves `limit` connections at a time, and does to the next one what `refuse` does."""

    limit = 7
    serving: list["Limited"]
    transport: Any

    def connectionMade(self) -> None:
        """Serve the connection, or refuse it."""
        if len(self.serving) < self.limit:
            self.serving.append(self)
        else:
            self.refuse()

    def dataReceived(self, data: bytes) -> None:
        """Answer, if the connection is served."""
        if self in self.serving:
            super().dataReceived(data)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Make room."""
        self.gone = True
        if self in self.serving:
            self.serving.remove(self)

    def refuse(self) -> None:
        """Leave it unanswered."""


class Closing(Limited):
    """One that closes the next connection."""

    def refuse(self) -> None:
        """Close it."""
        self.transport.loseConnection()


class Aborting(Limited):
    """One that resets it."""

    def refuse(self) -> None:
        """Reset it."""
        self.transport.abortConnection()


class Evicting(Limited):
    """One that resets the oldest instead."""

    def refuse(self) -> None:
        """Reset the oldest, and serve the new one."""
        self.serving.pop(0).transport.abortConnection()
        self.serving.append(self)


class Deafening(Limited):
    """One that answers nobody any more when there are more."""

    def refuse(self) -> None:
        """Forget those that are served."""
        self.serving[1:] = [self]


class Strict(Limited):
    """One that never makes room again."""

    def refuse(self) -> None:
        """Reset it, and all that come later."""
        self.transport.abortConnection()
        type(self).limit = 0


class Hasty(Limited):
    """One that resets every third connection, unless none has come for a moment."""

    reactor: Any
    latest = 0.0
    number = 0

    def connectionMade(self) -> None:
        """Serve it, or reset it."""
        now, kind = self.reactor.seconds(), type(self)
        kind.number = kind.number + 1 if now - kind.latest < 0.5 else 0
        kind.latest = now
        self.serving.append(self)
        if kind.number % 3 == 2:
            self.transport.abortConnection()


class ManyTests(ReactorTestCase):
    """A path that carries some connections."""

    def begin(self, build: Callable[[], Server], number: int) -> "Deferred[Finding]":
        """Begin the check with a server whose connections have the protocols that `build` makes."""
        self.servers: list[Server] = []
        serving: list[Limited] = []

        def make() -> Server:
            server: Any = build()
            server.serving, server.reactor = serving, self.reactor
            self.servers.append(server)
            return server  # type: ignore[no-any-return]  # it's what was built

        port = self.reactor.listenTCP(0, Factory.forProtocol(make), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        target = StreamTarget("", "127.0.0.1", port.getHost().port)
        self.path = PathUnderTest(self.reactor, target, Scope(many=number, timeout=1))
        self.told: list[str] = []
        return Deferred.fromCoroutine(many.check(self.path, self.told.append))

    def check(self, build: Callable[[], Server], number: int = 10) -> Finding:
        """Return what the check finds; nothing may be left of it."""
        done = self.begin(build, number)
        for _ in range(40):
            self.reactor.advance(0.2)
        self.assertNothingIsLeft()
        return self.successResultOf(done)

    def assertNothingIsLeft(self) -> None:
        """Check that no connection is left, nor a timer."""
        self.reactor.until(lambda: all(server.gone for server in self.servers))
        assert not self.path.clock.getDelayedCalls()
        assert not [client for client in self.path._clients if client.connected]

    def assertLimit(self, build: Callable[[], Server], cause: str, kind: NextFailure) -> Finding:
        """Check what is said of a server that serves seven."""
        found = self.check(build)
        (problem,) = found.problems
        assert (problem.cause, problem.status) == (cause, Status.WARN)
        assert found.summary == problem.text
        assert found.summary.startswith("only 7 of 10 connections at the same time: the next one ")
        assert (found.figures["held"], found.figures["failed"]) == (7, kind.words)
        return found

    def test_allAreHeld(self) -> None:
        """Where all can be held, each is proven twice."""
        self.patch(many, "BATCH", 4)
        found = self.check(Server)
        assert (found.status, found.figures["held"]) == (Status.OK, 10)
        assert found.summary.startswith("10 connections held at the same time")
        assert [server.taken for server in self.servers] == [40] * 10
        assert "8 of 10 connections are open" in self.told

    def test_fullServerIsFound(self) -> None:
        """A server that leaves the next one waiting is full, and takes one again when another ends."""
        found = self.assertLimit(Limited, "many-unanswered", NextFailure.UNANSWERED)
        assert found.figures["replaceable"]
        assert "after two of them were closed, a new one worked" in found.problems[0].seen

    def test_closedAtOnce(self) -> None:
        """A server that closes the next one is told from it."""
        self.assertLimit(Closing, "many-closed", NextFailure.CLOSED)

    def test_resetAtOnce(self) -> None:
        """So is one that resets it."""
        self.assertLimit(Aborting, "many-reset", NextFailure.RESET)

    def test_limitThatStays(self) -> None:
        """Where closing some does not help, that is said."""
        found = self.assertLimit(type("Once", (Strict,), {}), "many-reset", NextFailure.RESET)
        assert found.figures["replaceable"] is False
        assert "did not help" in found.problems[0].meaning

    def test_evictedAreCounted(self) -> None:
        """Connections that are cut as newer ones come are missed."""
        self.patch(many, "BATCH", 1)
        found = self.check(Evicting)
        (problem,) = found.problems
        assert problem.cause == "many-held-lost"
        assert problem.text.startswith("only 7 of 10 connections")
        assert problem.seen == ("3 were reset while others were opened",)

    def test_deafConnectionsAreCounted(self) -> None:
        """So are those that no longer answer."""
        self.patch(many, "BATCH", 1)
        found = self.check(Deafening, 8)
        assert "many-held-lost" in [problem.cause for problem in found.problems]
        assert "did not answer while all were held" in found.problems[-1].seen[-1]

    def test_failuresThatPassAreUnsteady(self) -> None:
        """Failures after which a new one works are not a limit of the number."""
        found = self.check(type("Hasty", (Hasty,), {}), 12)
        assert [problem.cause for problem in found.problems] == ["many-unsteady"]
        assert found.figures["passing"] > 3

    def test_nothingWorks(self) -> None:
        """Where not one works, the check raises the error; of a wrong reply, too."""
        done = self.begin(type("None", (Aborting,), {"limit": 0}), 10)
        self.reactor.advance(2)
        assert self.failureResultOf(done, PathError).value.code is ExitCode.SHORT
        done = self.begin(Mirror, 10)
        self.reactor.advance(2)
        assert self.failureResultOf(done, PathError).value.code is ExitCode.WRONG
        self.assertNothingIsLeft()

    def test_ownLimitIsNotThePaths(self) -> None:
        """A limit of this machine is a note, and the check holds as many as it can."""
        self.patch(many, "allowance", lambda *_: (6, "this process may have few"))
        found = self.check(Server)
        (problem,) = found.problems
        assert (problem.cause, problem.status) == ("many-own-limit", Status.NOTE)
        assert problem.text == "this machine allows 6 of the 10 connections: this process may have few"

    def test_noneAllowedIsSkipped(self) -> None:
        """Where this machine allows none, the check is skipped."""
        self.patch(many, "allowance", lambda *_: (0, "this process may have none"))
        found = self.check(Server)
        assert (found.isSkipped, found.summary) == (True, "this process may have none")

    def test_localTroubleIsNotThePaths(self) -> None:
        """Nor is a port or descriptor that is missing only when it is needed."""

        async def connect(path: PathUnderTest, **keywords: Any) -> object:
            if len(path._clients) == 5:
                raise PathError(ExitCode.LOCAL, "no free port")
            return await original(path, **keywords)

        original = PathUnderTest.connect
        self.patch(PathUnderTest, "connect", connect)
        found = self.check(Server)
        (problem,) = found.problems
        assert (problem.cause, problem.status) == ("many-own-limit", Status.NOTE)
        assert "5 of the 10 connections: no free port" in problem.text

    def test_cancelEndsAtOnce(self) -> None:
        """Cancelling drops all connections."""
        done = self.begin(Limited, 10)
        self.reactor.advance(0.5)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertNothingIsLeft()

    def test_queueOfFullServerExplainsSilence(self) -> None:
        """Where some connect and wait, a later SYN that is not answered is the consequence of it."""
        timeout, local = PathError(ExitCode.TIMED_OUT, "timed out"), PathError(ExitCode.LOCAL, "no port")
        waiting, silent = (FailedConnection(timeout, isConnected, None, 3) for isConnected in (True, False))
        closed = FailedConnection(timeout, True, Ending.CLOSED, 3)
        for failures, cause in (
            ([waiting, silent], "many-unanswered"),
            ([silent, FailedConnection(local, False, None, 3)], "many-silent"),
            ([silent, silent], "many-silent"),
            ([closed, closed], "many-closed"),
        ):
            finding = Holding(9, 8, "this machine allows 8", failures=failures, isReplaceable=True).finding
            assert [problem.cause for problem in finding.problems] == [cause]

    def test_failuresOfTCPAndTLS(self) -> None:
        """A failure before TCP is connected is told from one of TLS."""
        for code, isConnected, kind in (
            (ExitCode.TIMED_OUT, False, NextFailure.SILENT),
            (ExitCode.UNREACHABLE, False, NextFailure.REFUSED),
            (ExitCode.SHORT, False, NextFailure.RESET),
            (ExitCode.TLS_FAILED, True, NextFailure.TLS),
            (ExitCode.TIMED_OUT, True, NextFailure.UNANSWERED),
            (ExitCode.LOCAL, False, NextFailure.LOCAL),
        ):
            assert FailedConnection(PathError(code, ""), isConnected, None, 3).kind is kind


class OwnLimitsTests(ReactorTestCase):
    """The limits of this machine."""

    def test_softLimitIsRaised(self) -> None:
        """The soft limit of descriptors is raised as far as needed and allowed."""
        limits = [(100, 1000)]
        self.patch(ownlimits, "getrlimit", lambda _: limits[-1])
        self.patch(ownlimits, "setrlimit", lambda _, limit: limits.append(limit))
        self.patch(os, "listdir", lambda _: ["0"] * 10)
        assert allowance(50, "") == (50, "")
        assert limits == [(100, 1000)]
        assert allowance(500, "") == (500, "")
        assert limits[-1] == (510 + RESERVE, 1000)
        reason = "this process may have 1000 file descriptors (ulimit -n)"
        assert allowance(65536, "") == (990 - RESERVE, reason)
        assert limits[-1] == (1000, 1000)

    def test_portsAreCounted(self) -> None:
        """The ports for connections are a limit, without those that are reserved; a Unix socket needs none."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        ports, reserved = Path(folder.name, "ports"), Path(folder.name, "reserved")
        ports.write_text("40000\t40019\n")
        reserved.write_text("80,40000-40004,40010\n")
        self.patch(ownlimits, "PORTS", ports)
        self.patch(ownlimits, "RESERVED", reserved)
        self.patch(ownlimits, "getrlimit", lambda _: (RLIM_INFINITY, RLIM_INFINITY))
        reason = "this machine has 14 ports for connections (net.ipv4.ip_local_port_range)"
        assert allowance(15, "host") == (14, reason)
        assert allowance(15, "") == (15, "")
        reserved.write_text("\n")
        assert allowance(15, "host") == (15, "")
