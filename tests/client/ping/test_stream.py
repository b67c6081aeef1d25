"""Probes over streams, with servers in the same reactor."""

import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from echoup.client.connect.trace import Step
from echoup.client.exitcodes import ExitCode
from echoup.client.ping.result import Result
from echoup.client.ping.schedule import Schedule
from echoup.client.ping.stream import LINGER, StreamProbes
from echoup.client.protocol import PROMPT, EchoUpClient
from echoup.client.target.security import Security
from echoup.client.target.stream import StreamTarget
from echoup.clock import RunningTime
from echoup.verdict import Verdict
from tests.support.certificates import serverContext, writeCertificates
from tests.support.doubles import ReactorTestCase
from tests.support.names import Names
from tests.support.serverprotocols import (
    Deserter,
    Goodbye,
    Greeter,
    Mirror,
    Resetter,
    Server,
    Silence,
    Stutterer,
    tlsServer,
)
from tests.support.sockets import unheard

SIZE = 20
TIMEOUT = 5.0


class Corrupter(Server):
    """A server that gets the byte at offset 3 wrong."""

    def dataReceived(self, data: bytes) -> None:
        """Answer, with one byte wrong."""
        self.transport.write(data.upper()[:3] + b"?" + data.upper()[4:])


class Leaver(Server):
    """A server that closes when something comes."""

    def dataReceived(self, data: bytes) -> None:
        """Close."""
        self.transport.loseConnection()


class Clinger(Server):
    """A server that never ends its side."""

    def readConnectionLost(self) -> None:
        """Do nothing."""


class Mute(Server):
    """A server that reads nothing."""

    transport: Any

    def connectionMade(self) -> None:
        """Read nothing."""
        self.transport.pauseProducing()


