"""The check `udp` on services that answer wrongly, or stop."""

from collections.abc import Callable
from itertools import count

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import DatagramProtocol

from echoup.client.diagnose.checks.udp import check
from echoup.client.diagnose.finding import Finding, Status
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.diagnose.scope import Scope
from echoup.client.exitcodes import ExitCode
from echoup.client.target.parse import parseTarget
from tests.support.doubles import ReactorTestCase

Respond = Callable[[bytes], list[bytes]]


class Service(DatagramProtocol):
    """Answers each datagram as `respond` says."""

    noisy = False

    def __init__(self, respond: Respond) -> None:
        self.respond = respond

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Answer it."""
        assert self.transport
        for answer in self.respond(datagram):
            self.transport.write(answer, addr)


def rightOr(isWrong: Callable[[bytes], bool], wrong: Respond) -> Respond:
    """Return what answers as it should, except where a datagram `isWrong`."""
    return lambda datagram: wrong(datagram) if isWrong(datagram) else [datagram.upper()]


class CheckTests(ReactorTestCase):
    """`check` explains what comes back."""

    def begin(self, respond: Respond, kind: str = "udp:") -> Deferred[Finding]:
        """Begin the check of a service."""
        port = self.reactor.listenUDP(0, Service(respond), "127.0.0.1", 65_536)
        target = parseTarget(f"{kind}127.0.0.1:{port.getHost().port}")
        return Deferred.fromCoroutine(check(PathUnderTest(self.reactor, target, Scope()), lambda _: None))

    def find(self, respond: Respond, kind: str = "udp:") -> Finding:
        """Return what the check finds."""
        done = self.begin(respond, kind)
        before = len(self.reactor.getReaders())
        while not done.called:
            self.reactor.advance(0.01)
        assert len(self.reactor.getReaders()) == before - 1, "the socket is closed"
        finding = self.successResultOf(done)
        assert isinstance(finding, Finding)
        return finding

    def causes(self, respond: Respond) -> list[tuple[str, ExitCode]]:
        """Return the causes, except for that of a service which answers without the TOS."""
        problems = [problem for problem in self.find(respond).problems if problem.cause != "tos-cleared"]
        return [(problem.cause, problem.code) for problem in problems]

    def test_serviceWithoutTOSIsANote(self) -> None:
        """All that is said of a service that answers right, but without the TOS, is that."""
        finding = self.find(lambda datagram: [datagram.upper()])
        assert [problem.cause for problem in finding.problems] == ["tos-cleared"]
        assert finding.status is Status.NOTE
        assert finding.figures["lost"] == 0

    def test_wrongAnswersFail(self) -> None:
        """Wrong answers fail it, each with its cause."""

        def isLarge(datagram: bytes) -> bool:
            return len(datagram) > 8192

        for respond, cause in (
            ((lambda datagram: [datagram]), "udp-unchanged"),
            (rightOr(isLarge, lambda datagram: [datagram[:8192].upper()]), "udp-cut"),
            (rightOr(isLarge, lambda datagram: [datagram[:-1].upper() + b"?"]), "udp-altered"),
            ((lambda _: [b"pardon"]), "udp-foreign"),
        ):
            assert self.causes(respond) == [(cause, ExitCode.WRONG)], cause

    def test_wrongAnswersExplainTheRest(self) -> None:
        """Beside a flood of wrong answers nothing is said of loss, sizes or marks, and it ends soon."""

        def flood(datagram: bytes) -> list[bytes]:
            return [datagram.upper(), *[bytes(60_000)] * 20]

        began = self.reactor.seconds()
        (problem,) = self.find(flood).problems
        assert (problem.cause, problem.seen) == ("udp-foreign", ("an answer of another kind",))
        assert problem.text.endswith("(100 wrong answers)")
        assert self.reactor.seconds() - began < 40

    def test_copiesAndOrder(self) -> None:
        """Copies are found, and loss that recurs."""
        assert [cause for cause, _ in self.causes(lambda datagram: [datagram.upper()] * 2)] == ["udp-duplicates"]
        numbers = count()
        lossy = rightOr(lambda _: next(numbers) % 20 == 10, lambda _: [])
        assert [cause for cause, _ in self.causes(lossy)] == ["udp-loss"]

    def test_serviceThatStops(self) -> None:
        """A service that answers no more fails it, and nothing is said of sizes and marks."""
        numbers = count()
        assert self.causes(rightOr(lambda _: next(numbers) > 210, lambda _: [])) == [
            ("udp-stopped", ExitCode.TIMED_OUT)
        ]

    def test_otherServiceAtTheSamePortIsNoFault(self) -> None:
        """Beside a stream, another service, or none, is no fault of the path."""
        for respond, words in (
            ((lambda datagram: [datagram]), "no echoup: it is the datagram itself, unchanged"),
            ((lambda _: []), "no service is there, or a firewall drops them"),
        ):
            finding = self.find(respond, "")
            assert finding.isSkipped
            assert words in finding.summary

    def test_cancellingClosesTheSocket(self) -> None:
        """Cancelling ends it at once, and leaves no socket and no timer."""
        for seconds in (0.0, 0.1, 0.5):
            readers = len(self.reactor.getReaders())
            done = self.begin(lambda datagram: [datagram.upper()])
            self.reactor.advance(seconds, 0.01)
            done.cancel()
            self.failureResultOf(done, CancelledError)
            assert len(self.reactor.getReaders()) == readers + 1
            assert self.reactor.getDelayedCalls() == []
