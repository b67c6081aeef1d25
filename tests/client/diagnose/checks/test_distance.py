"""The check `proxy`, against servers in the same reactor."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from ssl import SSLContext
from tempfile import TemporaryDirectory
from types import SimpleNamespace

from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.connect import trace
from echoup.client.diagnose.checks import distance
from echoup.client.diagnose.checks.distance import CONNECTIONS, PAYLOAD, Distance, Nearness
from echoup.client.diagnose.finding import Status
from echoup.client.exitcodes import ExitCode
from echoup.client.target.security import Security
from tests.support.certificates import serverContext, writeCertificates
from tests.support.checkcases import CheckTestCase
from tests.support.serverprotocols import Greeter, Mirror, Server, Silence, tlsServer


class NearnessTests(SynchronousTestCase):
    """An application that is far behind its kernel isn't where the TCP connection ends."""

    def test_shortestTimesDecide(self) -> None:
        """Only the fastest reply counts, and the connection on which it came soonest."""
        near = Nearness([Distance(0.001, (0.05, 0.0215)), Distance(0.0005, (0.5, 0.0225))])
        assert abs(near.behind - 0.0205) < 1e-9
        assert near.isFar
        assert (near.rtt, near.firstBytes) == (0.0005, [0.0215, 0.0225, 0.05, 0.5])

    def test_oneFastReplyIsEnough(self) -> None:
        """A reply that comes as soon as the acknowledgement shows that nothing is in between."""
        assert not Nearness([Distance(0.0001, (0.03,) * 5), Distance(0.0001, (0.03, 0.004))]).isFar

    def test_longPathVaries(self) -> None:
        """On a long path the difference must be a good part of the round-trip time."""
        assert not Nearness([Distance(0.2, (0.25,))]).isFar
        assert Nearness([Distance(0.02, (0.04,))]).isFar

    def test_replyBeforeItsAcknowledgementIsNoDistance(self) -> None:
        """Two clocks may differ; less than nothing is nothing."""
        assert Nearness([Distance(0.02, (0.0199,))]).behind == 0


class DistanceTests(CheckTestCase):
    """What the check says."""

    check = staticmethod(distance.check)

    def late(self) -> Server:
        """Return a server whose application is 20 ms away."""
        reactor = self.reactor

        class Late(Server):
            def dataReceived(self, data: bytes) -> None:
                reactor.callLater(0.02, self.transport.write, data.upper())

        return Late()

    def test_nearApplicationIsFine(self) -> None:
        """Nothing is said against an application that answers at once; the figures are there."""
        target = self.listen(Server)
        finding = self.find(target)
        assert (finding.status, finding.problems) == (Status.OK, ())
        assert finding.figures["address"] == str(target)
        assert finding.figures["probes"] >= 12
        assert 0 < finding.figures["rtt"] < 1
        assert finding.figures["floor"] == distance.FLOOR

    def test_farApplicationIsNamed(self) -> None:
        """An application 20 ms behind what acknowledges is a note, with the distance; it was measured twice."""
        target = self.listen(self.late)
        finding = self.find(target)
        (problem,) = finding.problems
        assert (problem.status, problem.cause) == (Status.NOTE, "proxy")
        assert f"20 ms behind what acknowledges our bytes at {target}" in problem.text
        assert len(self.servers) == 2 * CONNECTIONS
        assert abs(finding.figures["behind"] - 0.02) < 0.005

    def test_firstRoundIsConfirmed(self) -> None:
        """An application that is late for a while only is fine."""
        assert (
            self.find(self.listen(lambda: self.late() if len(self.servers) < CONNECTIONS else Server())).problems == ()
        )

    def test_greetingIsEarly(self) -> None:
        """A server that speaks first isn't the application."""
        finding = self.find(self.listen(Greeter))
        (problem,) = finding.problems
        assert (problem.status, problem.cause) == (Status.FAIL, "answered-early")
        assert "7 bytes came before anything was sent" in problem.text

    def test_guessedReplyIsEarly(self) -> None:
        """A cache that knows the rest of the reply before it was sent is told from the application."""

        class Cache(Server):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(b"".join(PAYLOAD).upper())

        finding = self.find(self.listen(Cache))
        (problem,) = finding.problems
        assert problem.cause == "answered-early"
        half, rest = map(len, PAYLOAD)
        assert f"{half + rest} bytes came when only {half} had been sent" in problem.text

    def test_unchangedReplyBreaksOff(self) -> None:
        """A wrong reply is for other checks to explain."""
        assert self.breakOff(self.listen(Mirror)).code is ExitCode.WRONG

    def test_silenceIsSkipped(self) -> None:
        """Where no reply comes while the connection is open, there is nothing to measure."""
        finding = self.find(self.listen(Silence), timeout=1.0)
        assert finding.isSkipped
        assert "nothing came back in 1 s" in finding.summary

    def test_refusalBreaksOff(self) -> None:
        """A path that can't be connected to is no silence."""
        target = self.listen(Server)
        self.doCleanups()
        self.servers = []
        assert self.breakOff(target).code is ExitCode.UNREACHABLE

    def test_unknownRTTIsSkipped(self) -> None:
        """Without the kernel's round-trip time there is no distance."""
        self.patch(trace, "TCPInfo", SimpleNamespace(of=lambda _: None))
        assert self.find(self.listen(Server)).isSkipped

    def test_certificatesAreCompared(self) -> None:
        """Several certificates at one address are a note; one is a figure."""
        folder = Path(self.enterContext(TemporaryDirectory()))
        writeCertificates(folder)
        for names in (["server"], ["server", "other"]):
            contexts = cycle([serverContext(folder, name) for name in names])
            target = self.listen(partial(_secure, contexts))
            finding = self.find(replace(target, security=Security(str(folder / "ca.pem"))))
            assert len(finding.figures["certificates"]) == len(names)
            assert [each.cause for each in finding.problems] == ["several-certificates"] * (len(names) - 1)

    def test_cancelledCheckLeavesNothing(self) -> None:
        """Ctrl-C ends it at once."""
        self.cancelAfter(self.listen(Server), 0.2)


def _secure(contexts: Iterator[SSLContext]) -> Protocol:
    return tlsServer(next(contexts), [])
