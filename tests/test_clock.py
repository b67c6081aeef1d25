"""The clocks of a reactor."""

import socket
import time
from collections.abc import Callable
from threading import Event
from time import monotonic
from typing import Any
from unittest.mock import patch

import pytest
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReactorTime
from twisted.internet.pollreactor import PollReactor
from twisted.internet.protocol import ClientFactory, DatagramProtocol, Factory, Protocol
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.threads import deferToThreadPool
from zope.interface.verify import verifyObject

from echoup.clock import BEAT, LONGEST, RunningTime, useMonotonicClock
from echoup.reactor.uvloopreactor import UvloopReactor
from tests.support.doubles import ReactorTestCase
from tests.support.reactors import MULTIPLEXERS

REACTORS: dict[str, Callable[[], Any]] = {
    "epoll": EPollReactor,
    "poll": PollReactor,
    "select": SelectReactor,
    "asyncio": AsyncioSelectorReactor,
    "uvloop": UvloopReactor,
}


class UseMonotonicClockTests(ReactorTestCase):
    """`useMonotonicClock` makes a reactor count seconds since boot."""

    def setUp(self) -> None:
        """Set the reactor's clock."""
        super().setUp()
        useMonotonicClock(self.reactor)

    def test_secondsAreSinceBoot(self) -> None:
        """The reactor's time is the time since boot."""
        before = monotonic()
        now = self.reactor.seconds()
        assert before <= now <= monotonic(), now

    def test_timersFireAtATimeSinceBoot(self) -> None:
        """A timer is due at a time since boot, and fires then."""
        before = monotonic()
        fired: list[float] = []
        call = self.reactor.callLater(0.01, lambda: fired.append(monotonic()))
        assert before + 0.01 <= call.getTime() <= monotonic() + 0.01
        self.reactor.until(lambda: bool(fired))
        assert fired[0] >= call.getTime()


class RunningTimeTests(ReactorTestCase):
    """`RunningTime` counts the time in which the process runs, while a call is due later."""

    def setUp(self) -> None:
        """Make the clock, and record the calls."""
        super().setUp()
        self.clock = RunningTime(self.reactor)
        self.called: list[str] = []

    def test_isAClock(self) -> None:
        """It is an IReactorTime, whose calls can be cancelled, moved and listed."""
        assert verifyObject(IReactorTime, self.clock)
        call = self.clock.callLater(1, self.called.append, "moved")
        cancelled = self.clock.callLater(1, self.called.append, "cancelled")
        call.reset(0.5)
        cancelled.cancel()
        assert list(self.clock.getDelayedCalls()) == [call]
        self.reactor.advance(0.6)
        assert self.called == ["moved"]
        assert not call.active()
        assert self.reactor.getDelayedCalls() == []

    def test_callIsMadeInTime(self) -> None:
        """Without a pause a call is made when it is due, and the time is the reactor's."""
        self.clock.callLater(3, self.called.append, "called")
        self.reactor.advance(2.9)
        assert self.called == []
        self.reactor.advance(0.15)
        assert self.called == ["called"]
        assert abs(self.clock.seconds() - self.reactor.seconds()) < BEAT / 100
        assert self.clock.pauses == 0

    def test_movedCallIsMadeThen(self) -> None:
        """A call that is moved while what has come is taken in is made at its new time, not before."""
        call = self.clock.callLater(1, self.called.append, "called")
        self.reactor.advance(1 - BEAT)
        self.reactor.clock.advance(BEAT)
        self.reactor.runUntilCurrent()
        call.delay(1)
        self.reactor.advance(0.9)
        assert self.called == []
        self.reactor.advance(0.15)
        assert self.called == ["called"]

    def test_manyCallsCostNoMoreTimeThanOne(self) -> None:
        """While calls wait the reactor makes as many of its own for thousands of them as for one."""
        made = [self._callsOfTheReactor(waiting) for waiting in (1, 1000)]
        assert made[1] == made[0] <= 60 / BEAT + 1

    def _callsOfTheReactor(self, waiting: int) -> int:
        """Return how many calls the reactor makes in a minute in which this many wait for a later one."""
        calls = [self.clock.callLater(61, self.called.append, "called") for _ in range(waiting)]
        with patch.object(self.reactor, "callLater", wraps=self.reactor.callLater) as made:
            for _ in range(int(60 / BEAT)):
                self.reactor.clock.advance(BEAT)
                self.reactor.runUntilCurrent()
        for call in calls:
            call.cancel()
        return made.call_count

    def test_pauseCountsLittle(self) -> None:
        """Of a pause LONGEST counts at most, so the call is made when the rest of its time has passed."""
        self.clock.callLater(3, self.called.append, "called")
        self.reactor.advance(1)
        self.reactor.pause(60)
        self.reactor.advance(1.9 - LONGEST)
        assert self.called == []
        assert self.clock.pauses == 1
        self.reactor.advance(LONGEST + 0.15)
        assert self.called == ["called"]

    def test_pauseBeforeACancelIsNoticed(self) -> None:
        """A pause after which the last call is cancelled first, because what it waited for has come, is noticed."""
        call = self.clock.callLater(3, self.called.append, "called")
        self.reactor.pause(60)
        call.cancel()
        assert self.clock.seconds() == LONGEST
        assert self.clock.pauses == 1

    def test_timeWithoutCallsCounts(self) -> None:
        """While no call is due the time counts in full, however seldom it is asked for, and is no pause."""
        self.reactor.pause(60)
        assert self.clock.seconds() == self.reactor.seconds()
        assert self.clock.pauses == 0


