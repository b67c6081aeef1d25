"""The probes of one target: when each is made."""

from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Protocol

from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from echoup.client.exitcodes import ExitCode
from echoup.client.ping.result import Result
from echoup.client.ping.schedule import Schedule
from echoup.client.ping.statistics import Statistics
from echoup.clock import RunningTime


class Probes(Protocol):
    """Makes the probes of a target."""

    isSequential: bool
    """Whether each probe waits for the end of the one before."""

    async def probe(self, seq: int) -> Result:
        """Make the probe number `seq`; if it is cancelled, return how far it got, as INTERRUPTED."""

    async def linger(self) -> None:
        """Wait for answers that may still come."""

    async def close(self) -> None:
        """Close what is open."""


class Series:
    """Makes each probe of one target when it is due."""

    def __init__(
        self,
        reactor: ReactorBase,
        clock: RunningTime,
        probes: Probes,
        schedule: Schedule,
        limit: int,
        statistics: Statistics,
        add: Callable[[Result], None],
        tick: Callable[[], None],
    ) -> None:
        """The schedule goes by `clock`, as the timeouts of the probes do; at most `limit` of them are under way.

        `add` is called with each result, `tick` when a probe has begun and when one is over.
        """
        self._reactor = reactor
        self._clock = clock
        self._probes = probes
        self._schedule = schedule
        self._limit = 1 if probes.isSequential or not schedule.interval else limit
        self._statistics = statistics
        self._add = add
        self._tick = tick
        self._underway: set[Deferred[None]] = set()
        self._change: Deferred[None] = Deferred()
        self._pause: Deferred[None] = succeed(None)
        self._failure: Failure | None = None

    async def run(self) -> None:
        """Make all probes, or those until a cancel; raise PathError if the target or the output can't be used."""
        try:
            with suppress(CancelledError):
                await self._makeAll()
        finally:
            for running in [self._pause, *self._underway]:
                running.cancel()
            with suppress(CancelledError):  # a second one, while the connections end
                await self._probes.close()
        self._statistics.finish()

    async def _makeAll(self) -> None:
        schedule = self._schedule
        due = self._clock.seconds()
        for seq in count(1):
            self._begin(seq)
            self._check()
            if seq == schedule.count:
                break
            now = self._clock.seconds()
            due = (now if now > due + schedule.interval else due) + schedule.interval  # missed ones are left out
            clock = self._clock if due > now else self._reactor  # without an interval a look first would cost speed
            self._pause = deferLater(clock, max(due - now, 0)).addBoth(self._wake)
            while not self._pause.called or len(self._underway) >= self._limit:
                await self._somethingElse()
        while self._underway:
            await self._somethingElse()
        await self._probes.linger()

    def _begin(self, seq: int) -> None:
        self._statistics.sent += 1
        running = Deferred.fromCoroutine(self._make(seq))
        self._underway.add(running)
        running.addBoth(self._end, running)

    async def _make(self, seq: int) -> None:
        result = await self._probes.probe(seq)
        if result.error and result.error.code is ExitCode.USAGE:
            raise result.error
        if result.error and result.error.code is ExitCode.INTERRUPTED:
            self._statistics.interrupt(result)
            return
        self._statistics.add(result)
        self._add(result)

    def _end(self, result: Failure | None, running: "Deferred[None]") -> None:
        self._underway.discard(running)
        if isinstance(result, Failure):
            self._failure = self._failure or result
        self._wake()

    def _wake(self, _: object = None) -> None:
        if not self._change.called:
            self._change.callback(None)

    async def _somethingElse(self) -> None:
        """Report the counts, and wait until a probe is over or due."""
        self._tick()
        self._change = Deferred()
        await self._change
        self._check()

    def _check(self) -> None:
        if self._failure:
            self._failure.raiseException()
