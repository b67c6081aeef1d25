"""Resolving names, and the system's resolver."""

import socket
import threading
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from echoup.client.connect import resolve as module
from echoup.client.connect.resolve import Family, lookUp, resolve
from echoup.client.connect.trace import Step, Trace
from echoup.client.exitcodes import ExitCode, PathError
from echoup.clock import RunningTime
from tests.support.doubles import ReactorTestCase
from tests.support.names import Names


class ResolveTests(ReactorTestCase):
    """`resolve` returns the addresses, in the order in which to try them."""

    def setUp(self) -> None:
        """Know a name."""
        super().setUp()
        Names({"there": ["::1", "::2", "::3", "127.0.0.1", "127.0.0.2"]}).install(self)
        self.trace = Trace(self.reactor.seconds)

    def resolve(self, host: str, family: Family = Family.ANY) -> "Deferred[list[str]]":
        """Return the outcome of resolving `host`."""
        return Deferred.fromCoroutine(resolve(self.reactor, host, family, 2.5, self.trace, RunningTime(self.reactor)))

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
        self.assertUnresolved("192.0.2.1", Family.IPV6, "cannot resolve 192.0.2.1: not an IPv6 address")
        self.assertUnresolved("::1", Family.IPV4, "cannot resolve ::1: not an IPv4 address")
        assert [phase.step for phase in self.trace.phases] == [Step.RESOLVE] * 2
        self.assertUnresolved("nowhere", Family.IPV4, "cannot resolve nowhere: no IPv4 address found")
        self.assertUnresolved("nowhere", Family.ANY, "cannot resolve nowhere: no address found")
        hosts = {Family.IPV4: "127.0.0.4", Family.IPV6: "::6"}
        self.patch(module, "lookUp", lambda *question: succeed([hosts[question[-1]]]))
        assert self.successResultOf(self.resolve("there", Family.IPV4)) == ["127.0.0.4"]
        assert self.successResultOf(self.resolve("there", Family.IPV6)) == ["::6"]

    def test_resolverErrorIsReported(self) -> None:
        """That a name has no address is an answer; any other error is none, and is reported with its reason."""
        failure = "Temporary failure in name resolution"
        for error, told in (
            (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "no address found"),
            (socket.gaierror(socket.EAI_NODATA, "No address associated with hostname"), "no address found"),
            (socket.gaierror(socket.EAI_AGAIN, failure), failure),
            (OSError(5, "Input/output error"), "Input/output error"),
            (UnicodeError("label too long"), "label too long"),
        ):
            self.patch(module, "lookUp", lambda *_, error=error: fail(error))
            self.assertUnresolved("there", Family.ANY, f"cannot resolve there: {told}")

    def test_nameIsAskedForInASCII(self) -> None:
        """The system is asked for a name as DNS has it, with its dot at the end; a failure tells both spellings."""
        asked: list[str] = []

        def lookUp(reactor: object, name: str, family: Family) -> "Deferred[list[str]]":
            asked.append(name)
            return succeed([])

        self.patch(module, "lookUp", lookUp)
        for host, name, called in (
            ("faß.example.", "xn--fa-hia.example.", "faß.example. (xn--fa-hia.example.)"),
            ("ex\u0430mple", "xn--exmple-4nf", "ex\u0430mple (xn--exmple-4nf)"),
            ("my_Host.example", "my_Host.example", "my_Host.example"),
        ):
            self.assertUnresolved(host, Family.ANY, f"cannot resolve {called}: no address found")
            assert asked.pop() == name

    def test_noNameIsReported(self) -> None:
        """What can't be a name is reported, and nothing is asked."""
        self.patch(module, "lookUp", lambda *_: self.fail("the system was asked"))
        error = self.failureResultOf(self.resolve("a\u200db"), PathError).value
        assert error.code is ExitCode.UNRESOLVED
        assert str(error).startswith("cannot resolve a\u200db: ")

    def test_localTroubleIsReported(self) -> None:
        """That there are no descriptors, or no threads, is no answer about the name, and local trouble."""

        def refuse(*_: object) -> "Deferred[list[str]]":
            raise RuntimeError("can't start new thread")

        files = "Too many open files (this process has no file descriptors left, see ulimit -n)"
        for answer, told in (
            (lambda *_: fail(OSError(24, "Too many open files")), files),
            (refuse, "this machine allows no more threads"),
        ):
            self.patch(module, "lookUp", answer)
            error = self.failureResultOf(self.resolve("there"), PathError).value
            assert (error.code, str(error)) == (ExitCode.LOCAL, f"cannot resolve there: {told}")

    def test_slowResolverTimesOut(self) -> None:
        """A resolver that takes too long is given up, and its late answer is ignored."""
        answer: Deferred[list[str]] = Deferred()
        self.patch(module, "lookUp", lambda *_: answer)
        resolving = self.resolve("there")
        self.reactor.advance(2.4)
        self.assertNoResult(resolving)
        self.reactor.advance(0.2)
        error = self.failureResultOf(resolving, PathError).value
        assert (error.code, str(error)) == (ExitCode.TIMED_OUT, "cannot resolve there: timed out after 2.5 s")
        answer.callback(["127.0.0.1"])
        assert self.trace.phases[0].seconds is None