class Tells(Protocol):
    """Notes its connection and what comes."""

    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def connectionMade(self) -> None:
        """Note it, if this is a client."""
        if isinstance(self.factory, ClientFactory):
            self.seen.append("connection")

    def dataReceived(self, data: bytes) -> None:
        """Note it."""
        self.seen.append("data")


class TellsDatagrams(DatagramProtocol):
    """Notes what comes."""

    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        """Note it."""
        self.seen.append("datagram")


@pytest.mark.parametrize("name", MULTIPLEXERS)
def test_whatHasComeIsTakenFirst(name: str) -> None:
    """Data, a datagram, a connection and a thread's result that lie there when a call is due are taken before it.

    The reactor's thread is blocked for longer than the call is due, which is what a stopped process looks like to it.
    """
    reactor = REACTORS[name]()
    useMonotonicClock(reactor)
    clock, seen, go = RunningTime(reactor), list[str](), Event()
    serving, connecting = Factory(), ClientFactory()
    serving.protocol = connecting.protocol = lambda: Tells(seen)
    port = reactor.listenTCP(0, serving, interface="127.0.0.1")
    datagrams = reactor.listenUDP(0, TellsDatagrams(seen), interface="127.0.0.1")
    with (
        socket.create_connection(("127.0.0.1", port.getHost().port)) as stream,
        socket.create_server(("127.0.0.1", 0), backlog=0) as listening,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        ends: Deferred[None] = Deferred()

        def block() -> None:
            # The calls below are due after this and before the next poll.
            reactor.connectTCP(*listening.getsockname(), connecting)
            stream.sendall(b"x")
            sender.sendto(b"x", ("127.0.0.1", datagrams.getHost().port))
            go.set()
            time.sleep(LONGEST)

        def begin() -> None:
            deferToThreadPool(reactor, reactor.getThreadPool(), go.wait).addCallback(lambda _: seen.append("result"))
            clock.callLater(0.3, seen.append, "call")
            clock.callLater(0.3, ends.callback, None)
            reactor.callLater(0.3 - BEAT / 10, block)

        ends.addCallback(lambda _: reactor.stop())
        reactor.callWhenRunning(begin)
        reactor.run(installSignalHandlers=False)
    assert sorted(seen[:-1]) == ["connection", "data", "datagram", "result"]
    assert seen[-1] == "call"
