"""Probes over UDP, answered by the test."""

import socket
from typing import Any

from twisted.internet.defer import Deferred

from echoup.client.connect.trace import Step
from echoup.client.exitcodes import ExitCode
from echoup.client.ping.datagram import REMEMBERED, DatagramProbes, ProbePort
from echoup.client.ping.result import Result
from echoup.client.ping.schedule import Schedule
from echoup.client.ping.statistics import Statistics
from echoup.client.target.datagram import DatagramTarget
from echoup.verdict import Verdict
from tests.support.doubles import ReactorTestCase
from tests.support.names import Names
from tests.support.sockets import leave

SIZE = 20
TIMEOUT = 5.0


class DatagramTestCase(ReactorTestCase):
    """A test with a server that does what the test does, and with probes of it."""

    keep = False

    def setUp(self) -> None:
        """Open both."""
        super().setUp()
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.server.close)
        self.server.bind(("127.0.0.1", 0))
        self.server.settimeout(60)
        self.reactor.installNameResolver(Names({"there": ["127.0.0.1", "127.0.0.2"]}))
        self.target = DatagramTarget("there", self.server.getsockname()[1])
        self.statistics = Statistics()
        self.probes = self.makeProbes(self.target)

    def makeProbes(self, target: DatagramTarget, size: int = SIZE) -> DatagramProbes:
        """Return what makes probes of `target`."""
        return DatagramProbes(self.reactor, target, Schedule(None, 1, TIMEOUT, size, self.keep), self.statistics)

    def start(self, seq: int) -> "tuple[Deferred[Result], bytes, Any]":
        """Begin a probe; return what it comes to, and the datagram that arrives, and from where."""
        probing = Deferred.fromCoroutine(self.probes.probe(seq))
        data, sender = self.server.recvfrom(65536)
        return probing, data, sender

    def answer(self, data: bytes, sender: Any) -> None:
        """Send an answer, and let it arrive."""
        self.server.sendto(data, sender)
        self.reactor.turn()

    def leave(self) -> None:
        """Close the server."""
        self.addCleanup(leave(self.server).close)

    def close(self) -> None:
        """Close all ports."""
        self.successResultOf(Deferred.fromCoroutine(self.probes.close()))

    def counts(self) -> tuple[int, int, int]:
        """Return how many answers were late, came again, and came in another order."""
        return self.statistics.late, self.statistics.duplicates, self.statistics.reordered

    def assertFailed(self, probing: "Deferred[Result]", verdict: Verdict | None, code: ExitCode, message: str) -> None:
        """Check how a probe failed."""
        result = self.successResultOf(probing)
        assert result.error
        assert (result.verdict, result.step, result.error.code) == (verdict, Step.FIRST_BYTE, code)
        assert str(result.error) == message

    @property
    def called(self) -> str:
        """What messages call the server."""
        return f"{self.target} (127.0.0.1:{self.target.port})"

    def ports(self) -> int:
        """Return how many ports are open."""
        return len([reader for reader in self.reactor.getReaders() if hasattr(reader, "getHost")])


