"""Probes over UDP, answered by the test."""

import socket
from errno import EMFILE
from typing import Any, NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError

from echoup.client.connect.race import ATTEMPT_DELAY
from echoup.client.connect.trace import Step
from echoup.client.datagram import LOST
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.ping.datagram import REMEMBERED, DatagramProbes
from echoup.client.ping.result import Result
from echoup.client.ping.schedule import Schedule
from echoup.client.ping.statistics import Statistics
from echoup.client.target.datagram import DatagramTarget
from echoup.clock import RunningTime
from echoup.verdict import Verdict
from tests.support.doubles import ReactorTestCase
from tests.support.names import Names
from tests.support.sockets import leave

SIZE = 20
TIMEOUT = 5.0


class DatagramTestCase(ReactorTestCase):
    """A test with a server whose datagrams the test sends, and with probes of it."""

    keep = False

    def setUp(self) -> None:
        """Open both."""
        super().setUp()
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.server.close)
        self.server.bind(("127.0.0.1", 0))
        self.server.settimeout(60)
        Names({"there": ["127.0.0.1"], "two": ["127.0.0.2", "127.0.0.1"]}).install(self)
        self.target = DatagramTarget("there", self.server.getsockname()[1])
        self.statistics = Statistics()
        self.probes = self.makeProbes(self.target)

    def makeProbes(self, target: DatagramTarget, size: int = SIZE) -> DatagramProbes:
        """Return what makes probes of `target`."""
        schedule = Schedule(None, 1, TIMEOUT, size, self.keep)
        return DatagramProbes(self.reactor, RunningTime(self.reactor), target, schedule, self.statistics)

    def start(self, seq: int) -> "tuple[Deferred[Result], bytes, Any]":
        """Begin a probe; return its outcome, and the datagram that arrives, and from where."""
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
        """Return how many answers were late, came twice, and came in another order."""
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

    def test_answeredProbeHasAllFields(self) -> None:
        """An answered probe has its verdict, its addresses and its steps."""
        probing, data, sender = self.start(1)
        self.answer(data.upper(), sender)
        result = self.successResultOf(probing)
        assert (len(data), result.verdict, result.error) == (SIZE, Verdict.UPPERCASED, None)
        assert (result.local, result.remote) == (f"127.0.0.1:{sender[1]}", f"127.0.0.1:{self.target.port}")
        assert [phase.step for phase in result.trace.phases] == [Step.RESOLVE, Step.FIRST_BYTE]
        _, other, another = self.start(2)
        assert other != data
        assert another != sender

    def test_wrongAnswerHasVerdict(self) -> None:
        """A wrong answer is reported with its verdict."""
        corrupted = "corrupted: byte 5 of the reply is not the upper case of the one sent"
        for change, verdict, code, message in (
            (
                lambda data: data,
                Verdict.UNCHANGED,
                ExitCode.WRONG,
                "unchanged: the bytes came back as they were sent, ",
            ),
            (lambda data: data.upper()[:5] + b"?" + data.upper()[6:], Verdict.CORRUPTED, ExitCode.WRONG, corrupted),
            (lambda data: data.upper()[:7], Verdict.SHORT, ExitCode.SHORT, f"the reply has 7 of {SIZE} bytes"),
            (lambda _: b"", Verdict.SHORT, ExitCode.SHORT, f"the reply has 0 of {SIZE} bytes"),
        ):
            probing, data, sender = self.start(1)
            self.answer(change(data), sender)
            result = self.successResultOf(probing)
            assert result.error
            assert (result.verdict, result.error.code) == (verdict, code)
            assert str(result.error).startswith(f"{self.called}: {message}")
            self.close()

    def test_lateAnswerIsCounted(self) -> None:
        """A probe without an answer is given up; an answer that comes later is late, a second one a duplicate."""
        probing, data, sender = self.start(1)
        self.reactor.advance(TIMEOUT + 0.1)
        why = f"no reply within {TIMEOUT:g} s: {LOST}"
        self.assertFailed(probing, None, ExitCode.TIMED_OUT, f"{self.called}: {why}")
        self.answer(data.upper(), sender)
        assert self.counts() == (1, 0, 0)
        self.answer(data.upper(), sender)
        assert self.counts() == (1, 1, 0)

    def test_refusalIsUnreachable(self) -> None:
        """Where no process listens, the machine's refusal is reported."""
        self.leave()
        probing = Deferred.fromCoroutine(self.probes.probe(1))
        self.reactor.until(lambda: bool(probing.called))
        message = f"cannot send to {self.called}: Connection refused"
        self.assertFailed(probing, None, ExitCode.UNREACHABLE, message)
        self.close()
        assert self.ports() == 0

    def test_tooLargeIsReported(self) -> None:
        """A datagram that the system doesn't send is reported in its words."""
        self.probes = self.makeProbes(self.target, 70000)
        probing = Deferred.fromCoroutine(self.probes.probe(1))
        message = f"cannot send to {self.called}: Message too long (this machine cannot send that much at once)"
        self.assertFailed(probing, None, ExitCode.LOCAL, message)

    def linger(self) -> "Deferred[None]":
        """Begin to wait for answers that may still come."""
        return Deferred.fromCoroutine(self.probes.linger())

    def test_lingersTwiceSlowestAnswer(self) -> None:
        """After the last answer it waits twice the time of the slowest; answers that come until then are counted."""
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

    def test_lingersAtMostTimeout(self) -> None:
        """It waits no longer than a probe may take; without any answer, not at all."""
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

    def test_missingPortIsReported(self) -> None:
        """That no port can be opened is reported, as a failure to send and not of the name's resolution."""

        def fail(*_: object) -> NoReturn:
            raise CannotListenError("", 0, OSError(EMFILE, "Too many open files"))

        self.patch(self.reactor, "listenUDP", fail)
        result = self.successResultOf(Deferred.fromCoroutine(self.probes.probe(1)))
        why = "Too many open files (this process has no file descriptors left, see ulimit -n)"
        assert str(result.error) == f"cannot send to {self.called}: {why}"
        assert (result.isUnsent, result.step) == (True, Step.FIRST_BYTE)
        assert (result.local, result.remote) == (None, None)

    def test_unknownNameFailsToResolve(self) -> None:
        """A name without an address fails in that step."""
        self.probes = self.makeProbes(DatagramTarget("nowhere", 1))
        result = self.successResultOf(Deferred.fromCoroutine(self.probes.probe(1)))
        assert result.error
        assert (result.error.code, result.step) == (ExitCode.UNRESOLVED, Step.RESOLVE)

    def test_portIsClosedAfterTimeout(self) -> None:
        """A port is closed when its probe has been over for the time that a probe may take, not before."""
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

    def test_openPortsAreBounded(self) -> None:
        """No more ports stay open than probes are remembered."""
        for seq in range(REMEMBERED + 20):
            probing, data, sender = self.start(seq)
            self.answer(data.upper(), sender)
            assert self.successResultOf(probing).isAnswered
        assert self.ports() <= REMEMBERED + 1

    def test_unconnectedPortIsClosed(self) -> None:
        """A port that can't be connected is closed."""
        self.probes = self.makeProbes(DatagramTarget("fe80::1%nosuch", 1))
        result = self.successResultOf(Deferred.fromCoroutine(self.probes.probe(1)))
        assert result.error
        assert str(result.error).endswith(": this machine has no such interface")
        assert (result.isUnsent, result.step) == (True, Step.FIRST_BYTE)
        self.reactor.turn()
        assert self.ports() == 0

    def test_cancelledProbeIsInterrupted(self) -> None:
        """A probe that is cancelled is interrupted in its step; then all ports can be closed."""
        probing, *_ = self.start(1)
        self.reactor.advance(1)
        probing.cancel()
        result = self.successResultOf(probing)
        assert result.error
        assert (result.error.code, str(result.error)) == (ExitCode.INTERRUPTED, "still waiting after 1.000 s")
        assert (result.verdict, result.step, result.remote) == (
            None,
            Step.FIRST_BYTE,
            f"127.0.0.1:{self.target.port}",
        )
        self.close()
        self.reactor.turn()
        assert self.ports() == 0


