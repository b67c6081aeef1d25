"""Resolving names, and the system's resolver."""

import socket
import threading
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from zope.interface.verify import verifyObject

from echoup.client.connect import resolve as module
from echoup.client.connect.resolve import Family, Resolution, Resolver, resolve
from echoup.client.connect.trace import Step, Trace
from echoup.client.exitcodes import ExitCode, PathError
from tests.support.doubles import ReactorTestCase
from tests.support.names import Names


class ResolveTests(ReactorTestCase):
    """`resolve` returns the addresses, in the order in which to try them."""

    def setUp(self) -> None:
        """Know a name."""
        super().setUp()
        self.reactor.installNameResolver(Names({"there": ["::1", "::2", "::3", "127.0.0.1", "127.0.0.2"]}))
        self.trace = Trace(self.reactor.seconds)

    def resolve(self, host: str, family: Family = Family.ANY) -> "Deferred[list[str]]":
        """Return the outcome of resolving `host`."""
        return Deferred.fromCoroutine(resolve(self.reactor, host, family, 2.5, self.trace))

    def test_familiesTakeTurns(self) -> None:
        """The families take turns, beginning with that of the first address; the trace has the step and its outcome."""
        addresses = ["::1", "127.0.0.1", "::2", "127.0.0.2", "::3"]
        assert self.successResultOf(self.resolve("there")) == addresses
        (phase,) = self.trace.phases
        assert (phase.step, phase.details, phase.seconds) == (Step.RESOLVE, {"addresses": addresses}, 0.0)

    def test_addressIsItself(self) -> None:
        """An address is returned unchanged, also with the name of an interface, and makes no step."""
        for host in ("192.0.2.1", "2001:db8::1", "fe80::1%eth0"):
            assert self.successResultOf(self.resolve(host)) == [host]
        assert self.successResultOf(self.resolve("192.0.2.1", Family.IPV4)) == ["192.0.2.1"]
        assert self.trace.phases == []

    def assertUnresolved(self, host: str, family: Family, message: str) -> None:
        """Check that resolving fails with `message`."""
        error = self.failureResultOf(self.resolve(host, family), PathError).value
        assert (error.code, str(error)) == (ExitCode.UNRESOLVED, message)

    def test_otherFamilyIsUnresolved(self) -> None:
        """Addresses of the other family are none; the resolver is asked for the wanted family only."""
        self.assertUnresolved("192.0.2.1", Family.IPV6, "cannot resolve 192.0.2.1: it is no IPv6 address")
        self.assertUnresolved("::1", Family.IPV4, "cannot resolve ::1: it is no IPv4 address")
        assert [phase.step for phase in self.trace.phases] == [Step.RESOLVE] * 2
        self.assertUnresolved("nowhere", Family.IPV4, "cannot resolve nowhere: no IPv4 address found")
        self.assertUnresolved("nowhere", Family.ANY, "cannot resolve nowhere: no address found")
        self.reactor.installNameResolver(SystemNames({}))
        assert self.successResultOf(self.resolve("there", Family.IPV4)) == ["127.0.0.4"]
        assert self.successResultOf(self.resolve("there", Family.IPV6)) == ["::6"]

    def test_resolverErrorIsReported(self) -> None:
        """A resolver that can't answer is told apart from a name without addresses."""
        names = Names({})
        names.error = "Temporary failure in name resolution"  # type: ignore[attr-defined]  # as Resolution has it
        self.reactor.installNameResolver(names)
        self.assertUnresolved("there", Family.ANY, "cannot resolve there: Temporary failure in name resolution")

    def test_slowResolverTimesOut(self) -> None:
        """A resolver that takes too long is given up, and its late answer is ignored."""
        names = Names({"there": ["127.0.0.1"]})
        receivers: list[Any] = []
        self.patch(names, "resolveHostName", lambda receiver, *_: receivers.append(receiver))
        self.reactor.installNameResolver(names)
        resolving = self.resolve("there")
        self.reactor.advance(2.4)
        self.assertNoResult(resolving)
        self.reactor.advance(0.2)
        error = self.failureResultOf(resolving, PathError).value
        assert (error.code, str(error)) == (ExitCode.TIMED_OUT, "cannot resolve there: timed out after 2.5 s")
        receivers[0].resolutionComplete()
        assert self.trace.phases[0].seconds is None