class FreshTests(DatagramTestCase):
    """Each probe has a port of its own."""

    def test_right(self) -> None:
        """All is known of a probe that was answered."""
        probing, data, sender = self.start(1)
        self.answer(data.upper(), sender)
        result = self.successResultOf(probing)
        assert (len(data), result.verdict, result.error) == (SIZE, Verdict.UPPERCASED, None)
        assert (result.local, result.remote) == (f"127.0.0.1:{sender[1]}", f"127.0.0.1:{self.target.port}")
        assert [phase.step for phase in result.trace.phases] == [Step.RESOLVE, Step.FIRST_BYTE]
        _, other, another = self.start(2)
        assert other != data
        assert another != sender

    def test_wrong(self) -> None:
        """A wrong answer is told as what it is."""
        corrupted = "corrupted: byte 5 of the reply is not the upper case of the one sent"
        for change, verdict, code, message in (
            (
                lambda data: data,
                Verdict.UNCHANGED,
                ExitCode.WRONG,
                "unchanged: the bytes came back as they were sent, ",
            ),
            (lambda data: data.upper()[:5] + b"?" + data.upper()[6:], Verdict.CORRUPTED, ExitCode.WRONG, corrupted),
            (lambda data: data.upper()[:7], Verdict.SHORT, ExitCode.SHORT, f"short: 7 of {SIZE} bytes came back"),
            (lambda _: b"", Verdict.SHORT, ExitCode.SHORT, f"short: 0 of {SIZE} bytes came back"),
        ):
            probing, data, sender = self.start(1)
            self.answer(change(data), sender)
            result = self.successResultOf(probing)
            assert result.error
            assert (result.verdict, result.error.code) == (verdict, code)
            assert str(result.error).startswith(f"{self.called}: {message}")
            self.close()

    def test_lost(self) -> None:
        """A probe without an answer is given up; when that comes after all, it's late."""
        probing, data, sender = self.start(1)
        self.reactor.advance(TIMEOUT + 0.1)
        why = f"no answer within {TIMEOUT:g} s: it was lost, or the answer was, or nobody answers there"
        self.assertFailed(probing, None, ExitCode.TIMED_OUT, f"{self.called}: {why}")
        self.answer(data.upper(), sender)
        assert self.counts() == (1, 0, 0)
        self.answer(data.upper(), sender)
        assert self.counts() == (1, 1, 0)

    def test_refused(self) -> None:
        """Where nobody listens, the machine says so."""
        self.leave()
        probing = Deferred.fromCoroutine(self.probes.probe(1))
        self.reactor.until(lambda: bool(probing.called))
        message = f"cannot send to {self.called}: Connection refused"
        self.assertFailed(probing, None, ExitCode.UNREACHABLE, message)
        self.close()
        assert self.ports() == 0

    def test_tooLarge(self) -> None:
        """What the system doesn't want to send is told with its words."""
        self.probes = self.makeProbes(self.target, 70000)
        probing = Deferred.fromCoroutine(self.probes.probe(1))
        message = f"cannot send to {self.called}: Message too long"
        self.assertFailed(probing, None, ExitCode.UNREACHABLE, message)

    def linger(self) -> "Deferred[None]":
        """Begin to wait for what may still come."""
        return Deferred.fromCoroutine(self.probes.linger())

    def test_linger(self) -> None:
        """After the last answer it waits twice the time of the slowest; what comes until then is counted."""
        for seq, wait in ((1, 0.3), (2, 0.1)):
            probing, data, sender = self.start(seq)
            self.reactor.advance(wait)
            self.answer(data.upper(), sender)
            self.statistics.add(self.successResultOf(probing))
        lingering = self.linger()
        self.reactor.advance(0.55)
        self.assertNoResult(lingering)
        self.answer(data.upper(), sender)
        assert self.counts() == (0, 1, 0)
        self.reactor.advance(0.1)
        self.successResultOf(lingering)
        assert self.reactor.getDelayedCalls() == []

    def test_lingerAtMost(self) -> None:
        """That is no longer than a probe may take; and where nothing was answered, it is no time at all."""
        lost, _, _ = self.start(1)
        self.reactor.advance(TIMEOUT + 0.1)
        self.statistics.add(self.successResultOf(lost))
        self.successResultOf(self.linger())
        probing, data, sender = self.start(2)
        self.reactor.advance(TIMEOUT - 0.2)
        self.answer(data.upper(), sender)
        self.statistics.add(self.successResultOf(probing))
        lingering = self.linger()
        self.reactor.advance(TIMEOUT - 0.1)
        self.assertNoResult(lingering)
        self.reactor.advance(0.2)
        self.successResultOf(lingering)

    def test_noPort(self) -> None:
        """So is that there are no ports."""

        def open_(*_: object) -> None:
            raise OSError(24, "Too many open files")

        self.patch(ProbePort, "open", open_)
        result = self.successResultOf(Deferred.fromCoroutine(self.probes.probe(1)))
        assert str(result.error) == f"cannot send to {self.called}: Too many open files"
        assert (result.local, result.remote) == (None, None)

    def test_unresolved(self) -> None:
        """A name that stands for nothing fails in that step."""
        self.probes = self.makeProbes(DatagramTarget("nowhere", 1))
        result = self.successResultOf(Deferred.fromCoroutine(self.probes.probe(1)))
        assert result.error
        assert (result.error.code, result.step) == (ExitCode.UNRESOLVED, Step.RESOLVE)

    def test_forgotten(self) -> None:
        """A port is closed when its probe was over for as long as that may take, not before."""
        for seq in (1, 2):
            _, data, sender = self.start(seq)
            self.answer(data.upper(), sender)
        assert self.ports() == 2
        self.reactor.advance(TIMEOUT - 0.1)
        _, data, sender = self.start(3)
        assert self.ports() == 3
        self.reactor.advance(0.2)
        self.start(4)
        self.reactor.turn()
        assert self.ports() == 2

    def test_remembered(self) -> None:
        """No more ports stay open than probes are remembered."""
        for seq in range(REMEMBERED + 20):
            probing, data, sender = self.start(seq)
            self.answer(data.upper(), sender)
            assert self.successResultOf(probing).isAnswered
        assert self.ports() <= REMEMBERED + 1

    def test_noWay(self) -> None:
        """A port is closed that can't be connected."""
        self.probes = self.makeProbes(DatagramTarget("fe80::1%nosuch", 1))
        result = self.successResultOf(Deferred.fromCoroutine(self.probes.probe(1)))
        assert result.error
        assert result.error.code is ExitCode.UNREACHABLE
        self.reactor.turn()
        assert self.ports() == 0

    def test_cancelled(self) -> None:
        """A probe that is cancelled is interrupted, in the step that it was in; then all ports can be closed."""
        probing, *_ = self.start(1)
        self.reactor.advance(1)
        probing.cancel()
        result = self.successResultOf(probing)
        assert result.error
        assert (result.error.code, str(result.error)) == (ExitCode.INTERRUPTED, "not over after 1.000 s")
        assert (result.verdict, result.step, result.remote) == (
            None,
            Step.FIRST_BYTE,
            f"127.0.0.1:{self.target.port}",
        )
        self.close()
        self.reactor.turn()
        assert self.ports() == 0