class AddressesTests(DatagramTestCase):
    """A name has several addresses, and the server answers at the last one."""

    def setUp(self) -> None:
        """Let the first address refuse."""
        super().setUp()
        self.target = DatagramTarget("two", self.target.port)
        self.probes = self.makeProbes(self.target)
        self.server.setblocking(False)

    def serveFirst(self) -> socket.socket:
        """Return a server at the first address."""
        first = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(first.close)
        first.setblocking(False)
        first.bind(("127.0.0.2", self.target.port))
        return first

    def came(self, server: socket.socket) -> tuple[bytes, Any] | None:
        """Return a datagram that has come to `server`, and from where; None if none has."""
        try:
            return server.recvfrom(65536)
        except BlockingIOError:
            return None

    def begin(self, seq: int) -> "Deferred[Result]":
        """Begin a probe."""
        return Deferred.fromCoroutine(self.probes.probe(seq))

    def assertAnswered(self, probing: "Deferred[Result]") -> None:
        """Answer a probe when it comes to the last address, and check its result."""
        data = b""
        sender: Any = None

        def isThere() -> bool:
            nonlocal data, sender
            data, sender = self.came(self.server) or (b"", None)
            return bool(data)

        self.reactor.until(isThere)
        self.answer(data.upper(), sender)
        result = self.successResultOf(probing)
        assert (result.error, result.remote) == (None, f"127.0.0.1:{self.target.port}")
        assert result.local == f"127.0.0.1:{sender[1]}"

    def test_refusedProbeReachesNextAddress(self) -> None:
        """A probe that one address refuses is sent to the next at once; where one has answered, the next begins."""
        self.assertAnswered(self.begin(1))
        first = self.serveFirst()
        probing = self.begin(2)
        self.reactor.advance(2 * ATTEMPT_DELAY)
        self.assertAnswered(probing)
        assert self.came(first) is None
        assert self.counts() == (0, 0, 0)

    def test_lossAtKnownAddressIsLoss(self) -> None:
        """Where one address has answered, a lost probe is no reason to send it to another; the next goes to all."""
        self.assertAnswered(self.begin(1))
        first = self.serveFirst()
        probing = self.begin(2)
        self.reactor.advance(TIMEOUT + 0.1)
        why = f"no reply within {TIMEOUT:g} s: {LOST}"
        message = f"{self.target} (127.0.0.1:{self.target.port}): {why}"
        self.assertFailed(probing, None, ExitCode.TIMED_OUT, message)
        assert self.came(self.server)
        assert self.came(first) is None
        probing = self.begin(3)
        self.reactor.advance(2 * ATTEMPT_DELAY)
        assert self.came(first)
        self.assertAnswered(probing)

    def test_refusalOfAllIsReported(self) -> None:
        """When all addresses refuse, the message has them all."""
        self.server.close()
        probing = self.begin(1)
        self.reactor.until(lambda: bool(probing.called))
        addresses = f"127.0.0.2:{self.target.port}, 127.0.0.1:{self.target.port}"
        message = f"cannot send to {self.target} ({addresses}): Connection refused"
        self.assertFailed(probing, None, ExitCode.UNREACHABLE, message)


