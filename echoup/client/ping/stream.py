"""Probes over a stream: TCP, TLS or a Unix socket."""

import time

from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError, Deferred

from echoup.client.connect.trace import Trace
from echoup.client.exitcodes import PathError
from echoup.client.ping.connection import Connection
from echoup.client.ping.payload import makePayload
from echoup.client.ping.result import Result, interrupted
from echoup.client.ping.schedule import Schedule
from echoup.client.target.stream import StreamTarget
from echoup.verdict import Reply


class StreamProbes:
    """Makes probes, each on a connection of its own or all on the same."""

    def __init__(self, reactor: ReactorBase, target: StreamTarget, plan: Schedule) -> None:
        self._reactor = reactor
        self._target = target
        self._plan = plan
        self._kept: Connection | None = None
        self._closing: set[Deferred[None]] = set()
        self.isSequential = plan.keep

    async def probe(self, seq: int) -> Result:
        """Make the probe that has the number `seq`; when it's cancelled, return how far it got, as INTERRUPTED."""
        payload = makePayload(self._plan.size)
        at, began = time.time(), self._reactor.seconds()
        trace, reply, error = Trace(self._reactor.seconds), Reply(), None
        connection = self._kept or Connection(self._reactor, self._target)
        self._kept = None
        sent = began
        try:
            if not connection.isOpen:
                await connection.open(self._plan.timeout, trace)
            now = self._reactor.seconds()
            if self._plan.keep:
                sent = now
            await connection.exchange(payload, reply, began + self._plan.timeout - now, trace, self._plan.halfClose)
        except PathError as failure:
            error = failure
        except CancelledError:
            error = interrupted(self._reactor.seconds() - began)
        ended = self._reactor.seconds()
        if self._plan.keep and not error:
            self._kept = connection
        else:
            self._close(connection)
        local, remote = connection.local or trace.local, connection.remote or trace.remote
        return Result(seq, at, began, ended, ended - sent, reply, trace, error, local, remote)

    async def linger(self) -> None:
        """Wait for nothing: after the end of a connection nothing can come."""

    async def close(self) -> None:
        """Close the connection that is kept, and wait until all are closed."""
        if self._kept:
            self._close(self._kept)
        for closing in list(self._closing):
            await closing

    def _close(self, connection: Connection) -> None:
        closing = Deferred.fromCoroutine(connection.close())
        self._closing.add(closing)
        closing.addCallback(lambda _: self._closing.discard(closing))
