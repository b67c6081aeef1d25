"""Probes over a stream: TCP, TLS or a Unix socket."""

import time
from contextlib import suppress

from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout

from echoup.client.connect.trace import Trace
from echoup.client.exchange import Exchange
from echoup.client.exitcodes import PathError
from echoup.client.ping.payload import makePayload
from echoup.client.ping.result import Result, interrupted
from echoup.client.ping.schedule import Schedule
from echoup.client.protocol import EchoUpClient
from echoup.client.target.stream import StreamTarget
from echoup.clock import RunningTime
from echoup.verdict import Reply

LINGER = 1.0
"""Seconds after which a connection that is being closed is dropped, because its server doesn't read."""


class StreamProbes:
    """Makes probes, each on a connection of its own or all on the same."""

    def __init__(self, reactor: ReactorBase, clock: RunningTime, target: StreamTarget, schedule: Schedule) -> None:
        self._reactor = reactor
        self._clock = clock
        self._target = target
        self._schedule = schedule
        self._kept: EchoUpClient | None = None
        self._untried = target.untried  # none once the server has answered: it expects no other options
        self._closing: set[Deferred[None]] = set()
        self.isSequential = schedule.keep
        """Whether each probe waits for the end of the one before."""

    async def probe(self, seq: int) -> Result:
        """Make the probe number `seq`; if it is cancelled, return how far it got, as INTERRUPTED."""
        schedule, payload = self._schedule, makePayload(self._schedule.size)
        at, began, pauses = time.time(), self._clock.seconds(), self._clock.pauses
        trace, reply, error = Trace(self._clock.seconds), Reply(), None
        kept, self._kept = self._kept, None
        # The client itself has no timeout: the probe's limits it.
        client = kept if kept and not kept.closed.called else EchoUpClient(self._reactor, timeout=0, clock=self._clock)
        client.untried = self._untried
        sent = began
        try:
            if not client.connected:
                await self._target.connectClient(self._reactor, client, schedule.timeout, trace)
            if schedule.keep:
                sent = self._clock.seconds()
            exchange = Exchange(client, trace, schedule.halfClose)
            reply = client.unasked
            client.check(reply)
            reply = exchange.reply
            exchange.send(payload)
            if schedule.halfClose:
                exchange.end()
            await exchange.finish(began + schedule.timeout - self._clock.seconds(), schedule.timeout)
        except PathError as failure:
            error = failure
        except CancelledError:
            error = interrupted(self._clock.seconds() - began)
        else:
            self._untried = ()
        ended = self._clock.seconds()
        seconds = ended - sent if self._clock.pauses == pauses else None
        if schedule.keep and not error:
            self._kept = client
        else:
            self._close(client)
        return Result(seq, at, began, ended, seconds, reply, trace, error, client.local, client.remote)

    async def linger(self) -> None:
        """Wait for nothing: after the end of a connection nothing can come."""

    async def close(self) -> None:
        """Close the connection that is kept, and wait until all are closed."""
        if self._kept:
            self._close(self._kept)
        for closing in list(self._closing):
            await closing

    def _close(self, client: EchoUpClient) -> None:
        if client.connected and not client.closed.called:
            closing = Deferred.fromCoroutine(self._end(client))
            self._closing.add(closing)
            closing.addCallback(lambda _: self._closing.discard(closing))

    async def _end(self, client: EchoUpClient) -> None:
        """Close a connection in order; drop it after LINGER."""
        client.close()
        with suppress(DeferredTimeout):
            await client.closed.addTimeout(LINGER, self._clock)
        client.stopProducing()
