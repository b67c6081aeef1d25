"""The check `flows`, with a server in the same reactor, and what it says of each outcome."""

import socket
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import DatagramProtocol, Factory

from echoup.client.diagnose.finding import Finding, Status
from echoup.client.diagnose.flowseries import series
from echoup.client.diagnose.flowseries.binomial import Tally
from echoup.client.diagnose.flowseries.series import ROUNDS, FlowSeries
from echoup.client.diagnose.longchecks.flows import ProtocolFlows, check, describe, measure
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.diagnose.scope import Scope
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.target.stream import StreamTarget
from tests.support.doubles import ReactorTestCase
from tests.support.serverprotocols import Server, Silence


class Answerer(DatagramProtocol):
    """A UDP service that answers in upper case, except to the ports that the test chooses."""

    transport: Any
    deaf = staticmethod(lambda port: False)  # noqa: ARG005  # the test's takes one

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Answer."""
        if not self.deaf(addr[1]):
            self.transport.write(datagram.upper(), addr)


class CheckTests(ReactorTestCase):
    """The check on loopback."""

    def start(self, protocol: type[Server] = Server, **scope: Any) -> "Deferred[Finding]":
        """Start TCP and UDP servers on the same port, and the check."""
        listening = self.reactor.listenTCP(0, Factory.forProtocol(protocol), interface="127.0.0.1")
        number = listening.getHost().port
        self.answerer = Answerer()
        datagrams = self.reactor.listenUDP(number, self.answerer, interface="127.0.0.1")
        for port in (listening, datagrams):
            self.addCleanup(port.stopListening)
        target = StreamTarget("", "127.0.0.1", number)
        path = PathUnderTest(self.reactor, target, Scope(flows=8, **scope))
        return Deferred.fromCoroutine(check(path, lambda _: None))

    def finish(self, checking: "Deferred[Finding]") -> Finding:
        """Return what the check finds; it leaves nothing behind."""
        for _ in range(3000):
            if checking.called:
                break
            self.reactor.advance(0.02)
        self.reactor.turn()
        assert self.reactor.getDelayedCalls() == []
        return self.successResultOf(checking)

    def test_goodFlows(self) -> None:
        """Flows that lose nothing are alike, and are probed once."""
        found = self.finish(self.start())
        assert (found.status, found.problems) == (Status.OK, ())
        for protocol, sent in (("udp", ROUNDS), ("tcp", ROUNDS + 1)):
            flows = found.figures[protocol]["flows"]
            assert [(flow["sent"], flow["lost"]) for flow in flows] == [(sent, 0)] * 8
            assert len({flow["port"] for flow in flows}) == 8

    def test_deadFlows(self) -> None:
        """Flows that get no answer are named, after a second series over the same ports."""
        checking = self.start()
        self.answerer.deaf = lambda port: port % 4 == 1
        found = self.finish(checking)
        (problem,) = found.problems
        assert (problem.status, problem.cause) == (Status.FAIL, "dead-flows")
        assert problem.text.startswith("2 of 8 UDP flows are dead: nothing is answered from source ports ")
        dead = [flow for flow in found.figures["udp"]["flows"] if flow["isLossy"]]
        assert [(flow["port"] % 4, flow["sent"], flow["lost"]) for flow in dead] == [(1, 2 * ROUNDS, 2 * ROUNDS)] * 2

    def test_silentServerIsNoMatterOfFlows(self) -> None:
        """Where no flow is answered, the check breaks off with the error of one."""
        checking = self.start(Silence, timeout=1)
        for _ in range(400):
            self.reactor.advance(0.02)
        error = self.failureResultOf(checking, PathError).value
        assert error.code is ExitCode.TIMED_OUT

    def test_cancellingLeavesNothing(self) -> None:
        """A check that is cancelled, over UDP or TCP, closes what it has opened at once."""
        for seconds in (0.1, 2.0):
            before = len(self.reactor.getReaders())
            checking = self.start()
            self.reactor.advance(seconds)
            assert not checking.called
            checking.cancel()
            self.failureResultOf(checking, CancelledError)
            self.reactor.turn()
            assert self.reactor.getDelayedCalls() == []
            # The two servers, and their ends of the connections until these see the end.
            self.reactor.until(lambda before=before: len(self.reactor.getReaders()) <= before + 2)  # type: ignore[misc]

    def test_portsThatAreTakenAreLeftOut(self) -> None:
        """A source port that another program has is left out; so is the number of the server."""
        self.patch(series, "LOWEST", 39990)
        self.patch(series, "HIGHEST", 40010)
        path = PathUnderTest(self.reactor, StreamTarget("", "127.0.0.1", 40000), Scope(flows=8))
        free = [*_Canned(path, []).ports]
        assert 40000 not in free
        with socket.socket() as taken:
            taken.bind(("", free[0]))
            assert free[0] not in [*_Canned(path, []).ports]


class _Canned(FlowSeries):
    """Series whose outcomes the test has decided."""

    name, kind = "TCP", socket.SOCK_STREAM

    def __init__(self, path: Any, *series: list[Tally]) -> None:
        super().__init__(path, len(series[0]))
        self.left = [*series]
        self.isClosed = False

    async def run(self) -> list[Tally]:
        """Return the next series."""
        return self.left.pop(0)

    def close(self) -> None:
        """Note it."""
        self.isClosed = True


def tallies(**lost: int) -> list[Tally]:
    """Return 32 flows of 40 probes, and how many some of them lost: `p3` is port 3."""
    return [Tally(port, 40 - lost.get(f"p{port}", 0), lost.get(f"p{port}", 0), [0.01] * 40) for port in range(32)]


class MeasureTests(ReactorTestCase):
    """What has to be seen twice."""

    def measure(self, *series: list[Tally]) -> ProtocolFlows:
        """Return what is found where the series end like that."""
        canned = _Canned(None, *series)
        found = self.successResultOf(Deferred.fromCoroutine(measure(canned, lambda _: None)))
        assert canned.isClosed
        self.left = len(canned.left)
        return found

    def test_goodFlowsAreProbedOnce(self) -> None:
        """Without a suspect there is no second series."""
        assert not self.measure(tallies(), tallies()).lossy
        assert self.left == 1

    def test_onlyWhatIsSeenTwiceCounts(self) -> None:
        """A flow must lose in both series; the tallies are the sums."""
        assert not self.measure(tallies(p3=20), tallies()).lossy
        assert not self.measure(tallies(p3=20), tallies(p4=20)).lossy
        found = self.measure(tallies(p3=20, p4=20), tallies(p3=15, p5=20))
        assert found.lossy == {3}
        assert (found.tallies[3].sent, found.tallies[3].lost) == (80, 35)

    def test_slowFlows(self) -> None:
        """A slow flow is reported with its latency and that of the others."""
        series = [tallies(), tallies()]
        for each in series:
            each[9].latencies = [0.05] * 40
        found = describe([self.measure(*series), ProtocolFlows("UDP", [Tally(1, 0, 40)])])
        (problem,) = found.problems
        assert (problem.status, problem.cause) == (Status.WARN, "slow-flows")
        assert problem.text == "1 of 32 TCP flows takes 50 ms, the others 10 ms: source port 9"
        assert found.summary == f"{problem.text}; no right answer came over UDP"

    def test_lossyFlows(self) -> None:
        """Lossy flows are reported with their ports, not more than a line has room for, and their share."""
        lost = {f"p{port}": 20 for port in range(0, 32, 2)}
        (problem,) = describe([self.measure(tallies(**lost), tallies(**lost))]).problems
        assert problem.cause == "lossy-flows"
        assert problem.text == "16 of 32 TCP flows lose 50 %: source ports 0, 2, 4, 6, 8, 10, 12, 14 and 8 more"
        assert problem.seen[-1] == "the others lose 0.0 %"
        assert problem.meaning
        assert problem.advice

    def test_nothingMeasured(self) -> None:
        """Without an answer over any protocol the check is skipped."""
        assert describe([ProtocolFlows("UDP", [Tally(1, 0, 40)])]).isSkipped
