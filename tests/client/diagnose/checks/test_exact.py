"""The check `exact`, with servers in the same reactor."""

from collections.abc import Callable

from echoup.client.diagnose.checks import exact
from echoup.client.diagnose.exactness.samples import LARGE
from echoup.client.diagnose.finding import Status
from echoup.client.exitcodes import ExitCode
from tests.support.checkcases import CheckTestCase
from tests.support.serverprotocols import Collector, Deserter, Greeter, Mirror, Resetter, Server, Silence


def converting(convert: Callable[[bytes], bytes]) -> Callable[[], Server]:
    """Return what makes servers that convert what they send."""

    class Converter(Server):
        def dataReceived(self, data: bytes) -> None:
            self.transport.write(convert(data.upper()))

    return Converter


class Gate(Server):
    """A server that stops to answer, or closes, at a payload in which a word occurs."""

    word = b"HTTP/1."
    closes = False
    isOpen = True

    def dataReceived(self, data: bytes) -> None:
        """Answer until the word comes."""
        self.isOpen = self.isOpen and self.word not in data
        if self.isOpen:
            super().dataReceived(data)
        elif self.closes:
            self.transport.loseConnection()


class Limited(Server):
    """A server that answers a limited number of bytes on each connection."""

    limit = 50_000
    closes = False

    def dataReceived(self, data: bytes) -> None:
        """Answer the part within the limit."""
        left = max(self.limit - self.taken, 0)
        self.taken += len(data)
        self.transport.write(data.upper()[:left])
        if self.closes and self.taken >= self.limit:
            self.transport.loseConnection()


class Lines(Server):
    """A server that answers full lines."""

    def connectionMade(self) -> None:
        """Begin with no line."""
        self.line = b""

    def dataReceived(self, data: bytes) -> None:
        """Answer the lines that are full."""
        *lines, self.line = (self.line + data).split(b"\n")
        for line in lines:
            self.transport.write(line.upper() + b"\n")


class Headed(Server):
    """A server that expects a PROXY header of version 1."""

    header: bytes | None = b""

    def dataReceived(self, data: bytes) -> None:
        """Take the header, and answer what follows."""
        if self.header is not None:
            self.header += data
            header, end, data = self.header.partition(b"\r\n")
            if not end:
                return
            assert header.startswith(b"PROXY TCP4 127.0.0.1 ")
            self.header = None
        super().dataReceived(data)


class Decoder(Server):
    """A server that decodes what one read returns."""

    def dataReceived(self, data: bytes) -> None:
        """Answer, unless it isn't the beginning of something."""
        isWhole = len(data) > 4 or not data.strip(bytes(range(128)))
        self.transport.write(data.upper() if isWhole else b"?" * len(data))