class StreamTestCase(ReactorTestCase):
    """A test with a server, and with probes of it."""

    def listen(self, build: Callable[[], Protocol], **changes: Any) -> StreamTarget:
        """Let `build` make the protocol of each connection, which is then in `servers`; return the target."""
        self.servers: list[Any] = []

        def make() -> Protocol:
            self.servers.append(build())
            return self.servers[-1]  # type: ignore[no-any-return]  # it's what was built

        port = self.reactor.listenTCP(0, Factory.forProtocol(make), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return StreamTarget("", "127.0.0.1", port.getHost().port, **changes)

    def makeProbes(
        self, target: StreamTarget, size: int = SIZE, keep: bool = False, halfClose: bool = False
    ) -> StreamProbes:
        """Return what makes probes of `target`."""
        schedule = Schedule(None, 1, TIMEOUT, size, keep, halfClose)
        return StreamProbes(self.reactor, RunningTime(self.reactor), target, schedule)

    def probe(self, probes: StreamProbes, seq: int = 1, wait: float = 0.05) -> Result:
        """Return the result of a probe, after `wait` seconds."""
        probing = Deferred.fromCoroutine(probes.probe(seq))
        self.reactor.advance(wait)
        self.reactor.until(lambda: bool(probing.called))
        return self.successResultOf(probing)

    def assertProbe(
        self, result: Result, verdict: Verdict | None, step: Step | None, code: ExitCode, message: str
    ) -> None:
        """Check the result of a probe."""
        error = result.error
        assert (result.verdict, result.step, error and error.code) == (verdict, step, code)
        assert message in str(error)
        assert str(error).isprintable()

    def assertAllGone(self) -> None:
        """Check that no connection is left, nor a timer."""
        self.reactor.until(lambda: all(server.gone for server in self.servers))
        self.reactor.turn()
        assert self.reactor.getDelayedCalls() == []


class FreshTests(StreamTestCase):
    """Each probe has a connection of its own."""

    def test_answeredProbeHasAllFields(self) -> None:
        """An answered probe has its bytes, its time, its addresses and its steps."""
        target = self.listen(Server)
        probes = self.makeProbes(target)
        result = self.probe(probes, 7)
        assert (result.seq, result.verdict, result.error, result.step) == (7, Verdict.UPPERCASED, None, None)
        assert (result.reply.sent, result.reply.received) == (SIZE, SIZE)
        assert result.seconds is not None
        assert 0 <= result.seconds == result.ended - result.began <= 0.1
        assert result.remote == str(target)
        assert result.local
        assert result.local.startswith("127.0.0.1:")
        assert [phase.step for phase in result.trace.phases] == [Step.CONNECT, Step.FIRST_BYTE, Step.ALL_BYTES]
        assert [phase.tcp.state for phase in result.trace.phases if phase.tcp] == ["ESTABLISHED"] * 3
        self.assertAllGone()
        assert self.probe(probes, 8).local != result.local
        assert len(self.servers) == 2

    def test_probesRunSideBySide(self) -> None:
        """Several probes may be under way at once."""
        probes = self.makeProbes(self.listen(Server))
        probing = [Deferred.fromCoroutine(probes.probe(seq)) for seq in range(5)]
        self.reactor.advance(0.05)
        self.reactor.until(lambda: all(each.called for each in probing))
        assert [self.successResultOf(each).isAnswered for each in probing] == [True] * 5

    def test_wrongReplyHasVerdict(self) -> None:
        """A wrong reply is reported with its verdict, and the place where it begins to be wrong."""
        for build, verdict, message in (
            (Mirror, Verdict.UNCHANGED, "unchanged"),
            (Corrupter, Verdict.CORRUPTED, "corrupted: byte 3 "),
            (Stutterer, Verdict.CORRUPTED, f"more came back than was sent: {SIZE + 1} bytes for {SIZE}"),
            (
                Greeter,
                Verdict.CORRUPTED,
                'byte 0 of the reply is not the upper case of the one sent; it begins with "220',
            ),
        ):
            result = self.probe(self.makeProbes(self.listen(build)))
            self.assertProbe(result, verdict, Step.ALL_BYTES, ExitCode.WRONG, message)
            self.assertAllGone()

    def test_earlyEndIsShort(self) -> None:
        """A reply that ends early is short, and reported with its length."""
        for build, step, message in (
            (Deserter, Step.ALL_BYTES, f"the server closed the connection, 3 of {SIZE} bytes came back"),
            (Resetter, Step.FIRST_BYTE, f"the server reset the connection, 0 of {SIZE} bytes came back"),
        ):
            result = self.probe(self.makeProbes(self.listen(build)))
            self.assertProbe(result, Verdict.SHORT, step, ExitCode.SHORT, message)
            self.assertAllGone()

    def test_closeAfterReplyIsRight(self) -> None:
        """A server that closes after its reply has answered."""
        assert self.probe(self.makeProbes(self.listen(Goodbye))).isAnswered

    def test_silenceTimesOut(self) -> None:
        """A silent server is given up in time, and the step that failed has no end."""
        target = self.listen(Silence)
        result = self.probe(self.makeProbes(target), wait=TIMEOUT + 0.1)
        message = f"{target}: timed out: nothing came back in {TIMEOUT:g} s"
        self.assertProbe(result, None, Step.FIRST_BYTE, ExitCode.TIMED_OUT, message)
        phase = result.trace.phases[-1]
        assert phase.seconds is None
        assert phase.tcp
        assert phase.tcp.state == "ESTABLISHED"
        assert result.seconds is not None
        assert TIMEOUT <= result.seconds < TIMEOUT + 0.1
        self.assertAllGone()

    def test_silenceWithoutTurnsTimesOut(self) -> None:
        """The words are the same where the process got no turn just after it had sent the request."""
        write = EchoUpClient.write

        def writeAndSleep(client: EchoUpClient, data: bytes) -> None:
            write(client, data)
            self.reactor.clock.advance(0.5)

        self.patch(EchoUpClient, "write", writeAndSleep)
        target = self.listen(Silence)
        result = self.probe(self.makeProbes(target), wait=TIMEOUT + 0.6)
        message = f"{target}: timed out: nothing came back in {TIMEOUT:g} s"
        self.assertProbe(result, None, Step.FIRST_BYTE, ExitCode.TIMED_OUT, message)
        self.assertAllGone()

    def test_wrongPartIsWrong(self) -> None:
        """A part of a reply that is wrong counts more than that the rest didn't come in time."""

        class Stammerer(Silence):
            """A server that sends a wrong byte, and nothing after it."""

            def dataReceived(self, data: bytes) -> None:
                """Send it."""
                self.transport.write(b"?")

        result = self.probe(self.makeProbes(self.listen(Stammerer)), wait=TIMEOUT + 0.1)
        message = "corrupted: byte 0 of the reply is not the upper case of the one sent"
        self.assertProbe(result, Verdict.CORRUPTED, Step.ALL_BYTES, ExitCode.WRONG, message)

    def test_probeHasOneLimit(self) -> None:
        """While a reply is due there is one timer, the probe's own."""
        probes = self.makeProbes(self.listen(Silence))
        probing = Deferred.fromCoroutine(probes.probe(1))
        self.reactor.advance(0.1)
        self.reactor.until(lambda: bool(self.servers and self.servers[0].taken))
        assert len(probes._clock.getDelayedCalls()) == 1
        probing.cancel()

    def test_unsentIsDroppedAfterLinger(self) -> None:
        """A connection whose server reads nothing is dropped after LINGER, with what wasn't sent."""
        result = self.probe(self.makeProbes(self.listen(Mute), size=2**24), wait=TIMEOUT + 0.1)
        self.assertProbe(result, None, Step.FIRST_BYTE, ExitCode.TIMED_OUT, "nothing came back")
        self.reactor.advance(LINGER + 0.1)
        assert self.reactor.getDelayedCalls() == []
        self.servers[0].transport.resumeProducing()
        self.assertAllGone()

    def test_largePayloadComesBack(self) -> None:
        """A payload may be larger than the buffers on the path."""
        result = self.probe(self.makeProbes(self.listen(Server), size=2**24))
        assert (result.isAnswered, result.reply.received) == (True, 2**24)

    def test_refusedConnectHasNoAddresses(self) -> None:
        """A refused connection is reported with its step, and without addresses."""
        with unheard() as port:
            result = self.probe(self.makeProbes(StreamTarget("", "127.0.0.1", port)))
        message = f"cannot connect to 127.0.0.1:{port}: Connection refused"
        self.assertProbe(result, None, Step.CONNECT, ExitCode.UNREACHABLE, message)
        assert (result.local, result.remote, result.reply.sent) == (None, None, 0)

    def test_cancelledProbeIsInterrupted(self) -> None:
        """A cancelled probe is interrupted in its step, with the kernel's state."""
        target = self.listen(Silence)
        for wait, security, step, state, remote in (
            (0.0, None, Step.CONNECT, None, None),
            (1.0, None, Step.FIRST_BYTE, "ESTABLISHED", str(target)),
            (1.0, Security(insecure=True), Step.TLS, "ESTABLISHED", str(target)),
        ):
            probes = self.makeProbes(replace(target, security=security))
            probing = Deferred.fromCoroutine(probes.probe(1))
            self.reactor.advance(wait)
            probing.cancel()
            result = self.successResultOf(probing)
            self.assertProbe(result, None, step, ExitCode.INTERRUPTED, f"still waiting after {wait:.3f} s")
            phase = result.trace.phases[-1]
            assert (phase.seconds, result.remote) == (None, remote)
            if state:
                assert phase.tcp
                assert phase.tcp.state == state
        self.assertAllGone()

    def test_addressFollowsName(self) -> None:
        """Of a server with a name, a failure is reported with the address that was reached."""
        Names({"there": ["127.0.0.1"]}).install(self)
        for build, wait, message in (
            (Silence, TIMEOUT + 0.1, "timed out: "),
            (Deserter, 0.05, "the server closed the connection, "),
            (Mirror, 0.05, "unchanged: "),
        ):
            target = replace(self.listen(build), host="there")
            result = self.probe(self.makeProbes(target), wait=wait)
            assert str(result.error).startswith(f"there:{target.port} (127.0.0.1:{target.port}): {message}")


class CloseTests(StreamTestCase):
    """`close` waits until all connections are closed properly."""

    def test_lastConnectionsAreAwaited(self) -> None:
        """The connections of the last probe, and of a cancelled one, are awaited."""
        probes = self.makeProbes(self.listen(Server))
        self.probe(probes)
        probing = Deferred.fromCoroutine(probes.probe(2))
        self.reactor.until(lambda: len(self.servers) == 2)
        probing.cancel()
        assert self.successResultOf(probing).error
        closing = Deferred.fromCoroutine(probes.close())
        self.reactor.until(lambda: bool(closing.called))
        self.assertAllGone()


class HalfCloseTests(StreamTestCase):
    """With `halfClose` both ends count, too."""

    def test_replyAndEndAreAwaited(self) -> None:
        """All of the reply and the server's end have to come after our end."""
        result = self.probe(self.makeProbes(self.listen(Server), halfClose=True))
        assert result.isAnswered
        phases = result.trace.phases
        assert [phase.step for phase in phases] == [Step.CONNECT, Step.FIRST_BYTE, Step.ALL_BYTES, Step.END]
        assert phases[-1].seconds is not None
        assert phases[-1].began == phases[1].began
        self.assertAllGone()

    def test_missingEndTimesOut(self) -> None:
        """A server that doesn't end its side is given up; the kernel shows that it waits for the end too."""
        target = self.listen(Clinger)
        result = self.probe(self.makeProbes(target, halfClose=True), wait=TIMEOUT + 0.1)
        within = f"the server did not close the connection within {TIMEOUT:g} s"
        message = f"{target}: timed out: all {SIZE} bytes came back, but {within}"
        self.assertProbe(result, None, Step.END, ExitCode.TIMED_OUT, message)
        assert result.trace.phases[-1].tcp
        assert result.trace.phases[-1].tcp.state == "FIN-WAIT-2"

    def test_resetIsNoEnd(self) -> None:
        """A reset after all of the reply is short."""
        target = self.listen(Clinger)
        probing = Deferred.fromCoroutine(self.makeProbes(target, halfClose=True).probe(1))
        self.reactor.advance(0.1)
        self.reactor.until(lambda: bool(self.servers))
        self.reactor.turn(100)
        self.servers[0].transport.abortConnection()
        self.reactor.until(lambda: bool(probing.called))
        message = f"the server reset the connection, {SIZE} of {SIZE} bytes came back"
        self.assertProbe(self.successResultOf(probing), None, Step.END, ExitCode.SHORT, message)

    def test_moreThanReplyIsWrong(self) -> None:
        """A byte that comes after all of the reply is wrong."""

        class Addict(Server):
            """A server that sends a byte at the end."""

            def readConnectionLost(self) -> None:
                """Send it."""
                self.transport.write(b"!")
                self.transport.loseConnection()

        result = self.probe(self.makeProbes(self.listen(Addict), halfClose=True))
        assert (result.verdict, result.reply.wrongAt) == (Verdict.CORRUPTED, SIZE)


class KeepTests(StreamTestCase):
    """With `keep` all probes use one connection."""

    def test_connectionIsKept(self) -> None:
        """All probes use one connection, and their time is that of the round trip."""
        probes = self.makeProbes(self.listen(Server), keep=True)
        first, second = self.probe(probes), self.probe(probes, 2)
        assert (first.isAnswered, second.isAnswered, second.local) == (True, True, first.local)
        assert len(self.servers) == 1
        assert [phase.step for phase in second.trace.phases] == [Step.FIRST_BYTE, Step.ALL_BYTES]
        closing = Deferred.fromCoroutine(probes.close())
        self.assertAllGone()
        self.successResultOf(closing)

    def test_closedConnectionIsReplaced(self) -> None:
        """When the server has closed it between two probes, the next opens a new one."""
        probes = self.makeProbes(self.listen(Goodbye), keep=True)
        assert self.probe(probes).isAnswered
        self.assertAllGone()
        assert self.probe(probes, 2).isAnswered
        assert len(self.servers) == 2

    def test_failedConnectionIsReplaced(self) -> None:
        """When a probe fails on it, the next opens a new one."""
        probes = self.makeProbes(self.listen(Mirror), keep=True)
        assert [self.probe(probes, seq).verdict for seq in (1, 2)] == [Verdict.UNCHANGED] * 2
        assert len(self.servers) == 2
        self.assertAllGone()

    def test_unaskedFailsNextProbe(self) -> None:
        """Bytes that come between two probes are a wrong reply to the second, which isn't sent."""
        probes = self.makeProbes(self.listen(Server), keep=True)
        first = self.probe(probes)
        self.servers[0].transport.write(b"EXTRA")
        self.reactor.advance(0.05)
        self.reactor.turn(50)
        result = self.probe(probes, 2)
        message = 'corrupted: more came back than was sent: 5 bytes for 0; it begins with "EXTRA"'
        assert (first.verdict, result.verdict) == (Verdict.UPPERCASED, Verdict.CORRUPTED)
        assert result.error
        assert (result.error.code, result.step, result.reply.sent) == (ExitCode.WRONG, Step.FIRST_BYTE, 0)
        assert message in str(result.error)
        self.assertAllGone()


class TLSTests(StreamTestCase):
    """Over TLS the probes are the same, with one step more."""

    def setUp(self) -> None:
        """Write the certificates."""
        super().setUp()
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        writeCertificates(self.folder)
        self.security = Security(str(self.folder / "ca.pem"))

    def listenTLS(self, name: str = "server") -> StreamTarget:
        """Let a server that has the named certificate listen."""
        build = partial(tlsServer, serverContext(self.folder, name), [])
        return replace(self.listen(build), security=self.security)

    def test_handshakeHasDetails(self) -> None:
        """The version, the cipher and the certificate are known; the ends are those of TLS."""
        result = self.probe(self.makeProbes(self.listenTLS(), halfClose=True))
        assert result.isAnswered
        handshake = next(phase for phase in result.trace.phases if phase.step is Step.TLS)
        assert handshake.details["version"] == "TLSv1.3"
        assert handshake.details["cipher"].startswith("TLS_")
        pem = ssl.PEM_cert_to_DER_cert((self.folder / "server.crt").read_text())
        assert result.trace.certificate == pem

    def test_untrustedCertificateIsKnown(self) -> None:
        """The certificate is also known when it isn't judged."""
        target = replace(self.listenTLS("expired"), security=Security(insecure=True))
        result = self.probe(self.makeProbes(target))
        assert result.isAnswered
        assert result.trace.certificate

    def test_badCertificateFailsInTLS(self) -> None:
        """A bad certificate is a failure of TLS, in that step."""
        result = self.probe(self.makeProbes(self.listenTLS("expired")))
        message = "certificate has expired"
        self.assertProbe(result, None, Step.TLS, ExitCode.TLS_FAILED, message)
        assert result.trace.phases[-1].error == message

    def test_failedHandshakeHasAddresses(self) -> None:
        """The addresses are also known when the handshake fails."""
        target = self.listenTLS("expired")
        result = self.probe(self.makeProbes(target))
        assert (result.remote, bool(result.local)) == (str(target), True)

    def test_plainServerFailsInTLS(self) -> None:
        """A server that doesn't speak TLS is a failure of TLS, in that step."""
        result = self.probe(self.makeProbes(replace(self.listen(Server), security=self.security)))
        self.assertProbe(result, None, Step.TLS, ExitCode.TLS_FAILED, "TLS handshake with 127.0.0.1:")

    def test_plainClientIsShort(self) -> None:
        """A server that speaks TLS closes the connection of a client that doesn't."""
        result = self.probe(self.makeProbes(replace(self.listenTLS(), security=None)))
        message = f"the server closed the connection, 0 of {SIZE} bytes came back; the server may expect --tls"
        self.assertProbe(result, Verdict.SHORT, Step.FIRST_BYTE, ExitCode.SHORT, message)

    def test_optionsAreSuggestedUntilAnAnswer(self) -> None:
        """A server that refuses our first bytes may expect other options; one that has answered does not."""
        hint = "; the server may expect --tls or --proxy-protocol"
        builds: Iterator[Callable[[], Protocol]] = iter((Resetter, Leaver, Server, Resetter))

        def build() -> Protocol:
            return next(builds)()

        probes = self.makeProbes(self.listen(build))
        for seq, error in ((1, hint), (2, hint), (3, "None"), (4, "0 of 20 bytes came back")):
            assert str(self.probe(probes, seq).error).endswith(error)

    def test_onlyMissingOptionsAreSuggested(self) -> None:
        """Options that are given aren't suggested, and none is for an ordinary timeout or a part of the reply."""
        for build, changes, hint in (
            (Leaver, {"proxyProtocol": 1}, "; the server may expect --tls"),
            (Leaver, {"security": self.security, "proxyProtocol": 2}, ""),
            (Leaver, {"security": self.security}, "; the server may expect --proxy-protocol"),
            (Silence, {}, ""),
            (Silence, {"security": self.security}, ""),
            (Deserter, {}, ""),
        ):
            result = self.probe(self.makeProbes(self.listen(build, **changes)), wait=TIMEOUT + 0.1)
            assert result.error
            assert "".join(str(result.error).partition("; the server may")[1:]) == hint

    def test_lateCloseSuggestsNothing(self) -> None:
        """A server that closes after a while, such as a proxy without a backend, has not refused our bytes."""
        probing = Deferred.fromCoroutine(self.makeProbes(self.listen(Silence)).probe(1))
        self.reactor.until(lambda: bool(self.servers and self.servers[0].taken))
        self.reactor.advance(PROMPT)
        self.servers[0].transport.loseConnection()
        self.reactor.until(lambda: bool(probing.called))
        assert str(self.successResultOf(probing).error).endswith(f"closed the connection, 0 of {SIZE} bytes came back")

    def test_silenceAfterFewBytesMayBeTLS(self) -> None:
        """A server of TLS waits for the rest of a record's header, so for few bytes silence suggests it."""
        for size, hint in ((4, "; the server may expect --tls"), (5, "nothing came back in 5 s")):
            result = self.probe(self.makeProbes(self.listen(Silence), size=size), wait=TIMEOUT + 0.1)
            assert str(result.error).endswith(hint)

    def test_unusableFileIsMistake(self) -> None:
        """A file that can't be used is the user's mistake."""
        result = self.probe(self.makeProbes(StreamTarget("", "127.0.0.1", 1, Security("/nonexistent"))))
        assert result.error
        assert result.error.code is ExitCode.USAGE
