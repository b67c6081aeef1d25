"""One `echoup ping`: the probes of its targets side by side, and how it ends."""

import signal
from collections.abc import Sequence
from functools import partial
from math import inf

from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from echoup.client.exitcodes import PathError
from echoup.client.ping.datagram import DatagramProbes
from echoup.client.ping.judge import describeLate, judge, judgeAll
from echoup.client.ping.reports.report import Report
from echoup.client.ping.requirement import Requirement
from echoup.client.ping.schedule import Schedule
from echoup.client.ping.series import Series
from echoup.client.ping.statistics import Outcome, Statistics
from echoup.client.ping.stream import StreamProbes
from echoup.client.target.parse import Target
from echoup.client.target.stream import StreamTarget
from echoup.clock import RunningTime

MAXIMUM = 256
"""Probes that may be under way at once, of all targets together; each may need several of 1024 descriptors."""


async def ping(
    reactor: ReactorBase,
    targets: Sequence[Target],
    schedule: Schedule,
    report: Report,
    requirements: Sequence[Requirement],
) -> None:
    """Make the probes of each of `targets` that `schedule` asks for, all side by side, and report them.

    There are at most MAXIMUM targets, each with a name of its own. Raise PathError if a probe failed or wasn't sent,
    if the deadline came too early, or if one of the `requirements` isn't met; a requirement of the loss forgives lost
    probes, one of the outage forgives those before an answered one. Raise it before the first probe if a target's files
    can't be used. Cancelling ends the probes; what they found is still reported. SIGQUIT shows the statistics so far,
    and from then on never ends the process, not even after the report.
    """
    session = Session(reactor, targets, schedule, report)
    signal.signal(signal.SIGQUIT, session.ask)
    try:
        for target in targets:
            if isinstance(target, StreamTarget):
                target.prepare()
        report.begin([*session.everything], schedule.size)
        await session.run()
        outcomes = []
        for name, statistics in session.everything.items():
            late = describeLate(name, statistics, schedule) if session.isLate else ""
            outcomes.append(Outcome(name, statistics, *judge(statistics, requirements, late)))
        report.end(outcomes, requirements)
    finally:
        # While Python exits it restores the default of a signal that has a handler.
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    code, message = judgeAll(outcomes)
    if code:
        raise PathError(code, message)


def makeProbes(
    reactor: ReactorBase, clock: RunningTime, target: Target, schedule: Schedule, statistics: Statistics
) -> StreamProbes | DatagramProbes:
    """Return the kind of probes that `target` needs."""
    if isinstance(target, StreamTarget):
        return StreamProbes(reactor, clock, target, schedule)
    return DatagramProbes(reactor, clock, target, schedule, statistics)


class Session:
    """Runs a series of probes for each target."""

    isLate = False
    """Whether the deadline ended it."""

    def __init__(self, reactor: ReactorBase, targets: Sequence[Target], schedule: Schedule, report: Report) -> None:
        self.everything = {str(target): Statistics() for target in targets}
        """The statistics of each target, by its name, in the order given."""
        self._reactor = reactor
        self._clock = RunningTime(reactor)
        self._targets = targets
        self._schedule = schedule
        self._report = report
        self._running: list[Deferred[None]] = []
        self._failure: Failure | None = None
        self._isAsked = False
        self._isRunning = False

    def ask(self, *_: object) -> None:
        """Show the statistics so far as soon as the reactor gets to it; a signal handler."""
        if not self._isAsked:  # however many signals come while the output takes nothing
            self._isAsked = True
            self._reactor.callFromThread(self._showSoFar)

    async def run(self) -> None:
        """Make all probes, or those until the deadline or a cancel.

        Raise PathError if a target or the output can't be used.
        """
        self._isRunning = True
        # With the first the clock notices every pause, also when a probe begins.
        timers = [self._clock.callLater(inf, self._end)]
        if self._schedule.deadline:
            timers.append(self._clock.callLater(self._schedule.deadline, self._endLate))
        try:
            for target in self._targets:
                self._running.append(Deferred.fromCoroutine(self._makeSeries(target).run()).addErrback(self._fail))
                if self._failure:
                    break
            await DeferredList(self._running)  # to cancel it cancels each, and it still waits for all
        finally:
            self._isRunning = False
            for timer in timers:
                if timer.active():
                    timer.cancel()
        if self._failure:
            self._failure.raiseException()

    def _makeSeries(self, target: Target) -> Series:
        statistics = self.everything[str(target)]
        probes = makeProbes(self._reactor, self._clock, target, self._schedule, statistics)
        add = partial(self._report.add, target=str(target))
        limit = MAXIMUM // len(self._targets)  # a share for each, so that a silent server takes none of the others'
        return Series(self._reactor, self._clock, probes, self._schedule, limit, statistics, add, self._tick)

    def _tick(self) -> None:
        self._report.tick(self.everything, self._clock.seconds())

    def _showSoFar(self) -> None:
        self._isAsked = False
        if self._isRunning:
            try:
                self._report.showSoFar(self.everything)
                self._tick()  # so that the live line comes back
            except PathError:
                self._fail(Failure())

    def _fail(self, failure: Failure) -> None:
        self._failure = self._failure or failure
        self._end()

    def _end(self) -> None:
        for running in self._running:
            running.cancel()

    def _endLate(self) -> None:
        self.isLate = True
        self._end()
