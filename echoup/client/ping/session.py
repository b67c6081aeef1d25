"""One `echoup ping`: when its probes are made, and how it ends."""

import signal
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from math import inf

from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.ping.datagram import DatagramProbes
from echoup.client.ping.reports.report import Report, judgement
from echoup.client.ping.requirement import Requirement
from echoup.client.ping.schedule import Schedule
from echoup.client.ping.statistics import Statistics
from echoup.client.ping.stream import StreamProbes
from echoup.client.target.parse import Target
from echoup.client.target.stream import StreamTarget
from echoup.clock import RunningTime

MAXIMUM = 256
"""Probes that may be under way at once; each may need several of the usual 1024 descriptors."""


Probes = StreamProbes | DatagramProbes


async def ping(
    reactor: ReactorBase, target: Target, schedule: Schedule, report: Report, requirements: Sequence[Requirement]
) -> None:
    """Make the probes of `target` that `schedule` asks for, and report them.

    Raise PathError if one failed or wasn't sent, or if one of the `requirements` isn't met; a requirement of the loss
    forgives lost probes, one of the outage forgives those before an answered one. Raise it before the first probe if
    the target's files can't be used. Cancelling ends the probes; what they found is still reported. SIGQUIT shows the
    statistics so far, and from then on never ends the process, not even after the report.
    """
    statistics = Statistics()
    clock = RunningTime(reactor)
    probes = makeProbes(reactor, clock, target, schedule, statistics)
    session = Session(reactor, clock, probes, schedule, report, statistics)
    signal.signal(signal.SIGQUIT, session.ask)
    try:
        if isinstance(target, StreamTarget):
            target.prepare()
        report.begin(target, schedule.size)
        await session.run()
        code, message = judge(statistics, requirements)
        report.end(statistics, requirements, code)
    finally:
        # While Python exits it restores the default of a signal that has a handler.
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    if code:
        raise PathError(code, message)


def makeProbes(
    reactor: ReactorBase, clock: RunningTime, target: Target, schedule: Schedule, statistics: Statistics
) -> Probes:
    """Return the kind of probes that `target` needs."""
    if isinstance(target, StreamTarget):
        return StreamProbes(reactor, clock, target, schedule)
    return DatagramProbes(reactor, clock, target, schedule, statistics)


def judge(statistics: Statistics, requirements: Sequence[Requirement]) -> tuple[ExitCode, str]:
    """Return the exit code, and the reason for it; empty for OK.

    What is known of the path outranks a probe that couldn't be sent, which nothing forgives.
    """
    failure = statistics.failure
    begun = statistics.sent + statistics.unsent

    def some(count: int, what: str, error: PathError | None) -> list[str]:
        return [f"{count} of {begun} {what}: {error}" if begun > 1 else str(error)] if error else []

    unsent = some(statistics.unsent, "not sent", statistics.trouble)
    metrics = {requirement.metric for requirement in requirements}
    mayLose = "loss" in metrics or ("outage" in metrics and not statistics.current)
    if failure and (statistics.wrong or not mayLose):
        return failure.code, "; ".join([*some(statistics.failed, "failed", failure), *unsent])
    unmet = [requirement for requirement in requirements if not requirement.isMet(statistics)]
    if unmet and (statistics.over or not unsent):
        reasons = [judgement(requirement, statistics) for requirement in unmet]
        return ExitCode.WRONG, "; ".join([*reasons, *([str(failure)] if failure else []), *unsent])
    if unsent:
        return ExitCode.LOCAL, unsent[0]
    return ExitCode.OK, ""


class Session:
    """Makes each probe when it is due."""

    def __init__(
        self,
        reactor: ReactorBase,
        clock: RunningTime,
        probes: Probes,
        schedule: Schedule,
        report: Report,
        statistics: Statistics,
    ) -> None:
        """The schedule goes by `clock`, as the timeouts of the probes do."""
        self._reactor = reactor
        self._clock = clock
        self._probes = probes
        self._schedule = schedule
        self._report = report
        self._statistics = statistics
        self._underway: set[Deferred[None]] = set()
        self._change: Deferred[None] = Deferred()
        self._pause: Deferred[None] = succeed(None)
        self._failure: Failure | None = None
        self._isAsked = False
        self._isRunning = False

    def ask(self, *_: object) -> None:
        """Show the statistics so far as soon as the reactor gets to it; a signal handler."""
        if not self._isAsked:  # however many signals come while the output takes nothing
            self._isAsked = True
            self._reactor.callFromThread(self._showSoFar)

    async def run(self) -> None:
        """Make all probes, or those until a cancel; raise PathError if the target or the output can't be used."""
        self._isRunning = True
        # With it the clock notices every pause, also when a probe begins.
        never = self._clock.callLater(inf, self._wake)
        try:
            with suppress(CancelledError):
                await self._makeAll()
        finally:
            never.cancel()
            for running in [self._pause, *self._underway]:
                running.cancel()
            await self._probes.close()
            self._isRunning = False
        self._statistics.finish()

    async def _makeAll(self) -> None:
        schedule = self._schedule
        limit = 1 if self._probes.isSequential or not schedule.interval else MAXIMUM
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
            while not self._pause.called or len(self._underway) >= limit:
                await self._somethingElse()
        while self._underway:
            await self._somethingElse()
        await self._probes.linger()

    def _showSoFar(self) -> None:
        self._isAsked = False
        if self._isRunning:
            try:
                self._report.showSoFar(self._statistics)
            except PathError:
                self._failure = self._failure or Failure()
            self._wake()  # so that the live line comes back

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
        self._report.add(result)

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
        self._report.tick(self._statistics, self._clock.seconds())
        self._change = Deferred()
        await self._change
        self._check()

    def _check(self) -> None:
        if self._failure:
            self._failure.raiseException()
