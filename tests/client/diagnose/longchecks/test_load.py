"""The check `load`, against servers in the same reactor."""

from collections.abc import Iterator
from itertools import chain, cycle, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.protocol import Factory

from echoup.client.diagnose.finding import Status
from echoup.client.diagnose.longchecks import load
from echoup.client.diagnose.longchecks.latency import Latencies
from echoup.client.exitcodes import ExitCode
from echoup.client.target.stream import StreamTarget
from tests.support.checkcases import CheckTestCase
from tests.support.serverprotocols import Mirror, Server

T = 0.2
"""Seconds of each flood."""


class CannedProbes:
    """Probes whose latencies the test knows."""

    latencies: Iterator[Latencies]

    def __init__(self, *_: object) -> None:
        pass

    async def stop(self, until: float) -> Latencies:
        """Return the next latencies."""
        return next(type(self).latencies)

    def cancel(self) -> None:
        """Do nothing."""


class Streaming(Server):
    """A server that reads no more while its replies aren't taken."""

    transport: Any
    peers: list[Server]
    """All of them."""

    def connectionMade(self) -> None:
        """Let the transport pause itself."""
        self.transport.registerProducer(self.transport, True)


class LoadTests(CheckTestCase):
    """What the check says."""

    check = staticmethod(load.check)

    def serve(self) -> StreamTarget:
        """Let a server listen that reads no more while its replies aren't taken."""
        return self.listen(Streaming)

    def test_floodsGoTheirWays(self) -> None:
        """One flood goes up, one down and one both ways, with figures for each, in about the time asked for."""
        before = self.reactor.seconds()
        finding = self.find(self.serve(), load=T)
        assert finding.problems == ()
        assert self.reactor.seconds() - before < 4 * T + 2.5
        figures = finding.figures
        assert figures["up"]["sent"] > 4 * figures["up"]["received"]
        assert figures["down"]["received"] > 4 * figures["down"]["sent"]
        assert min(figures["both"][way] for way in ("sent", "received")) > 0
        assert all(figures[phase]["p50"] is not None for phase in ("idle", "both"))
        assert self.told[0] == "idle"
        assert {*self.told[1:]} == {"a flood up", "a flood down", "a flood both ways"}

    def test_longQueueIsNamed(self) -> None:
        """Where replies and handshakes wait half a second beside one of the floods, the queue is too long."""
        idle, late = Latencies([0.001] * 9, [0.0005] * 9), Latencies([0.5] * 9, [0.5] * 9)
        CannedProbes.latencies = chain([idle], cycle([late, idle]))
        self.patch(load, "LatencyProbes", CannedProbes)
        finding = self.find(self.serve(), load=T)
        (problem,) = finding.problems
        assert (problem.status, problem.cause) == (Status.WARN, "bufferbloat")
        assert "a reply takes 1 ms, but 500 ms beside a flood up" in problem.text
        assert abs(finding.figures["up"]["factor"] - 500) < 1

    def test_busyServerIsNoQueue(self) -> None:
        """Where only the replies wait, the programs are busy; the figures say so."""
        idle, late = Latencies([0.001] * 9, [0.0005] * 9), Latencies([0.5] * 9, [0.0007] * 9)
        CannedProbes.latencies = chain([idle], repeat(late))
        self.patch(load, "LatencyProbes", CannedProbes)
        finding = self.find(self.serve(), load=T)
        assert finding.problems == ()
        assert "TCP handshakes 0.7 ms at most" in finding.summary

    def test_shortFloodIsSkipped(self) -> None:
        """Of too few probes nothing is said."""
        assert self.find(self.serve(), load=0.02).isSkipped

    def test_unixSocketHasOneFlood(self) -> None:
        """A Unix socket has no TCP_INFO by which to send one way only."""
        folder = self.enterContext(TemporaryDirectory())
        path = str(Path(folder, "socket"))
        listening = self.reactor.listenUNIX(path, Factory.forProtocol(Streaming))
        self.addCleanup(listening.stopListening)
        self.servers = []
        finding = self.find(StreamTarget(f"unix:{path}", path=path), load=T)
        assert finding.problems == ()
        assert finding.figures["up"]["p50"] is None
        assert finding.figures["both"]["sent"] > 0

    def test_directionThatAloneShowsItIsNamed(self) -> None:
        """A queue on the way down also shows in the flood both ways, and more so; it is on the way down."""
        times = {"idle": 0.001, "a flood up": 0.001, "a flood down": 0.5, "a flood both ways": 0.6}
        CannedProbes.latencies = (Latencies([times[phase]] * 9, [times[phase]] * 9) for phase in self.phases())
        self.patch(load, "LatencyProbes", CannedProbes)
        (problem,) = self.find(self.serve(), load=T).problems
        assert "500 ms beside a flood down" in problem.text

    def phases(self) -> Iterator[str]:
        """Yield the phase that is under way, each time that one is over."""
        while True:
            yield self.told[-1]

    def test_unmeasuredDirectionIsSaid(self) -> None:
        """A flood beside which too few probes were answered is mentioned."""
        few, idle = Latencies([0.001], []), Latencies([0.001] * 9, [0.0005] * 9)
        CannedProbes.latencies = chain([idle], cycle([Latencies(), idle]))
        self.patch(load, "LatencyProbes", CannedProbes)
        assert "idle; up not measured; 1 ms (1 x) beside " in self.find(self.serve(), load=T).summary
        CannedProbes.latencies = repeat(few)
        assert "too few probes" in self.find(self.serve(), load=T).summary

    def test_silenceBesideAFlood(self) -> None:
        """A server that answers nobody any more when there is a flood fails."""
        servers: list[Server]

        class Overwhelmed(Server):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data[:0] if sum(each.taken for each in servers) > 100_000 else data)

        target = self.listen(Overwhelmed)
        servers = self.servers
        finding = self.find(target, load=0.5, timeout=0.3)
        (problem,) = finding.problems
        assert (problem.status, problem.cause, problem.code) == (
            Status.FAIL,
            "no-reply-beside-flood",
            ExitCode.TIMED_OUT,
        )
        assert "beside a flood up" in problem.text

    def test_limitOfConnectionsIsNamed(self) -> None:
        """Where a client may have few connections, the flood has those, and a note says so; or there is none."""
        limit = 4

        class Limited(Streaming):
            def connectionMade(self) -> None:
                super().connectionMade()
                if sum(not each.gone for each in self.peers) > limit:
                    self.transport.abortConnection()

        target = self.listen(Limited)
        Limited.peers = self.servers
        finding = self.find(target, load=T)
        (problem,) = finding.problems
        assert (problem.status, problem.cause) == (Status.NOTE, "few-connections")
        assert problem.text.startswith("only 3 of the flood's 8 connections work: the server reset the connection")
        assert finding.figures["connections"] == 3
        assert finding.figures["both"]["sent"] > 0
        limit = 1
        finding = self.find(target, load=T)
        assert finding.isSkipped
        assert finding.summary.startswith("no connection works beside the one of the probes: the server reset")
        limit = 0
        assert self.breakOff(target, load=T).code is ExitCode.SHORT

    def test_closedConnectionBreaksOff(self) -> None:
        """A server that closes connections of much data has another fault."""

        class Closing(Server):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                if self.taken > 50_000:
                    self.transport.loseConnection()

        assert self.breakOff(self.listen(Closing), load=1).code is ExitCode.SHORT

    def test_wrongReplyBreaksOff(self) -> None:
        """So has one whose replies are wrong."""
        assert self.breakOff(self.listen(Mirror), load=1).code is ExitCode.WRONG

    def test_cancelledFloodLeavesNothing(self) -> None:
        """Ctrl-C ends it at once, in each phase."""
        for seconds in (0.1, T + 0.1, 3 * T + 2.3):
            self.cancelAfter(self.serve(), seconds, load=T)