class KeepTests(DatagramTestCase):
    """All probes come from one port."""

    keep = True

    def test_same(self) -> None:
        """The answers are told apart by what they are, in whatever order they come."""
        begun = [self.start(seq) for seq in range(1, 5)]
        assert len({sender for _, _, sender in begun}) == 1
        for index in (1, 0, 0, 3, 2):
            _, data, sender = begun[index]
            self.answer(data.upper(), sender)
        assert [self.successResultOf(probing).verdict for probing, _, _ in begun] == [Verdict.UPPERCASED] * 4
        assert self.counts() == (0, 1, 2)

    def test_likeness(self) -> None:
        """A wrong answer is one to the probe that it is most like."""
        begun = [self.start(seq) for seq in range(1, 4)]
        _, data, sender = begun[1]
        self.answer(data.upper()[:10] + b"?", sender)
        assert [probing.called for probing, _, _ in begun] == [False, True, False]
        result = self.successResultOf(begun[1][0])
        assert (result.verdict, result.reply.wrongAt) == (Verdict.CORRUPTED, 10)

    def test_refused(self) -> None:
        """When the machine refuses, it's all that is under way that won't be answered; the next has a new port."""
        begun = [self.start(seq) for seq in (1, 2)]
        self.leave()
        begun[0][0].addCallback(lambda result: result)
        last = Deferred.fromCoroutine(self.probes.probe(3))
        self.reactor.until(lambda: bool(last.called))
        for probing in (*(each for each, _, _ in begun), last):
            message = f"cannot send to {self.called}: Connection refused"
            self.assertFailed(probing, None, ExitCode.UNREACHABLE, message)
        refused = self.probes._kept
        self.successResultOf(Deferred.fromCoroutine(self.again()))
        assert self.probes._kept is not refused

    async def again(self) -> Result:
        """Make one more probe, which is refused, too."""
        probing = Deferred.fromCoroutine(self.probes.probe(4))
        self.reactor.until(lambda: bool(probing.called))
        return await probing

    def test_similar(self) -> None:
        """A wrong answer that is like none is one to what waits, not to what is over."""
        probing, data, sender = self.start(1)
        self.answer(data.upper(), sender)
        assert self.successResultOf(probing).isAnswered
        probing, _, sender = self.start(2)
        self.answer(b"!error", sender)
        assert self.successResultOf(probing).verdict is Verdict.CORRUPTED
        assert self.counts() == (0, 0, 0)

    def test_twins(self) -> None:
        """Probes of few bytes may be the same; the answer is that to the last one."""
        self.probes = self.makeProbes(self.target, 1)
        for seq in range(60):
            probing, data, sender = self.start(seq)
            self.answer(data.upper(), sender)
            assert self.successResultOf(probing).isAnswered
        self.close()

    def test_failedSend(self) -> None:
        """A probe that couldn't be sent is expected no answer to, whatever happens to the port then."""
        _, data, sender = self.start(1)
        self.answer(data.upper(), sender)
        port = self.probes._kept
        assert port
        self.patch(port.port, "write", self.failToSend)
        result = self.successResultOf(Deferred.fromCoroutine(self.probes.probe(2)))
        assert str(result.error) == f"cannot send to {self.called}: Network is unreachable"
        port.refused("Connection refused")
        assert self.flushLoggedErrors() == []

    def failToSend(self, _: bytes) -> None:
        """Fail, as a network does that isn't there any more."""
        raise OSError(101, "Network is unreachable")

    def test_nothingExpected(self) -> None:
        """What comes when nothing is expected is passed over."""
        probing, data, sender = self.start(1)
        self.answer(data.upper(), sender)
        assert self.successResultOf(probing).isAnswered
        self.probes._forget(float("inf"), 0)
        self.answer(data.upper(), sender)
        assert self.counts() == (0, 0, 0)
        self.close()
        self.reactor.turn()
        assert self.ports() == 0
