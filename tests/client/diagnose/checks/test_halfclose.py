"""The check `half-close`, with servers in the same reactor."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from echoup.client.diagnose.checks import halfclose
from echoup.client.diagnose.exactness.closing import SIZE, SMALL
from echoup.client.diagnose.finding import Finding, Status
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.exitcodes import ExitCode, PathError
from echoup.tls.transport import TLSTransport
from tests.support.certificates import serverContext, writeCertificates
from tests.support.checktests import TIMEOUT, CheckTestCase
from tests.support.doubles import raised
from tests.support.serverprotocols import Deserter, Goodbye, Mirror, Server, Silence


class Slow(Server):
    """A server that answers after a moment, when its client's end has come."""

    transport: Any
    delay = 0.2
    due = 0
    isEnding = False

    def connectionMade(self) -> None:
        """Begin without anything due."""
        self.calls: list[IDelayedCall] = []

    def dataReceived(self, data: bytes) -> None:
        """Answer later."""
        self.due += 1
        self.calls.append(self.transport.reactor.callLater(self.delay, self.answer, data))

    def answer(self, data: bytes) -> None:
        """Answer, and close if that was the last."""
        self.due -= 1
        if not self.gone:
            self.transport.write(data.upper())
            if self.isEnding and not self.due:
                self.transport.loseConnection()

    def readConnectionLost(self) -> None:
        """Close when everything is answered."""
        self.isEnding = True
        if not self.due:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Answer nothing more."""
        super().connectionLost(reason)
        for call in self.calls:
            if call.active():
                call.cancel()


class Closer(Slow):
    """A server, or a proxy, that takes its client's end for a close."""

    def readConnectionLost(self) -> None:
        """Close, with what it hasn't answered."""
        self.transport.loseConnection()


class Aborter(Slow):
    """One that resets the connection at its client's end."""

    def readConnectionLost(self) -> None:
        """Reset the connection."""
        self.transport.abortConnection()


class Forgetter(Slow):
    """One that answers nothing more after its client's end, and doesn't end either."""

    def answer(self, data: bytes) -> None:
        """Answer before the end."""
        if not self.isEnding:
            super().answer(data)

    def readConnectionLost(self) -> None:
        """Do nothing."""
        self.isEnding = True


class Clinger(Server):
    """A server that never ends its side."""

    def readConnectionLost(self) -> None:
        """Do nothing."""


class LateResetter(Slow):
    """A server that answers everything and then resets the connection."""

    def answer(self, data: bytes) -> None:
        """Answer, and reset the connection when that was the last, and has arrived."""
        self.due -= 1
        if not self.gone:
            self.transport.write(data.upper())
            self.resetLater()

    def readConnectionLost(self) -> None:
        """Reset the connection."""
        self.isEnding = True
        self.resetLater()

    def resetLater(self) -> None:
        """Reset the connection, if everything was answered, when that has arrived."""
        if self.isEnding and not self.due:
            self.transport.reactor.callLater(0.5, self.transport.abortConnection)


class Collector(Server):
    """A server that answers at the end of its input."""

    def connectionMade(self) -> None:
        """Begin with nothing."""
        self.collected = b""

    def dataReceived(self, data: bytes) -> None:
        """Collect it."""
        self.collected += data

    def readConnectionLost(self) -> None:
        """Answer, and close."""
        self.transport.write(self.collected.upper())
        self.transport.loseConnection()


class BareFIN(TLSTransport):
    """TLS that ends with a FIN, without a close_notify."""

    def _finish(self) -> None:
        """Send no close_notify."""


class Flood(Server):
    """A server that sends without end, as fast as it is taken."""

    transport: Any

    def connectionMade(self) -> None:
        """Begin."""
        self.transport.registerProducer(self, streaming=False)

    def resumeProducing(self) -> None:
        """Send more."""
        self.transport.write(b"x" * 2**16)

    def stopProducing(self) -> None:
        """Do nothing: the connection is gone."""