class ExactTests(CheckTestCase):
    """What is changed, cut, or hangs, is found and named."""

    check = staticmethod(exact.check)
    timeout = 2.0

    def test_exactServerIsOK(self) -> None:
        """A server that answers right, in 25 connections at most, has no problem."""
        finding = self.find(self.listen(Server))
        assert (finding.problems, finding.status) == ((), Status.OK)
        assert "exact: all byte values" in finding.summary
        assert len(self.servers) <= 25
        assert {payload["outcome"] for payload in finding.figures["payloads"]} == {"right"}
        assert finding.figures["answers"] == "at once"
        assert len(self.told) >= 3

    def test_alterationsAreNamed(self) -> None:
        """What changes bytes is named, with the offset and both versions, and has the exit code of a wrong reply."""
        for convert, cause in (
            (lambda data: data.replace(b"\r\n", b"\n"), "line-ends-changed"),
            (lambda data: bytes(byte & 127 for byte in data), "8th-bit-stripped"),
            (lambda data: data.replace(b"\0", b""), "control-bytes-changed"),
            (lambda data: data.replace(b"\xff", b"\xff\xff"), "telnet-commands-changed"),
            (lambda data: data.decode(errors="replace").encode(), "text-reencoded"),
            (lambda data: data.replace(b"\x16", b"!"), "bytes-changed"),
        ):
            (problem,) = self.find(self.listen(converting(convert))).problems
            assert (problem.cause, problem.status, problem.code) == (cause, Status.FAIL, ExitCode.WRONG)
            assert "from byte " in problem.seen[0]
            assert 'received "' in problem.seen[0]
            assert problem.meaning
            assert problem.advice

    def test_firstReplyMayTellAll(self) -> None:
        """Where the simplest payload fails, nothing else is tried."""
        for build, cause, code in (
            (Mirror, "unchanged", ExitCode.WRONG),
            (Greeter, "bytes-added", ExitCode.WRONG),
            (converting(bytes.lower), "case-changed", ExitCode.WRONG),
            (Deserter, "reply-cut", ExitCode.SHORT),
            (Resetter, "closed-without-reply", ExitCode.SHORT),
            (Silence, "no-reply", ExitCode.TIMED_OUT),
        ):
            finding = self.find(self.listen(build))
            (problem,) = finding.problems
            assert (problem.cause, problem.code) == (cause, code)
            assert finding.summary == problem.text
            assert len(finding.figures["payloads"]) == 1

    def test_connectionsMayBeLimited(self) -> None:
        """Payloads that pass by themselves are no fault; where each second connection fails, that isn't the payload."""
        served: list[Server] = []

        class One(Server):
            def connectionMade(self) -> None:
                served[:] = [each for each in served if not each.gone]
                if served:
                    self.transport.abortConnection()
                else:
                    served.append(self)

        finding = self.find(self.listen(One))
        assert finding.problems == ()
        assert "only by themselves" in finding.summary
        assert finding.figures["largest"] == LARGE[-1]

    def test_refusedConnectionsAreNotThePayload(self) -> None:
        """Where connections end whatever is sent on them, that is a warning of its own."""
        made: list[Server] = []

        def build() -> Server:
            made.append(Resetter() if made else Server())
            return made[-1]

        finding = self.find(self.listen(build))
        assert [(each.status, each.cause) for each in finding.problems] == [(Status.WARN, "connections-refused")]

    def test_closedConnectionsSuggestOptions(self) -> None:
        """Where nothing ever came back, the advice names the options that the server may expect."""
        (problem,) = self.find(self.listen(Resetter)).problems
        assert problem.advice.endswith("; the server may expect --tls or --proxy-protocol.")

    def test_protocolIsFiltered(self) -> None:
        """What is done to a protocol, and not to random text of its shape, is told from what is done to all."""

        class SIPCloser(Gate):
            word = b"SIP/2.0"
            closes = True

        def rewrite(data: bytes) -> bytes:
            return data.replace(b"PORT 127,0,0,1", b"PORT 10,0,0,12")

        for build, cause, text, code in (
            (Gate, "filter-http", "what looks like HTTP doesn't come back", ExitCode.TIMED_OUT),
            (SIPCloser, "filter-sip", "what looks like SIP is cut", ExitCode.SHORT),
            (converting(rewrite), "filter-ftp", "what looks like FTP is changed", ExitCode.WRONG),
        ):
            (problem,) = self.find(self.listen(build)).problems
            assert (problem.cause, problem.text, problem.code) == (cause, text, code)
            assert problem.seen[-1] == "random text of the same shape and size passes"

    def test_limitIsFound(self) -> None:
        """A limit is found with the sizes on both sides of it, closed or silent."""

        class Closing(Limited):
            closes = True

        for build, cause, code in (
            (Limited, "hangs-above-size", ExitCode.TIMED_OUT),
            (Closing, "cut-above-size", ExitCode.SHORT),
        ):
            (problem,) = self.find(self.listen(build)).problems
            assert (problem.cause, problem.code) == (cause, code)
            assert problem.text.endswith("16385 bytes pass, 65537 don't")
            assert "50000 of 65537 bytes came back" in problem.seen[0]

    def test_cutAtAByteIsShown(self) -> None:
        """Where a byte ends the connection or stops the reply, the bytes that didn't come back are shown."""

        class EndOfFile(Gate):
            word = b"\x1a"
            closes = True

            def dataReceived(self, data: bytes) -> None:
                before, found, _ = data.partition(self.word)
                self.transport.write(before.upper())
                if found:
                    self.transport.loseConnection()

        (problem,) = self.find(self.listen(EndOfFile)).problems
        assert problem.cause == "reply-cut"
        assert r'before "\x1a' in problem.seen[0]

    def test_piecesAreTold(self) -> None:
        """A server that is wrong only where characters come in pieces is told from one that is always wrong."""
        assert self.causesOf(self.listen(Decoder)) == ["pieces-changed"]

    def test_lineServerIsNamed(self) -> None:
        """A server that answers full lines is named, and everything else is tested with lines."""
        finding = self.find(self.listen(Lines))
        assert [(each.cause, each.status) for each in finding.problems] == [("answers-by-line", Status.NOTE)]
        assert finding.figures["answers"] == "only full lines"

    def test_serverThatAnswersAtTheEndIsNamed(self) -> None:
        """A server that answers after our end is named, and everything else is tested with a half-close."""
        finding = self.find(self.listen(Collector))
        assert [(each.cause, each.status) for each in finding.problems] == [("answers-at-end", Status.NOTE)]
        assert {payload["outcome"] for payload in finding.figures["payloads"]} == {"right"}

    def test_headerGoesFirst(self) -> None:
        """On a path with a PROXY header each connection has it, and the rest is exact."""
        assert self.find(self.listen(Headed, proxyProtocol=1)).problems == ()

    def test_singleFailureIsNoProblem(self) -> None:
        """What fails once, and not again, isn't reported."""
        faults = {1: Resetter, 3: Silence, 6: Mirror}

        def build() -> Server:
            return faults.get(len(self.servers), Server)()

        finding = self.find(self.listen(build))
        assert finding.problems == ()
        assert {payload["outcome"] for payload in finding.figures["payloads"]} == {"right", "cut", "hung", "unchanged"}

    def test_noConnectionBreaksItOff(self) -> None:
        """Where there is no connection, the error says so."""
        target = self.listen(Server)
        self.doCleanups()
        self.servers = []
        assert self.breakOff(target).code is ExitCode.UNREACHABLE

    def test_cancellingEndsIt(self) -> None:
        """Cancelling ends the check at once, in each of its steps, and leaves nothing."""
        for seconds in (0.0, 0.05, 0.3, self.timeout + 0.5, 2 * self.timeout):
            self.cancelAfter(self.listen(Gate), seconds)