class KeepTests(DatagramTestCase):
    """All probes come from one port."""

    keep = True

    def test_answersAreMatchedByContent(self) -> None:
        """The answers are matched to the probes by their bytes, in any order."""
        begun = [self.start(seq) for seq in range(1, 5)]
        assert len({sender for _, _, sender in begun}) == 1
        for index in (1, 0, 0, 3, 2):
            _, data, sender = begun[index]
            self.answer(data.upper(), sender)
        assert [self.successResultOf(probing).verdict for probing, _, _ in begun] == [Verdict.UPPERCASED] * 4
        assert self.counts() == (0, 1, 2)

    def test_wrongAnswerGoesToMostSimilar(self) -> None:
        """A wrong answer is taken for one to the most similar probe."""
        begun = [self.start(seq) for seq in range(1, 4)]
        _, data, sender = begun[1]
        self.answer(data.upper()[:10] + b"?", sender)
        assert [probing.called for probing, _, _ in begun] == [False, True, False]
        result = self.successResultOf(begun[1][0])
        assert (result.verdict, result.reply.wrongAt) == (Verdict.CORRUPTED, 10)

    def test_refusalFailsAllProbes(self) -> None:
        """A refusal fails all probes that are under way; the next has a new port."""
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
        """Make one more probe, which is refused too."""
        probing = Deferred.fromCoroutine(self.probes.probe(4))
        self.reactor.until(lambda: bool(probing.called))
        return await probing

    def test_dissimilarAnswerGoesToWaiting(self) -> None:
        """A wrong answer that is like none is taken for one to a probe that waits, not to one that is over."""
        probing, data, sender = self.start(1)
        self.answer(data.upper(), sender)
        assert self.successResultOf(probing).isAnswered
        probing, _, sender = self.start(2)
        self.answer(b"!error", sender)
        assert self.successResultOf(probing).verdict is Verdict.CORRUPTED
        assert self.counts() == (0, 0, 0)

    def test_veryLateAnswerIsNoWrongOne(self) -> None:
        """An answer that comes long after its probe was given up, as after a pause of the server, isn't another's."""
        lost, data, sender = self.start(1)
        self.reactor.advance(TIMEOUT + 1)
        assert not self.successResultOf(lost).isAnswered
        self.reactor.advance(10 * TIMEOUT)
        probing, other, _ = self.start(2)
        self.answer(data.upper(), sender)
        self.answer(other.upper(), sender)
        assert self.successResultOf(probing).isAnswered
        assert self.counts() == (1, 0, 0)

    def test_twinsAnswerIsTheLasts(self) -> None:
        """Probes of few bytes may be the same; an answer is taken for one to the last."""
        self.probes = self.makeProbes(self.target, 1)
        for seq in range(60):
            probing, data, sender = self.start(seq)
            self.answer(data.upper(), sender)
            assert self.successResultOf(probing).isAnswered
        self.close()

    def test_unsentProbeIsForgotten(self) -> None:
        """No answer is expected to a probe that couldn't be sent, and a later refusal doesn't fail it again."""
        _, data, sender = self.start(1)
        self.answer(data.upper(), sender)
        port = self.probes._kept
        assert port
        assert port.attempt
        self.patch(port.attempt.port, "write", self.failToSend)
        result = self.successResultOf(Deferred.fromCoroutine(self.probes.probe(2)))
        assert str(result.error) == f"cannot send to {self.called}: Network is unreachable"
        port.refused(PathError(ExitCode.UNREACHABLE, "Connection refused"))
        assert self.flushLoggedErrors() == []

    def failToSend(self, _: bytes) -> None:
        """Fail, as a write does when the network is gone."""
        raise OSError(101, "Network is unreachable")

    def test_unexpectedAnswerIsIgnored(self) -> None:
        """An answer that comes when none is expected is ignored."""
        probing, data, sender = self.start(1)
        self.answer(data.upper(), sender)
        assert self.successResultOf(probing).isAnswered
        self.probes._forget(float("inf"), 0)
        self.answer(data.upper(), sender)
        assert self.counts() == (0, 0, 0)
        self.close()
        self.reactor.turn()
        assert self.ports() == 0
