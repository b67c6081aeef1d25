"""One exchange over a connection: its reply, the steps of it, and its end."""

from collections.abc import Callable
from functools import partial

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import Factory, Protocol

from echoup.client.connect.trace import Step, Trace
from echoup.client.exchange import Exchange, describeTimeout
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient
from echoup.verdict import Reply, Verdict
from tests.support.doubles import ReactorTestCase, raised
from tests.support.serverprotocols import Deserter, Goodbye, Greeter, Mirror, Server, Silence


class ExchangeTestCase(ReactorTestCase):
    """A test with a client that Twisted's own endpoint connects."""

    def connect(self, build: Callable[[], Protocol] = Server) -> None:
        """Connect a client to a server whose protocol `build` makes."""
        port = self.reactor.listenTCP(0, Factory.forProtocol(build), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.server = f"127.0.0.1:{port.getHost().port}"
        endpoint = clientFromString(self.reactor, f"tcp:{self.server}")
        connecting = connectProtocol(endpoint, EchoUpClient(self.reactor))
        self.wait(connecting)
        self.client: EchoUpClient = self.successResultOf(connecting)

    def wait(self, deferred: "Deferred[object] | Deferred[Reply] | Deferred[None]") -> None:
        """Wait until `deferred` has fired."""
        self.reactor.advance(0.1)
        self.reactor.until(lambda: bool(deferred.called))

    def exchange(self, data: bytes = b"hello") -> "Deferred[Reply]":
        """Return the outcome of an exchange."""
        exchanging = self.client.exchange(data)
        self.wait(exchanging)
        return exchanging

    def assertFails(self, exchanging: "Deferred[Reply]", code: ExitCode, message: str) -> None:
        """Check that an exchange fails with `message`, in which the server is its address."""
        error = self.failureResultOf(exchanging, PathError).value
        assert (error.code, str(error)) == (code, f"{self.server}: {message}")


class ExchangeTests(ExchangeTestCase):
    """`exchange` sends some bytes, and returns the reply to them."""

    def test_replyIsReturned(self) -> None:
        """One exchange after the other has a reply of its own, until the connection is closed; no timer is left."""
        self.connect()
        for data in (b"hello", b"again!"):
            reply = self.successResultOf(self.exchange(data))
            assert (reply.verdict, reply.sent, reply.received) == (Verdict.UPPERCASED, len(data), len(data))
        self.client.close()
        self.wait(self.client.closed)
        assert self.reactor.getDelayedCalls() == []

    def test_wrongReplyIsReturned(self) -> None:
        """A wrong reply is a result, too: the path works, and something answered."""
        self.connect(Mirror)
        assert self.successResultOf(self.exchange()).verdict is Verdict.UNCHANGED

    def test_nothingNeedsNoReply(self) -> None:
        """An exchange of no bytes is over at once."""
        self.connect()
        assert self.successResultOf(self.client.exchange(b"")).verdict is Verdict.UPPERCASED
        assert self.successResultOf(self.exchange()).verdict is Verdict.UPPERCASED

    def test_closedDuringReplyIsPathError(self) -> None:
        """A connection that ends before all of the reply came is a PathError, which names the server."""
        self.connect(Deserter)
        why = "the server closed the connection, 3 of 5 bytes came back"
        self.assertFails(self.exchange(), ExitCode.SHORT, why)

    def test_closedBeforeIsPathError(self) -> None:
        """A connection that ended before the exchange is a PathError too."""
        self.connect(Goodbye)
        assert self.successResultOf(self.exchange()).verdict is Verdict.UPPERCASED
        self.wait(self.client.closed)
        why = "the server closed the connection, 0 of 5 bytes came back"
        self.assertFails(self.client.exchange(b"hello"), ExitCode.SHORT, why)

    def test_silenceTimesOut(self) -> None:
        """A server that is silent for ten seconds is given up."""
        self.connect(Silence)
        exchanging = self.client.exchange(b"hello")
        self.reactor.advance(9.5, step=0.5)
        self.assertNoResult(exchanging)
        self.reactor.advance(1.5, step=0.5)
        self.wait(exchanging)
        why = "timed out: nothing came back in 10 s"
        self.assertFails(exchanging, ExitCode.TIMED_OUT, why)

    def test_timeoutTellsWhatCame(self) -> None:
        """The words of a timeout tell what came: nothing, a part, or all but the server's end."""
        for size, came, words in (
            (6, 0, "timed out: nothing came back in 3 s"),
            (6, 4, "timed out: 4 of 6 bytes came back, then nothing for 3 s"),
            (6, 6, "timed out: all 6 bytes came back, but the server did not close the connection within 3 s"),
            (1, 1, "timed out: the byte came back, but the server did not close the connection within 3 s"),
            (0, 0, "timed out: the server did not close the connection within 3 s"),
        ):
            reply = Reply()
            reply.send(bytes(size))
            reply.receive(bytes(came))
            assert describeTimeout(reply, 3.0, ", then nothing for") == words

    def test_secondExchangeAtOnceIsRefused(self) -> None:
        """An exchange can't begin before the one under way is over: that is the program's mistake."""
        self.connect(Silence)
        exchanging = self.client.exchange(b"hello")
        assert raised(RuntimeError, self.client.exchange, b"again")
        exchanging.cancel()
        self.failureResultOf(exchanging, CancelledError)
        assert raised(RuntimeError, Exchange, self.client) is None

    def test_cancelledExchangeDoesNotShortenTimeout(self) -> None:
        """The timeout begins anew with an exchange after one that was cancelled while its reply was due."""
        self.connect(Silence)
        exchanging = self.client.exchange(b"hello")
        self.reactor.advance(9.5, step=0.5)
        exchanging.cancel()
        self.failureResultOf(exchanging, CancelledError)
        exchanging = self.client.exchange(b"again")
        self.reactor.advance(9.5, step=0.5)
        self.assertNoResult(exchanging)
        self.reactor.advance(1.5, step=0.5)
        self.wait(exchanging)
        self.failureResultOf(exchanging, PathError)

    def test_cancelledExchangeLeavesNoTimer(self) -> None:
        """After an exchange was cancelled while its reply was due, the connection is looked after no more."""
        self.connect(Silence)
        self.client.exchange(b"hello").addErrback(lambda _: None).cancel()
        self.reactor.advance(1.5, step=0.5)
        assert self.reactor.getDelayedCalls() == []

    def test_endAfterCloseIsIgnored(self) -> None:
        """Our end is not waited for on a connection that is gone already."""
        self.connect(Goodbye)
        assert self.successResultOf(self.exchange()).verdict is Verdict.UPPERCASED
        self.wait(self.client.closed)
        exchange = Exchange(self.client, untilEnd=True)
        exchange.end()
        assert exchange.done.called
        assert self.reactor.getDelayedCalls() == []

    def test_unaskedIsKeptApart(self) -> None:
        """What comes before an exchange isn't a part of its reply; the client knows of it."""
        self.connect(Greeter)
        self.reactor.until(lambda: self.client.unasked.received == 7)
        exchange = Exchange(self.client)
        exchange.send(b"hello")
        self.wait(exchange.done)
        assert exchange.reply.verdict is Verdict.UPPERCASED
        assert (self.client.unasked.received, self.client.unasked.wrongAt) == (7, 0)


class StepTests(ExchangeTestCase):
    """An exchange tells a trace of its steps."""

    def steps(self, trace: Trace) -> list[tuple[Step, bool]]:
        """Return the steps, and which are over."""
        return [(phase.step, phase.seconds is not None) for phase in trace.phases]

    def hasReceived(self, exchange: Exchange, count: int) -> bool:
        """Return whether `count` bytes of the reply came."""
        return exchange.reply.received == count

    def test_replyHasTwoSteps(self) -> None:
        """The steps are those to the first byte, and from there to the last."""
        self.connect()
        trace = Trace(self.reactor.seconds)
        exchange = Exchange(self.client, trace)
        exchange.send(b"hello")
        assert self.steps(trace) == [(Step.FIRST_BYTE, False)]
        self.wait(exchange.done)
        assert self.steps(trace) == [(Step.FIRST_BYTE, True), (Step.ALL_BYTES, True)]

    def test_endIsStepWhenReplyIsComplete(self) -> None:
        """An exchange until the end may send more after a complete reply; its last step is the server's end."""
        self.connect()
        trace = Trace(self.reactor.seconds)
        exchange = Exchange(self.client, trace, untilEnd=True)
        for count, data in ((5, b"hello"), (10, b"again")):
            exchange.send(data)
            self.reactor.until(partial(self.hasReceived, exchange, count))
        assert self.steps(trace) == [(Step.FIRST_BYTE, True), (Step.ALL_BYTES, False)]
        assert not exchange.done.called
        exchange.end()
        assert self.steps(trace)[1:] == [(Step.ALL_BYTES, True), (Step.END, False)]
        self.wait(exchange.done)
        assert self.steps(trace)[2:] == [(Step.END, True)]
        self.client.check(exchange.reply)
