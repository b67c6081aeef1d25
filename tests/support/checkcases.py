"""Checks of a diagnosis against servers in the same reactor, whose clock the test sets."""

from collections.abc import Callable, Coroutine
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any, cast

from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from echoup.client.diagnose.finding import Finding
from echoup.client.diagnose.pathundertest import PathUnderTest, Tell
from echoup.client.diagnose.scope import Scope
from echoup.client.exitcodes import PathError
from echoup.client.target.stream import StreamTarget
from tests.support.doubles import ReactorTestCase

STEP = 0.01
"""Seconds between two looks at what has come."""

LONGEST = 120
"""Seconds that a check may take."""


class CheckTestCase(ReactorTestCase):
    """A test with a server, and with a check of the path to it."""

    check: Callable[[PathUnderTest, Tell], Coroutine[Any, Any, Finding]]
    """The one under test, as a static method."""
    timeout = 5.0
    """How long it waits for a step, unless a test says otherwise."""

    def listen(self, build: Callable[[], Protocol], **changes: Any) -> StreamTarget:
        """Let `build` make the protocol of each connection; return the target."""
        self.servers: list[Any] = []

        def make() -> Protocol:
            self.servers.append(build())
            return self.servers[-1]  # type: ignore[no-any-return]  # it's what was built

        port = self.reactor.listenTCP(0, Factory.forProtocol(make), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        # Inherited; otherwise a small piece waits for the acknowledgement of the last one by the kernel's clock.
        port.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        return StreamTarget("", "127.0.0.1", port.getHost().port, **changes)

    def start(self, target: StreamTarget, **scope: Any) -> "Deferred[Finding]":
        """Begin the check of the path to `target`."""
        self.path = PathUnderTest(
            cast("ReactorBase", self.reactor), target, Scope(**{"timeout": self.timeout, **scope})
        )
        self.told: list[str] = []
        return Deferred.fromCoroutine(type(self).check(self.path, self.told.append))

    def find(self, target: StreamTarget, **scope: Any) -> Finding:
        """Return what the check finds on the path to `target`; nothing may be left of it."""
        return self.successResultOf(self.made(self.start(target, **scope)))

    def causesOf(self, target: StreamTarget, **scope: Any) -> list[str]:
        """Return the causes of the problems that the check finds."""
        return [problem.cause for problem in self.find(target, **scope).problems]

    def breakOff(self, target: StreamTarget, **scope: Any) -> PathError:
        """Return why the check broke off."""
        error: PathError = self.failureResultOf(self.made(self.start(target, **scope)), PathError).value
        return error

    def made(self, checking: "Deferred[Finding]") -> "Deferred[Finding]":
        """Let the time pass until the check is over; check that no connection is left, nor a timer."""
        end = self.reactor.seconds() + LONGEST
        while not checking.called and self.reactor.seconds() < end:
            self.reactor.advance(STEP, STEP)
        self.assertNothingIsLeft()
        return checking

    def cancelAfter(self, target: StreamTarget, seconds: float, **scope: Any) -> None:
        """Cancel the check after a time; it must end at once, and leave nothing."""
        checking = self.start(target, **scope)
        self.reactor.advance(seconds, STEP)
        checking.addErrback(lambda _: None)
        checking.cancel()
        assert checking.called
        self.assertNothingIsLeft()

    def assertNothingIsLeft(self) -> None:
        """Close the path, and check that no connection is left, nor a timer."""
        closing = Deferred.fromCoroutine(self.path.close())
        # The protocol behind TLS has no such record.
        self.reactor.until(
            lambda: bool(closing.called) and all(getattr(server, "gone", True) for server in self.servers)
        )
        self.reactor.turn()
        assert self.reactor.getDelayedCalls() == []