class LookUpTests(ReactorTestCase):
    """`lookUp` returns the system's answers."""

    def lookUp(self, name: str, family: Family = Family.ANY) -> "Deferred[list[str]]":
        """Return what comes of looking up a name."""
        found = lookUp(self.reactor, name, family)
        self.reactor.until(lambda: bool(found.called))
        return found

    def test_systemIsAsked(self) -> None:
        """The system is asked, and knows its own name."""
        found = self.successResultOf(self.lookUp("localhost"))
        assert found
        assert set(found) <= {"127.0.0.1", "::1"}

    def test_familyIsAskedFor(self) -> None:
        """The system is asked for addresses of the wanted family, and they keep its order and their interfaces."""
        asked: list[Any] = []

        def getaddrinfo(*question: object) -> list[Any]:
            asked.append(question)
            return [
                (socket.AF_INET6, 0, 0, "", ("fe80::1", 0, 0, socket.if_nametoindex("lo"))),
                (socket.AF_INET, 0, 0, "", ("127.0.0.1", 0)),
            ]

        self.patch(module, "getaddrinfo", getaddrinfo)
        for family in Family:
            assert self.successResultOf(self.lookUp("a", family)) == ["fe80::1%lo", "127.0.0.1"]
        families = [socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6]
        assert asked == [("a", 0, family, socket.SOCK_STREAM) for family in families]

    def test_errorIsPassedOn(self) -> None:
        """An error of the system's resolver, and of a name that can't be one, is passed on."""
        error = OSError(24, "Too many open files")
        self.patch(module, "getaddrinfo", lambda *_: (_ for _ in ()).throw(error))
        assert self.failureResultOf(self.lookUp("a")).value is error
        self.patch(module, "getaddrinfo", socket.getaddrinfo)
        self.failureResultOf(self.lookUp("a" * 64), UnicodeError)

    def test_slowNameDelaysNothing(self) -> None:
        """A slow name delays neither another name nor the end of the process."""
        slow = threading.Event()
        self.addCleanup(slow.set)

        def getaddrinfo(name: str, *_: object) -> list[Any]:
            if name == "slow":
                slow.wait()
                return []
            return [(0, 0, 0, "", (str(threading.current_thread().daemon), 0))]

        self.patch(module, "getaddrinfo", getaddrinfo)
        waiting = lookUp(self.reactor, "slow", Family.ANY)
        assert self.successResultOf(self.lookUp("quick")) == ["True"]
        assert not waiting.called
        slow.set()
        self.reactor.until(lambda: bool(waiting.called))
