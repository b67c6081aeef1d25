"""The check `reach`."""

import socket

from twisted.internet.defer import CancelledError, Deferred

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.diagnose.checks import reach as module
from echoup.client.diagnose.finding import Finding
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.diagnose.scope import Scope
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.target.stream import StreamTarget
from tests.support.doubles import ReactorTestCase
from tests.support.names import Names


class ReachTests(ReactorTestCase):
    """The check `reach` connects to each address."""

    def setUp(self) -> None:
        """Listen at 127.0.0.1, and on the same port not at the addresses after it."""
        super().setUp()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listening.close)
        self.target = StreamTarget("", "there", self.listening.getsockname()[1])

    def find(self, *addresses: str) -> tuple[PathUnderTest, Finding]:
        """Return the path and the finding for a name with `addresses`."""
        path = PathUnderTest(self.reactor, self.target, Scope())
        path.addresses = [*addresses]
        finding = Deferred.fromCoroutine(module.check(path, lambda _: None))
        while not finding.called:
            self.reactor.advance(0.05)
        return path, self.successResultOf(finding)

    def accepted(self) -> int:
        """Return the number of connections that wait in the kernel's queue."""
        self.listening.setblocking(False)
        count = 0
        while True:
            try:
                self.listening.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1

    def test_usedAddressIsTriedSeveralTimes(self) -> None:
        """The first address that works is used, and connected to several times; the others are tried once."""
        path, finding = self.find("127.0.0.1")
        assert (finding.problems, path.address, path.obstacle) == ((), "127.0.0.1", "")
        assert finding.summary.startswith("connected to 127.0.0.1 in ")
        assert "(rtt " in finding.summary
        assert self.accepted() == module.CONNECTS

    def test_refusedAddressIsPassedBy(self) -> None:
        """One that refuses is tried twice, and the next one is used."""
        path, finding = self.find("127.0.0.2", "127.0.0.1")
        assert [problem.cause for problem in finding.problems] == ["address-refused"]
        assert finding.summary == "connections to 127.0.0.2 are refused, and those to 127.0.0.1 work"
        assert path.address == "127.0.0.1"
        assert [each["connections"] for each in finding.figures["addresses"]] == [2, module.CONNECTS]

    def test_deadServerIsAnObstacle(self) -> None:
        """Where no address works, nothing more can be measured."""
        path, finding = self.find("127.0.0.2", "127.0.0.3")
        (problem,) = finding.problems
        assert (problem.code, path.obstacle) == (ExitCode.UNREACHABLE, "no connection")

    def test_nameIsResolvedIfNeeded(self) -> None:
        """Without the check `resolve` the name is looked up."""
        Names({"there": ["127.0.0.1"]}).install(self)
        path, finding = self.find()
        assert (finding.problems, path.addresses) == ((), ["127.0.0.1"])

    def test_suspicionIsConfirmed(self) -> None:
        """One connection whose SYN was sent again leads to more of them, and is told without a warning."""
        resent = [1]
        of = TCPInfo.of

        def lossy(handle: object) -> TCPInfo | None:
            info = of(handle)
            return TCPInfo("ESTABLISHED", 0.0004, resent.pop(), 0.0004) if resent else info

        self.patch(TCPInfo, "of", lossy)
        _, finding = self.find("127.0.0.1")
        total = module.CONNECTS + module.CONFIRMING
        assert finding.problems == ()
        assert finding.summary.endswith(f"; the SYN was sent again on 1 of {total} connections")
        self.patch(TCPInfo, "of", lambda _: TCPInfo("ESTABLISHED", 0.0004, 1, 0.0004))
        _, finding = self.find("127.0.0.1")
        (problem,) = finding.problems
        assert (problem.cause, finding.summary) == ("syn-sent-again", problem.text)

    def test_unroutedAddressIsMentioned(self) -> None:
        """An address that this machine has no way to is no fault of the path."""
        made = PathError.__init__
        self.patch(PathError, "__init__", lambda self, _, *others: made(self, ExitCode.LOCAL, *others))
        _, finding = self.find("127.0.0.1", "127.0.0.2")
        assert finding.problems == ()
        assert finding.summary.endswith("; this machine has no way to 127.0.0.2")

    def test_cancellingEndsEverything(self) -> None:
        """Cancelling drops the connections under way."""
        path = PathUnderTest(self.reactor, self.target, Scope())
        path.addresses = ["127.0.0.1"]
        finding = Deferred.fromCoroutine(module.check(path, lambda _: None))
        self.reactor.turn(1)
        finding.cancel()
        self.failureResultOf(finding, CancelledError)
        self.reactor.turn()
        assert self.reactor.getDelayedCalls() == []
