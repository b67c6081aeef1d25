"""The check `half-close`, with servers in the same reactor."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from echoup.client.diagnose.checks import halfclose
from echoup.client.diagnose.exactness.closing import SIZE, SMALL
from echoup.client.diagnose.finding import Status
from echoup.client.exitcodes import ExitCode
from echoup.client.target.security import Security
from echoup.client.target.stream import StreamTarget
from echoup.tls.transport import TLSTransport
from tests.support.certificates import serverContext, writeCertificates
from tests.support.checkcases import CheckTestCase
from tests.support.serverprotocols import Collector, Deserter, Goodbye, Mirror, Server, Silence


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
        self.gone = True  # it isn't told of a reset after this


class Clinger(Server):
    """A server that never ends its side."""

    def readConnectionLost(self) -> None:
        """Do nothing."""
        self.gone = True  # it isn't told of a reset after this


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

    check = staticmethod(halfclose.check)
    timeout = 2.0

    def listenTLS(self, kind: type[TLSTransport]) -> StreamTarget:
        """Let servers listen over the TLS of `kind`; return the target."""
        with TemporaryDirectory() as name:
            writeCertificates(Path(name))
            context = serverContext(Path(name))

        def make() -> TLSTransport:
            transport = kind(context, Server)
            transport.established.addErrback(lambda _: None)
            return transport

        return self.listen(make, security=Security(insecure=True))

    def test_rightServerIsOK(self) -> None:
        """Everything comes back after our end, and then the server's end, at once or later."""
        for build in (Server, Slow, Mirror):
            finding = self.find(self.listen(build))
            assert (finding.problems, finding.status) == ((), Status.OK)
            assert finding.summary.startswith("57 B and 256 KiB came back after our end, then FIN, ")
            connections = finding.figures["connections"]
            assert [(each["end"], each["isEarly"]) for each in connections] == [("FIN", False)] * 3
            assert [each["received"] for each in connections] == [SMALL, SMALL, SIZE]

    def test_closeNotifyIsOK(self) -> None:
        """Over TLS the server's end is a close_notify."""
        finding = self.find(self.listenTLS(TLSTransport))
        assert finding.problems == ()
        assert {each["end"] for each in finding.figures["connections"]} == {"close_notify"}

    def test_missingCloseNotifyIsNoted(self) -> None:
        """Over TLS a FIN alone is noted, because a cut can't be told."""
        (problem,) = self.find(self.listenTLS(BareFIN)).problems
        assert (problem.cause, problem.status) == ("no-close-notify", Status.NOTE)

    def test_cutIsFound(self) -> None:
        """A half-close that is taken for a close is found, with what had come back and what is right without it."""
        for build, end in ((Closer, "FIN"), (Aborter, "RST")):
            finding = self.find(self.listen(build))
            (problem,) = (each for each in finding.problems if each.status is Status.FAIL)
            assert (problem.cause, problem.code) == ("half-close-cut", ExitCode.SHORT)
            assert finding.summary == problem.text
            assert f"{SMALL} bytes and our end sent: 0 of {SMALL} bytes came back, then {end}" in problem.seen
            assert f"without our end all {SIZE} bytes came back" in problem.seen
            isAcknowledged = any("had acknowledged all" in seen for seen in problem.seen)
            assert isAcknowledged or end == "RST"  # which may come before the kernel is asked

    def test_silenceIsFound(self) -> None:
        """A reply that stops at our end, without an end, is found."""
        causes = {each.cause: each for each in self.find(self.listen(Forgetter)).problems}
        assert {*causes} == {"end-missing", "half-close-hangs"}
        assert causes["half-close-hangs"].code == ExitCode.TIMED_OUT

    def test_missingEndIsFound(self) -> None:
        """A server that answers everything and doesn't end is found."""
        (problem,) = self.find(self.listen(Clinger)).problems
        assert (problem.cause, problem.status, problem.code) == ("end-missing", Status.FAIL, ExitCode.TIMED_OUT)
        assert f"{SIZE} bytes and our end sent: {SIZE} of {SIZE} bytes came back, then no end" in problem.seen

    def test_resetInPlaceOfAnEndIsAWarning(self) -> None:
        """A reset after everything came back is a warning."""
        (problem,) = self.find(self.listen(LateResetter)).problems
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

        assert "ends-first" in self.causesOf(self.listen(Once))

    def test_serverThatAnswersAtTheEndIsOK(self) -> None:
        """A server that answers after our end is OK, and the summary says so."""
        finding = self.find(self.listen(Collector))
        assert finding.problems == ()
        assert finding.summary.endswith("the server answers only after our end")
        assert finding.figures["answersAtEnd"] is True

    def test_singleFailureIsNoProblem(self) -> None:
        """What fails once, and not again, isn't reported."""

        def build() -> Server:
            return Clinger() if len(self.servers) == 1 else Server()

        finding = self.find(self.listen(build))
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
            error = self.breakOff(self.listen(build))
            assert error.code is code
            assert error.reason.startswith(why)

    def test_floodBreaksItOff(self) -> None:
        """A server that sends without end is no matter of the half-close, and is given up."""
        error = self.breakOff(self.listen(Flood))
        assert (error.code, error.reason) == (ExitCode.WRONG, f"more came back than the {SMALL} bytes that were sent")

    def test_failedHandshakeBreaksItOff(self) -> None:
        """Where the server speaks no TLS, the check says so."""
        target = self.listen(Mirror, security=Security(insecure=True))
        assert self.breakOff(target).code is ExitCode.TLS_FAILED

    def test_cancellingEndsIt(self) -> None:
        """Cancelling ends the check at once, in each of its steps, and leaves nothing."""
        for seconds in (0.0, 0.05, 0.2, self.timeout, 2 * self.timeout):
            self.cancelAfter(self.listen(Clinger), seconds)
