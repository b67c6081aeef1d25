"""Finding the address of a target that answers datagrams."""

import os
from errno import EAFNOSUPPORT
from typing import NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError

from echoup.client.connect import resolve
from echoup.client.datagram import DatagramClient
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.target.datagram import DatagramTarget
from tests.support.doubles import ReactorTestCase
from tests.support.names import Names

TIMEOUT = 10.0


class DatagramTargetTests(ReactorTestCase):
    """`DatagramTarget.connect` finds the address, or reports in one line what failed."""

    def setUp(self) -> None:
        """Know a name."""
        super().setUp()
        Names({"six": ["::1"]}).install(self)

    def connect(self, target: DatagramTarget) -> "Deferred[DatagramClient]":
        """Return a client of `target`."""
        return Deferred.fromCoroutine(target.connect(self.reactor, TIMEOUT, lambda _: None))

    def assertUnreachable(self, target: DatagramTarget, code: ExitCode, message: str) -> None:
        """Check that there is no client of `target`, and no port is left of it."""
        connecting = self.connect(target)
        self.reactor.turn()
        error = self.failureResultOf(connecting, PathError).value
        assert (error.code, str(error)) == (code, message)
        assert set(self.reactor.getReaders()) - self.reactor._internalReaders == set()

    def test_nameIsItsDescription(self) -> None:
        """It is named in the form in which users write it."""
        assert str(DatagramTarget("there", 1)) == "udp:there:1"
        assert str(DatagramTarget("::1", 1)) == "udp:[::1]:1"

    def test_unknownNameIsUnresolved(self) -> None:
        """A name without an address is reported."""
        message = "cannot resolve nowhere: no address found"
        self.assertUnreachable(DatagramTarget("nowhere", 1), ExitCode.UNRESOLVED, message)

    def test_slowResolverTimesOut(self) -> None:
        """A name that isn't resolved in time is reported, and a late answer is ignored."""
        answer: Deferred[list[str]] = Deferred()
        self.patch(resolve, "lookUp", lambda *_: answer)
        connecting = self.connect(DatagramTarget("slow", 1))
        self.reactor.advance(TIMEOUT - 0.5, step=0.5)
        self.assertNoResult(connecting)
        self.reactor.advance(0.5)
        error = self.failureResultOf(connecting, PathError).value
        assert (error.code, str(error)) == (ExitCode.TIMED_OUT, "cannot resolve slow: timed out after 10 s")
        answer.callback(["192.0.2.1"])

    def test_forbiddenAddressIsUnreachable(self) -> None:
        """An address to which the system sends nothing is reported."""
        Names({"everybody": ["255.255.255.255"]}).install(self)
        why = "Permission denied (this machine does not send to that address)"
        message = f"cannot send to udp:everybody:1 (255.255.255.255:1): {why}"
        self.assertUnreachable(DatagramTarget("everybody", 1), ExitCode.LOCAL, message)

    def test_missingFamilyIsUnreachable(self) -> None:
        """An address of a family that this machine doesn't have is reported."""

        def fail(*_: object) -> NoReturn:
            raise CannotListenError("::", 0, OSError(EAFNOSUPPORT, os.strerror(EAFNOSUPPORT)))

        self.patch(self.reactor, "listenUDP", fail)
        why = "Address family not supported by protocol (this machine does not support this version of IP)"
        self.assertUnreachable(DatagramTarget("six", 1), ExitCode.LOCAL, f"cannot send to udp:six:1 ([::1]:1): {why}")
