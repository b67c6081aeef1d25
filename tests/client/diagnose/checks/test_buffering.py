"""The check `buffering`, against servers in the same reactor."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, repeat
from math import inf
from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.checks import buffering
from echoup.client.diagnose.checks.buffering import CONFIRMATIONS, PIECES, Trickle
from echoup.client.diagnose.finding import Finding, Status
from echoup.client.exitcodes import ExitCode
from tests.support.checkcases import CheckTestCase
from tests.support.faultyrelays import fullBuffers, nothing, wholeLines
from tests.support.serverprotocols import Deserter, Mirror, Server, Silence


def came(*lags: float) -> Trickle:
    """Return pieces of 10 bytes, sent 0.1 s apart, each of which came after the given time, or not at all."""
    trickle = Trickle()
    for number, _ in enumerate(lags):
        trickle.send(10, number / 10)
    for at in sorted(number / 10 + lag for number, lag in enumerate(lags) if lag < inf):
        trickle.arrive(10, at)
    return trickle


class TrickleTests(SynchronousTestCase):
    """Pieces that are later than the fastest one were held back."""

    def test_samePieceForPieceIsHealthy(self) -> None:
        """A path that takes the same time for each piece holds nothing back, however long it takes."""
        trickle = came(*[0.5] * 8)
        assert not trickle.isHeldBack
        assert trickle.clumps == 8
        assert max(trickle.held) < 1e-9

    def test_pauseIsNoBuffering(self) -> None:
        """A pause of the machine that delays two pieces isn't enough."""
        assert not came(0.001, 0.001, 0.19, 0.09, 0.001, 0.03, 0.001, 0.001).isHeldBack

    def test_onePieceAtTheEnd(self) -> None:
        """Pieces that come all at once are one clump; the last one was held back for no time."""
        trickle = came(*[0.7 - number / 10 for number in range(8)])
        assert trickle.isHeldBack
        assert trickle.clumps == 1
        assert abs(trickle.held[0] - 0.7) < 1e-9
        assert trickle.held[-1] == 0

    def test_nothingCame(self) -> None:
        """Pieces that never come are held back without end."""
        trickle = came(*[inf] * 8)
        assert trickle.isHeldBack
        assert trickle.lags == trickle.held == [inf] * 8
        assert (trickle.clumps, trickle.received) == (0, 0)

    def test_partOfAPieceIsNotThePiece(self) -> None:
        """A piece has come back when its last byte has."""
        trickle = Trickle()
        trickle.send(10, 0)
        trickle.arrive(9, 1)
        assert trickle.lags == [inf]
        trickle.arrive(1, 2)
        assert trickle.lags == [2]