class SystemNames(Names):
    """Knows one address of each family for every name."""

    def resolveHostName(self, resolutionReceiver: Any, hostName: str, *others: Any, **named: Any) -> Any:
        """Return the address of the one family that is asked for."""
        (kind,) = others[1]
        self.known = {hostName: ["127.0.0.4" if kind.__name__ == "IPv4Address" else "::6"]}
        return super().resolveHostName(resolutionReceiver, hostName)


class Receiver:
    """Receives what is resolved."""

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.isComplete = False

    def resolutionBegan(self, resolution: Resolution) -> None:
        """Keep it."""
        self.resolution = resolution

    def addressResolved(self, address: Any) -> None:
        """Keep it."""
        self.found.append(address)

    def resolutionComplete(self) -> None:
        """Note it."""
        self.isComplete = True


class ResolverTests(ReactorTestCase):
    """`Resolver` returns the system's answers."""

    def setUp(self) -> None:
        """Make a resolver."""
        super().setUp()
        self.resolver = Resolver(self.reactor)

    def resolve(self, name: str, *others: Any) -> Receiver:
        """Return what comes of resolving a name."""
        receiver = Receiver()
        resolution = self.resolver.resolveHostName(receiver, name, *others)  # type: ignore[arg-type]  # it does for one
        verifyObject(IHostResolution, resolution)
        self.reactor.until(lambda: receiver.isComplete)
        return receiver

    def answer(self, *answers: Any) -> None:
        """Let the system answer every question with these addresses, or an error."""
        self.asked: list[Any] = []

        def getaddrinfo(*question: Any) -> list[Any]:
            self.asked.append(question)
            if isinstance(answers[0], Exception):
                raise answers[0]
            return [(family, 0, 0, "", address) for family, address in answers]

        self.patch(module, "getaddrinfo", getaddrinfo)

    def test_systemIsAsked(self) -> None:
        """The system is asked, and knows its own name."""
        verifyObject(IHostnameResolver, self.resolver)
        receiver = self.resolve("localhost", 8081)
        assert {address.port for address in receiver.found} == {8081}
        assert {address.host for address in receiver.found} <= {"127.0.0.1", "::1"}
        assert (receiver.resolution.name, receiver.resolution.error) == ("localhost", None)

    def test_familyAndTransportAreAskedFor(self) -> None:
        """Addresses are of the family and the transport that were asked for."""
        self.answer((socket.AF_INET6, ("::1", 1, 0, 0)), (socket.AF_INET, ("127.0.0.1", 1)))
        assert self.resolve("a", 1).found == [IPv6Address("TCP", "::1", 1), IPv4Address("TCP", "127.0.0.1", 1)]
        assert self.resolve("a", 1, [IPv4Address], "UDP").found[1] == IPv4Address("UDP", "127.0.0.1", 1)
        self.resolve("a", 1, [IPv6Address])
        assert self.asked == [
            ("a", 1, socket.AF_UNSPEC, socket.SOCK_STREAM),
            ("a", 1, socket.AF_INET, socket.SOCK_DGRAM),
            ("a", 1, socket.AF_INET6, socket.SOCK_STREAM),
        ]

    def test_errorIsNoAnswer(self) -> None:
        """That a name has no address is an answer; any other error is none, and is kept with its reason."""
        failure = "Temporary failure in name resolution"
        for error, told in (
            (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), None),
            (socket.gaierror(socket.EAI_NODATA, "No address associated with hostname"), None),
            (socket.gaierror(socket.EAI_AGAIN, failure), failure),
            (OSError(24, "Too many open files"), "Too many open files"),
            (UnicodeError("label too long"), "label too long"),
        ):
            self.answer(error)
            receiver = self.resolve("a")
            assert (receiver.found, receiver.resolution.error) == ([], told)

    def test_slowNameDelaysNothing(self) -> None:
        """A slow name delays neither another name nor the end of the process."""
        slow = threading.Event()
        self.addCleanup(slow.set)

        def getaddrinfo(name: str, *_: object) -> list[Any]:
            if name == "slow":
                slow.wait()
            return []

        self.patch(module, "getaddrinfo", getaddrinfo)
        waiting = Receiver()
        self.resolver.resolveHostName(waiting, "slow").cancel()  # type: ignore[arg-type]  # as above
        self.resolve("quick")
        assert not waiting.isComplete
        assert all(thread.daemon for thread in self.resolver._pool.threads)
        slow.set()
        self.reactor.until(lambda: waiting.isComplete)
