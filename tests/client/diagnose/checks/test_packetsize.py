"""The check `mtu`, with servers in the same reactor, and what it says of each outcome."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.diagnose.checks.packetsize import check, describe
from echoup.client.diagnose.finding import Finding, Status
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.diagnose.scope import Scope
from echoup.client.diagnose.sizes.narrowing import Bounds
from echoup.client.diagnose.sizes.segments import RequestFate, SegmentSizes, SizeProbe
from echoup.client.diagnose.sizes.wholedatagrams import DatagramSizes
from echoup.client.exitcodes import ExitCode
from echoup.client.target.stream import StreamTarget
from tests.support.doubles import ReactorTestCase
from tests.support.serverprotocols import Goodbye, Server


class Picky(Server):
    """A server that doesn't answer more than LIMIT bytes at once."""

    LIMIT = 700

    def dataReceived(self, data: bytes) -> None:
        """Answer, unless that is too much."""
        if self.taken + len(data) <= self.LIMIT:
            super().dataReceived(data)


class Strict(Server):
    """A server that closes when it gets more than LIMIT bytes at once."""

    LIMIT = 2000

    def dataReceived(self, data: bytes) -> None:
        """Answer, or close."""
        if len(data) > self.LIMIT:
            self.transport.loseConnection()
        else:
            super().dataReceived(data)


