"""One exchange with an echo service: sending, judging the reply, and timing its steps."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime

from echoup.client.connect.trace import Step, Trace
from echoup.client.exitcodes import ExitCode, PathError, describeServer
from echoup.clock import RunningTime
from echoup.verdict import Reply

Take = Callable[[bytes], object] | None
"""What is called with everything that comes, as it comes and after it was judged; None if nothing is."""


def describeTimeout(reply: Reply, seconds: float, rest: str) -> str:
    """Return why a reply that is right so far timed out; where it has begun, `rest` says what the `seconds` are."""
    within = f"{seconds:g} s"
    if reply.outstanding:
        came = f"{reply.received} of {reply.sent} bytes came back{rest} {within}" if reply.received else ""
        return f"timed out: {came or f'nothing came back in {within}'}"
    everything = "the byte" if reply.sent == 1 else f"all {reply.sent} bytes"
    came = f"{everything} came back, but " if reply.sent else ""
    return f"timed out: {came}the server did not close the connection within {within}"


class ExchangeClient(ABC):
    """The client's end of a path to an echo service; it carries one exchange at a time."""

    name: object = ""
    """What the user calls the server."""
    address: str | None = None
    """The server's address, or those that were tried; None before the first."""
    handle: Any = None
    """The socket of the connection, if there is one."""

    def __init__(self, reactor: IReactorTime, take: Take, clock: RunningTime | None = None) -> None:
        self.reactor = reactor
        self.clock = clock or RunningTime(reactor)
        """What the timeouts go by; several clients may have the same."""
        self.closed: Deferred[None] = Deferred()
        """Fires when nothing more comes: the connection is gone, or the client has given up."""
        self.unasked = Reply()
        """What came while no exchange was under way."""
        self.underway: Exchange | None = None
        self._take = take

    def exchange(self, data: bytes) -> "Deferred[Reply]":
        """Send `data`, and return a Deferred of the reply to it, right or wrong, once that has as many bytes.

        It fails with a PathError where the reply doesn't come: the server closed or reset the connection, or was
        silent for too long. Raise RuntimeError while another exchange is under way. After cancelling it, close the
        connection: the next exchange would take what still comes for its own reply.
        """

        def judge(reply: Reply) -> Reply:
            if reply.outstanding:
                self.check(reply)
            return reply

        exchange = Exchange(self)
        exchange.send(data)
        return exchange.done.addCallback(judge)

    def check(self, reply: Reply) -> None:
        """Raise PathError unless all that was sent came back as it should, and nothing has failed."""
        if reply.wrongAt is not None:
            raise self.error(ExitCode.WRONG, str(reply))
        if error := self.failure(reply):
            raise self.error(error.code, f"{error.reason}{self.hint(reply, error.code)}")

    def error(self, code: ExitCode, reason: str) -> PathError:
        """Return an error that names the server."""
        return PathError(code, reason, self.name, self.address)

    @property
    def server(self) -> str:
        """What messages call the server."""
        return describeServer(self.name, self.address)

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send `data`, which belongs to the exchange under way."""

    @abstractmethod
    def end(self) -> None:
        """Half-close; what was sent before still comes back, and then the server closes."""

    @abstractmethod
    def failure(self, reply: Reply) -> PathError | None:
        """Return what keeps the rest of `reply` from coming, without the name of the server; None if nothing does."""

    def hint(self, reply: Reply, code: ExitCode) -> str:
        """Return what to add to an error with `code`: the option that the server may expect; empty for none."""
        return ""

    def deliver(self, data: bytes) -> None:
        """Judge `data`, the next bytes that came, and pass them on."""
        exchange = self.underway
        (exchange.reply if exchange else self.unasked).receive(data)
        if self._take:
            self._take(data)
        if exchange:
            exchange.follow()

    def lose(self) -> None:
        """Note that nothing more comes, which ends the exchange under way."""
        self.closed.callback(None)
        if self.underway:
            self.underway.follow()


class Exchange:
    """What is sent to a server, the reply to it, and when its steps began and ended."""

    def __init__(self, client: ExchangeClient, trace: Trace | None = None, untilEnd: bool = False) -> None:
        """Begin an exchange over `client`, whose steps `trace` records; raise RuntimeError while one is under way.

        It is over when the reply has as many bytes as were sent; with `untilEnd`, when the server has ended its side.
        """
        if client.underway:
            raise RuntimeError("an exchange is under way")
        client.underway = self
        self.reply = Reply()
        self.done: Deferred[Reply] = Deferred(self._abandon)
        """Fires with the reply when the exchange is over, also when that is because the connection is gone."""
        self._client = client
        self._trace = trace or Trace(client.reactor.seconds)
        self._phase = self._trace.begin(Step.FIRST_BYTE)
        self._untilEnd = untilEnd
        self._endedAt: float | None = None

    def send(self, data: bytes) -> None:
        """Send `data`."""
        self.reply.send(data)
        if not self._client.closed.called:
            self._client.write(data)
        self.follow()

    def end(self) -> None:
        """Send our end."""
        self._endedAt = self._client.reactor.seconds()
        if not self._client.closed.called:
            self._client.end()
        self.follow()

    async def finish(self, left: float, limit: float) -> None:
        """Wait for the end of the exchange; raise PathError unless everything came back as it should.

        There are `left` seconds for it, the rest of the `limit` that an error names.
        """
        try:
            await self.done.addTimeout(max(left, 0), self._client.clock)
        except DeferredTimeout:
            if self.reply.wrongAt is None:
                why = describeTimeout(self.reply, limit, " in")
                hint = self._client.hint(self.reply, ExitCode.TIMED_OUT)
                raise self._client.error(ExitCode.TIMED_OUT, f"{why}{hint}") from None
        self._client.check(self.reply)

    def follow(self) -> None:
        """Record the step that the reply has reached; fire `done` when the reply is complete, or can't be any more."""
        if self.done.called:
            return
        isAnswered = not self.reply.outstanding
        if self._phase.step is Step.FIRST_BYTE and self.reply.received:
            self._next(Step.ALL_BYTES)
        if isAnswered and self._endedAt is not None and self._phase.step is not Step.END:
            self._next(Step.END, self._endedAt)
        if self._client.closed.called or (isAnswered and not self._untilEnd):
            if not self._client.failure(self.reply):
                self._trace.end(self._phase, self._client.handle)
            self._client.underway = None
            self.done.callback(self.reply)

    def _next(self, step: Step, since: float | None = None) -> None:
        self._trace.end(self._phase, self._client.handle)
        self._phase = self._trace.begin(step, since)

    def _abandon(self, _: object) -> None:
        self._client.underway = None
        self._trace.abandon(self._phase, self._client.handle)