class HalfCloseTests(CheckTestCase):
    """Who ends first, what still comes, and how the other end comes, is found and named."""

    def check(self, path: PathUnderTest, tell: Tell) -> Coroutine[Any, Any, Finding]:
        """Begin the check."""
        return halfclose.check(path, tell)

    def overTLS(self, kind: type[TLSTransport], build: Callable[[], Protocol]) -> Callable[[], Protocol]:
        """Return what makes the TLS, of `kind`, of servers that `build` makes."""
        with TemporaryDirectory() as name:
            writeCertificates(Path(name))
            context = serverContext(Path(name))

        def make() -> TLSTransport:
            transport = kind(context, build)
            transport.established.addErrback(lambda _: None)
            return transport

        return make

    def test_rightServerIsOK(self) -> None:
        """Everything comes back after our end, and then the server's end, at once or later."""
        for build in (Server, Slow, Mirror):
            finding = self.find(build)
            assert (finding.problems, finding.status) == ((), Status.OK)
            assert finding.summary.startswith("57 B and 256 KiB came back after our end, then FIN, ")
            connections = finding.figures["connections"]
            assert [(each["end"], each["isEarly"]) for each in connections] == [("FIN", False)] * 3
            assert [each["received"] for each in connections] == [SMALL, SMALL, SIZE]

    def test_closeNotifyIsOK(self) -> None:
        """Over TLS the server's end is a close_notify."""
        finding = self.find(self.overTLS(TLSTransport, Server), isTLS=True)
        assert finding.problems == ()
        assert {each["end"] for each in finding.figures["connections"]} == {"close_notify"}

    def test_missingCloseNotifyIsNoted(self) -> None:
        """Over TLS a FIN alone is noted, because a cut can't be told."""
        (problem,) = self.find(self.overTLS(BareFIN, Server), isTLS=True).problems
        assert (problem.cause, problem.status) == ("no-close-notify", Status.NOTE)

    def test_cutIsFound(self) -> None:
        """A half-close that is taken for a close is found, with what had come back and what is right without it."""
        for build, end in ((Closer, "FIN"), (Aborter, "RST")):
            finding = self.find(build)
            (problem,) = (each for each in finding.problems if each.status is Status.FAIL)
            assert (problem.cause, problem.code) == ("half-close-cut", ExitCode.SHORT)
            assert finding.summary == problem.text
            assert f"{SMALL} bytes and our end sent: 0 of {SMALL} bytes came back, then {end}" in problem.seen
            assert f"without our end all {SIZE} bytes came back" in problem.seen
            isAcknowledged = any("had acknowledged all" in seen for seen in problem.seen)
            assert isAcknowledged or end == "RST"  # which may come before the kernel is asked

    def test_silenceIsFound(self) -> None:
        """A reply that stops at our end, without an end, is found."""
        causes = {each.cause: each for each in self.find(Forgetter).problems}
        assert {*causes} == {"end-missing", "half-close-hangs"}
        assert causes["half-close-hangs"].code == ExitCode.TIMED_OUT

    def test_missingEndIsFound(self) -> None:
        """A server that answers everything and doesn't end is found."""
        (problem,) = self.find(Clinger).problems
        assert (problem.cause, problem.status, problem.code) == ("end-missing", Status.FAIL, ExitCode.TIMED_OUT)
        assert f"{SIZE} bytes and our end sent: {SIZE} of {SIZE} bytes came back, then no end" in problem.seen

    def test_resetInPlaceOfAnEndIsAWarning(self) -> None:
        """A reset after everything came back is a warning."""
        (problem,) = self.find(LateResetter).problems
        assert (problem.cause, problem.status) == ("end-reset", Status.WARN)

    def test_serverThatEndsFirstIsAWarning(self) -> None:
        """A server that ends the connection after its first reply is told from one that waits for our end."""

        class Once(Goodbye):
            """A server that ends the connection after a small reply."""

            def dataReceived(self, data: bytes) -> None:
                """Answer, and close after a small reply."""
                self.transport.write(data.upper())
                if len(data) < 1000:
                    self.transport.loseConnection()

        assert "ends-first" in self.causesOf(Once)

    def test_serverThatAnswersAtTheEndIsOK(self) -> None:
        """A server that answers after our end is OK, and the summary says so."""
        finding = self.find(Collector)
        assert finding.problems == ()
        assert finding.summary.endswith("the server answers only after our end")
        assert finding.figures["answersAtEnd"] is True

    def test_singleFailureIsNoProblem(self) -> None:
        """What fails once, and not again, isn't reported."""
        made: list[Server] = []

        def build() -> Server:
            made.append(Clinger() if len(made) == 1 else Server())
            return made[-1]

        finding = self.find(build)
        assert finding.problems == ()
        assert len(finding.figures["connections"]) == 4

    def test_otherFaultsBreakItOff(self) -> None:
        """What is cut, or hangs, without our end, too, is no matter of the half-close."""

        class Limited(Server):
            """A server that answers a limited number of bytes, and closes."""

            def dataReceived(self, data: bytes) -> None:
                """Answer, and close at the limit."""
                self.taken += len(data)
                self.transport.write(data.upper())
                if self.taken > 100_000:
                    self.transport.loseConnection()

        for build, code, why in (
            (Deserter, ExitCode.SHORT, f"the server closed the connection, 3 of {SMALL} bytes came back"),
            (Silence, ExitCode.SHORT, f"the server closed the connection, 0 of {SMALL} bytes came back"),
            (Limited, ExitCode.SHORT, "the server "),
        ):
            error = raised(PathError, self.find, build)
            assert error
            assert error.code is code
            assert error.reason.startswith(why)

    def test_floodBreaksItOff(self) -> None:
        """A server that sends without end is no matter of the half-close, and is given up."""
        error = raised(PathError, self.find, Flood)
        assert error
        assert (error.code, error.reason) == (ExitCode.WRONG, f"more came back than the {SMALL} bytes that were sent")

    def test_failedHandshakeBreaksItOff(self) -> None:
        """Where the server speaks no TLS, the check says so."""
        error = raised(PathError, lambda: self.find(Mirror, isTLS=True))
        assert error
        assert error.code is ExitCode.TLS_FAILED

    def test_cancellingEndsIt(self) -> None:
        """Cancelling ends the check at once, in each of its steps, and leaves nothing."""
        for seconds in (0.0, 0.05, 0.2, TIMEOUT, 2 * TIMEOUT):
            path = self.pathTo(Clinger)
            checking, outcome = self.begin(path), list[object]()
            self.reactor.advance(seconds)
            checking.addBoth(outcome.append)
            checking.cancel()
            self.end(path, outcome, 0.0001)