class CheckTests(ReactorTestCase):
    """The check on loopback, with and without something that stops large requests."""

    def find(self, build: Callable[[], Protocol], seconds: float = 30) -> Finding:
        """Return what the check finds of a server whose protocols `build` makes; there is no UDP."""
        port = self.reactor.listenTCP(0, Factory.forProtocol(build), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        path = PathUnderTest(self.reactor, StreamTarget("", "127.0.0.1", port.getHost().port), Scope(timeout=2))
        said: list[str] = []
        checking = Deferred.fromCoroutine(check(path, said.append))
        for _ in range(int(seconds * 10)):
            if checking.called:
                break
            self.reactor.advance(0.1)
        self.reactor.turn()
        found = self.successResultOf(checking)
        assert said
        assert self.reactor.getDelayedCalls() == []
        return found

    def test_everythingPasses(self) -> None:
        """A good server has no problem, and the summary says that UDP isn't answered there."""
        found = self.find(Server)
        assert (found.status, found.problems) == (Status.OK, ())
        assert found.summary.startswith("TCP: path MTU 65535, MSS ")
        assert found.summary.endswith("UDP is refused")
        assert found.figures["udp"] is None

    def test_hangingApplication(self) -> None:
        """Requests that are acknowledged and not answered don't come back; the largest that is answered is found."""
        found = self.find(Picky)
        (problem,) = found.problems
        assert (problem.status, problem.cause, problem.code) == (
            Status.FAIL,
            "mtu-black-hole-back",
            ExitCode.TIMED_OUT,
        )
        assert found.figures["tcp"]["largest"] == Picky.LIMIT - 16

    def test_closedConnection(self) -> None:
        """Where larger requests end the connection, it isn't the packets."""
        found = self.find(Strict)
        (problem,) = found.problems
        assert (problem.status, problem.cause, problem.code) == (Status.FAIL, "size-limit", ExitCode.SHORT)
        assert problem.text == "requests of up to 2000 bytes are answered, larger ones close the connection"

    def test_serverThatAnswersOnce(self) -> None:
        """A server that closes after each answer can't be measured."""
        found = self.find(Goodbye)
        assert found.isSkipped
        assert "after the first answer" in found.summary


def probe(
    size: int, fate: RequestFate = RequestFate.PASSED, seconds: float = 0.01, after: Any = None, **before: Any
) -> SizeProbe:
    """Return a request on a path with an MTU of 1500 bytes; `after` are fields of the connection at its end."""
    fields: dict[str, Any] = {"sendMSS": 1448, "pathMTU": 1500, "options": 1} | before
    info = TCPInfo("ESTABLISHED", 0.001, 0, **fields)
    later = TCPInfo("ESTABLISHED", 0.001, 0, **fields | (after or {}))
    return SizeProbe(size, fate, 0.01, seconds, info, later, 20 + info.headers)


SIZES = (512, 1200, 1448, 4544)
UDP = DatagramSizes("", 28, 1472, 1472)


class DescribeTests(ReactorTestCase):
    """What is said of the outcomes."""

    def causes(self, found: Finding) -> list[str]:
        """Return the causes of the problems, each of which must be written in full."""
        for problem in found.problems:
            assert problem.seen
            assert problem.meaning
            assert problem.advice
        return [problem.cause for problem in found.problems]

    def hanging(self, fate: RequestFate, bounds: Bounds | None, **after: Any) -> SegmentSizes:
        """Return what was found where requests of a full segment hang."""
        stuck = [probe(size, fate, 5, after) for size in SIZES[2:]]
        return SegmentSizes([*map(probe, SIZES[:2]), *stuck], stuck[0], probe(1448, fate, 1, after), bounds)

    def test_healthy(self) -> None:
        """Without a problem the summary has the figures."""
        found = describe(SegmentSizes([*map(probe, SIZES)]), UDP)
        assert found.summary == ("TCP: path MTU 1500, MSS 1448, 4544 bytes at once; UDP: packets of 1500 bytes")
        assert not found.problems

    def test_thereAndBack(self) -> None:
        """What isn't acknowledged is lost on the way there, what is acknowledged on the way back."""
        there = describe(self.hanging(RequestFate.UNACKNOWLEDGED, Bounds(1248, 1249), unacknowledged=1, lost=1), UDP)
        assert self.causes(there) == ["mtu-black-hole"]
        assert there.problems[0].text.startswith("packets of more than 1300 bytes vanish on the way to the server")
        assert "clamp the MSS to 1260" in there.problems[0].advice
        back = describe(self.hanging(RequestFate.UNANSWERED, Bounds(1248, 1249)), UDP)
        assert self.causes(back) == ["mtu-black-hole-back"]
        assert "a proxy in between" in back.problems[0].meaning
        proven = describe(self.hanging(RequestFate.UNANSWERED, None, outOfOrder=1), UDP)
        assert "a proxy in between" not in proven.problems[0].meaning
        assert "more than about 1252 bytes" in proven.problems[0].text

    def test_severalSegments(self) -> None:
        """Where one segment passes and several don't, it isn't the size of a packet."""
        stuck = probe(4544, RequestFate.UNANSWERED, 5)
        found = describe(SegmentSizes([*map(probe, SIZES[:3]), stuck], stuck, stuck, Bounds(4095, 4096)), UDP)
        assert self.causes(found) == ["size-limit"]
        assert found.problems[0].text == "requests of up to 4095 bytes are answered, larger ones hang"

    def test_late(self) -> None:
        """What passes after a while, each time, is a warning."""
        late = probe(1448, seconds=6.5, after={"sendMSS": 1024})
        first = [*map(probe, SIZES[:2]), late, probe(4544)]
        again = probe(1448, RequestFate.UNACKNOWLEDGED, 1)
        found = describe(SegmentSizes(first, late, again, Bounds(1248, 1249)), UDP)
        assert (found.status, self.causes(found)) == (Status.WARN, ["mtu-recovered"])
        assert "the MSS fell from 1448 to 1024 bytes meanwhile" in found.problems[0].seen

    def test_clamped(self) -> None:
        """A smaller MSS is a note, but not where the packets are as large as on loopback."""
        found = describe(SegmentSizes([probe(512, sendMSS=988)]), UDP)
        assert (found.status, self.causes(found)) == (Status.NOTE, ["mss-clamped"])
        assert not describe(SegmentSizes([probe(512, sendMSS=32768, pathMTU=65535)]), UDP).problems

    def test_datagrams(self) -> None:
        """A smaller limit over UDP is a warning unless a router has announced it; a hole over TCP explains it."""
        good = SegmentSizes([*map(probe, SIZES)])
        silent, announced = DatagramSizes("", 28, 1472, 1272), DatagramSizes("", 28, 1472, 1272, isAnnounced=True)
        assert self.causes(describe(good, silent)) == ["mtu-silent"]
        assert self.causes(describe(None, silent)) == ["mtu-silent"]
        found = describe(good, announced)
        assert not found.problems
        assert found.summary.endswith("packets of 1300 bytes, as a router says (ICMP)")
        there = describe(self.hanging(RequestFate.UNACKNOWLEDGED, Bounds(1248, 1249)), silent)
        assert self.causes(there) == ["mtu-black-hole"]
        assert describe(None, DatagramSizes("UDP isn't answered")).isSkipped