class BufferingTests(CheckTestCase):
    """What the check says."""

    check = staticmethod(buffering.check)

    def holding(self, ready: Callable[[bytes], int], seconds: float = inf, endless: bool = False) -> type[Server]:
        """Return a server that holds replies back until they are `ready`, for `seconds`, or until the client's end.

        One that is `endless` holds them then, too.
        """
        reactor = self.reactor

        class Holder(Server):
            held = b""
            timer: Any = None

            def dataReceived(self, data: bytes) -> None:
                if not self.held and seconds < inf:
                    self.timer = reactor.callLater(seconds, self.release)
                self.held += data.upper()
                self.release(ready(self.held))

            def release(self, count: int | None = None) -> None:
                count = len(self.held) if count is None else count
                self.transport.write(self.held[:count])
                self.held = self.held[count:]

            def readConnectionLost(self) -> None:
                if not endless:
                    self.release()
                super().readConnectionLost()

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                super().connectionLost(reason)
                if self.timer and self.timer.active():
                    self.timer.cancel()

        return Holder

    def assertHeld(self, finding: Finding, until: str, words: str) -> None:
        """Check the only problem."""
        (problem,) = finding.problems
        assert (problem.status, problem.cause) == (Status.WARN, f"held-until-{until}")
        assert words in problem.text
        assert finding.figures["until"] == until

    def test_streamingIsFine(self) -> None:
        """Nothing is said against a path that passes on each piece; one connection is enough to see that."""
        finding = self.find(self.listen(Server))
        assert (finding.status, len(self.servers)) == (Status.OK, 1)
        assert finding.figures["clumps"] == PIECES
        assert finding.figures["until"] is None

    def test_delayIsFine(self) -> None:
        """A path that takes half a second for each piece holds none back."""
        reactor = self.reactor

        class Far(Server):
            def dataReceived(self, data: bytes) -> None:
                reactor.callLater(0.5, self.transport.write, data.upper())

        assert self.find(self.listen(Far)).status is Status.OK

    def test_collectedForASecond(self) -> None:
        """What collects for a second sends everything in one piece."""
        finding = self.find(self.listen(self.holding(nothing, 1.0)))
        self.assertHeld(finding, "later", "come back in one piece, 1 s after the first was sent")
        assert abs(finding.figures["held"] - 0.7) < 0.05

    def test_clumps(self) -> None:
        """What collects for 0.25 s sends several clumps."""
        finding = self.find(self.listen(self.holding(nothing, 0.25)))
        self.assertHeld(finding, "later", "come back in 3 clumps")

    def test_partHeldToTheEnd(self) -> None:
        """Pieces that come together, and some of them only after our end, are named as that."""
        self.assertHeld(
            self.find(self.listen(self.holding(lambda held: len(held) // 48 * 48))), "later", "after our end"
        )

    def test_wholeLines(self) -> None:
        """What waits for a newline is told from what waits for more."""
        self.assertHeld(self.find(self.listen(self.holding(wholeLines))), "newline", "only when a newline follows")

    def test_fullBuffer(self) -> None:
        """What waits until its buffer is full is named with its size."""
        finding = self.find(self.listen(self.holding(fullBuffers)))
        self.assertHeld(finding, "full", "only when about 4 KiB are there, or our end")
        assert finding.figures["buffer"] == 4096

    def test_storedToTheEnd(self) -> None:
        """What sends nothing before our end is named."""
        finding = self.find(self.listen(self.holding(nothing)))
        self.assertHeld(finding, "end", "only after our end")
        assert finding.figures["held"] is None
        assert finding.figures["lags"] == [None] * PIECES

    def test_wholeLinesWithoutHalfClose(self) -> None:
        """What waits for a newline is named also where our end cuts the rest."""
        self.assertHeld(self.find(self.listen(self.holding(wholeLines, endless=True))), "newline", "newline")

    def test_oneBusyRunIsFine(self) -> None:
        """Pieces that were held back must be so again, each time."""
        for busy in range(1, CONFIRMATIONS + 1):
            kinds = chain([self.holding(nothing, 1.0)] * busy, repeat(Server))
            finding = self.find(self.listen(partial(_next, kinds)))
            assert (finding.status, len(self.servers)) == (Status.OK, busy + 1)

    def test_ownPausesAreNotThePaths(self) -> None:
        """A process that is paused each time can't tell anything."""
        reactor = self.reactor

        def busy(held: bytes) -> int:
            reactor.pause(0.5)
            return 0

        finding = self.find(self.listen(self.holding(busy, 3.0)))
        assert finding.isSkipped
        assert "paused" in finding.summary

    def test_silenceBreaksOff(self) -> None:
        """A server that never answers isn't one that holds back."""
        assert self.breakOff(self.listen(Silence), timeout=1.0).code is ExitCode.SHORT

    def test_wrongReplyBreaksOff(self) -> None:
        """Nor is one whose replies are wrong, or are cut, whether they come at once or at the end."""
        assert self.breakOff(self.listen(Mirror)).code is ExitCode.WRONG
        assert self.breakOff(self.listen(Deserter)).code is ExitCode.SHORT


def _next(kinds: Iterator[type[Server]]) -> Server:
    return next(kinds)()
