"""Test cases of checks, with servers in the same reactor."""

from collections.abc import Callable, Coroutine
from typing import Any, cast

from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from echoup.client.diagnose.finding import Finding
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.diagnose.scope import Scope
from echoup.client.target.security import Security
from echoup.client.target.stream import StreamTarget
from tests.support.doubles import ReactorTestCase

TIMEOUT = 2.0


class CheckTestCase(ReactorTestCase):
    """A test with a server, and a check of the path to it."""

    def check(self, path: PathUnderTest, tell: Tell) -> Coroutine[Any, Any, Finding]:
        """Return the check that is under test, begun."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Prepare for the paths that `begin` makes."""
        super().setUp()
        self.told: list[str] = []

    def pathTo(self, build: Callable[[], Protocol], isTLS: bool = False) -> PathUnderTest:
        """Return the path to a server, for each of whose connections `build` makes a protocol."""
        port = self.reactor.listenTCP(0, Factory.forProtocol(build), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        security = Security(insecure=True) if isTLS else None
        target = StreamTarget("", "127.0.0.1", port.getHost().port, security)
        return PathUnderTest(cast("ReactorBase", self.reactor), target, Scope(timeout=TIMEOUT))

    def begin(self, path: PathUnderTest) -> "Deferred[Finding]":
        """Begin the check of `path`."""
        return Deferred.fromCoroutine(self.check(path, self.told.append))

    def find(self, build: Callable[[], Protocol], isTLS: bool = False, limit: float = 120.0) -> Finding:
        """Return what the check finds about the path to a server that `build` makes, within `limit` seconds."""
        path = self.pathTo(build, isTLS)
        checking, outcome = self.begin(path), list[Finding | Failure]()
        checking.addBoth(outcome.append)
        self.end(path, outcome, limit)
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        assert isinstance(outcome[0], Finding)
        return outcome[0]

    def end(self, path: PathUnderTest, outcome: list[Any], limit: float = 120.0) -> None:
        """Let time pass until there is an outcome; nothing of the check may be left."""
        end = self.reactor.seconds() + limit
        while not outcome:
            assert self.reactor.seconds() < end, "the check takes too long"
            self.reactor.advance(0.05)
        closing = Deferred.fromCoroutine(path.close())
        self.reactor.until(lambda: bool(closing.called))
        self.reactor.turn()
        assert self.reactor.getDelayedCalls() == []

    def causesOf(self, build: Callable[[], Protocol], isTLS: bool = False) -> list[str]:
        """Return the causes of the problems that the check finds."""
        return [problem.cause for problem in self.find(build, isTLS).problems]
