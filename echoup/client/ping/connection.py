"""A connection that probes go over."""

from contextlib import suppress
from typing import Any

from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.connect.trace import Phase, Step, Trace, describeServer
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.protocol import EchoUpClient
from echoup.client.target.stream import StreamTarget
from echoup.verdict import Reply

LINGER = 1.0
"""Seconds that what was not yet sent has at the end; a server that takes nothing would keep it for ever."""


class Connection:
    """A client, and the trace of what is under way between it and the server."""

    local: str | None = None
    """Our own address, in words, once there is a connection."""
    remote: str | None = None
    """The server's address, likewise."""

    _client: EchoUpClient
    _handle: Any
    _server: str
    _trace: Trace
    _phase: Phase
    _halfClose: bool
    _endedAt: float

    def __init__(self, reactor: ReactorBase, target: StreamTarget) -> None:
        self._reactor = reactor
        self._target = target
        self._done: Deferred[None] | None = None

    @property
    def isOpen(self) -> bool:
        """Is there a connection?"""
        return self.local is not None and not self._client.closed.called

    async def open(self, timeout: float, trace: Trace) -> None:
        """Connect, within `timeout` seconds; raise PathError if that fails."""
        self.local = self.remote = None
        self._client = await self._target.connect(self._reactor, timeout, self._take, trace)
        self._client.closed.addCallback(self._end)
        self.local, self.remote = trace.local, trace.remote
        self._server = describeServer(self._target, self.remote)
        self._handle = self._client.transport.getHandle()

    async def exchange(self, payload: bytes, reply: Reply, timeout: float, trace: Trace, halfClose: bool) -> None:
        """Send `payload` and let `reply` judge what comes back, within `timeout` seconds.

        With `halfClose` our end is sent, too, and the server's has to come back. Raise PathError unless all is right.
        """
        self._trace = trace
        self._phase = trace.begin(Step.FIRST_BYTE)
        if self._client.reply.received:  # unasked, since the last time
            reply.receive(self._client.reply.start)
        self._client.reply = reply
        self._halfClose = halfClose
        self._client.check(self._server)
        self._done = Deferred()
        self._client.send(payload)
        if halfClose:
            self._client.end()
            self._endedAt = self._reactor.seconds()
        try:
            try:
                await self._done.addTimeout(max(timeout, 0), self._reactor)
            except DeferredTimeout:
                self._phase.tcp = TCPInfo.of(self._handle)
                if reply.wrongAt is None:
                    raise PathError(ExitCode.TIMED_OUT, self._explainTimeout(reply)) from None
            except CancelledError:
                self._phase.tcp = TCPInfo.of(self._handle)
                raise
            if self._client.timedOut and reply.wrongAt is None:
                # The connection's own limit, as long as this one, is first where this process got no turn in between.
                raise PathError(ExitCode.TIMED_OUT, self._explainTimeout(reply))
            self._client.check(self._server)
        finally:
            self._done = None
            self._client.reply = Reply()  # for what comes unasked

    async def close(self) -> None:
        """Close the connection, if there is one, as the server may expect it; after LINGER, drop it."""
        if self.isOpen:
            self._client.close()
            with suppress(DeferredTimeout):
                await self._client.closed.addTimeout(LINGER, self._reactor)
            self._client.stopProducing()

    def _take(self, data: bytes) -> None:
        """Follow the reply to its last byte; `data` has been judged already."""
        if not self._done:
            return
        if self._phase.step is Step.FIRST_BYTE:
            self._next(Step.ALL_BYTES)
        if self._phase.step is Step.ALL_BYTES and not self._client.reply.outstanding:
            if self._halfClose:
                self._next(Step.END)
                self._phase.began = self._endedAt
            else:
                self._trace.end(self._phase, self._handle)
                self._done.callback(None)

    def _next(self, step: Step) -> None:
        self._trace.end(self._phase, self._handle)
        self._phase = self._trace.begin(step)

    def _end(self, _: None) -> None:
        """The connection is gone; that may be what was waited for."""
        if self._done:
            if self._phase.step is Step.END and self._client.serverEnded:
                self._trace.end(self._phase)
            self._done.callback(None)

    def _explainTimeout(self, reply: Reply) -> str:
        came = f"{reply.received} of {reply.sent} bytes came back"
        missing = ", but not the server's end" if self._phase.step is Step.END else ""
        return f"{self._server}: timed out: {came}{missing}"
