"""The check `resolve`."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from echoup.client.connect import resolve
from echoup.client.connect.resolve import Family
from echoup.client.diagnose.checks import resolution as module
from echoup.client.diagnose.finding import Finding, Status
from echoup.client.diagnose.nameservers import query
from echoup.client.diagnose.nameservers.answers import Answer, DNSResult
from echoup.client.diagnose.nameservers.configuration import ResolverConfiguration
from echoup.client.diagnose.pathundertest import PathUnderTest
from echoup.client.diagnose.scope import Scope
from echoup.client.exitcodes import ExitCode
from echoup.client.target.stream import StreamTarget
from tests.support.doubles import ReactorTestCase
from tests.support.names import Names

NAME = "there.example"
SILENT = [Answer("A", DNSResult.SILENT), Answer("AAAA", DNSResult.SILENT)]


def found(*addresses: str) -> list[Answer]:
    """Return the answers of a nameserver that has these addresses of IPv4."""
    return [Answer("A", DNSResult.FOUND, 0.002, frozenset(addresses)), Answer("AAAA", DNSResult.NO_ADDRESS, 0.002)]


class ResolutionTests(ReactorTestCase):
    """The check `resolve` looks a name up, and asks each nameserver for it."""

    def setUp(self) -> None:
        """Know a name, and two nameservers."""
        super().setUp()
        Names({NAME: ["192.0.2.1", "2001:db8::1"], "here": ["127.0.0.1"]}).install(self)
        self.asked: list[tuple[str, str, list[str]]] = []
        self.answers: dict[str, list[Answer]] = {"10.0.0.1": found("192.0.2.1"), "10.0.0.2": found("192.0.2.1")}
        self.configuration = ResolverConfiguration(("10.0.0.1", "10.0.0.2"))
        self.patch(ResolverConfiguration, "read", lambda: self.configuration)
        self.patch(module, "isInHosts", lambda name: name == "here")
        self.patch(query, "ask", self.ask)

    async def ask(self, reactor: Any, clock: Any, nameserver: str, name: str, kinds: Iterable[str], *_: Any) -> Any:
        """Answer for a nameserver: at once, or not within the timeout."""
        self.asked.append((nameserver, name, [*kinds]))
        answers = self.answers[nameserver]
        if answers is SILENT:
            waiting: Deferred[None] = Deferred()
            call = clock.callLater(5, waiting.callback, None)
            try:
                await waiting
            finally:
                if call.active():
                    call.cancel()
        return answers

    def slow(self, *seconds: float) -> None:
        """Make the look-ups take this long, one after the other."""
        times = [*seconds]

        def giveUp(failure: Failure, call: IDelayedCall) -> Failure:
            call.cancel()
            return failure

        def lookUp(*_: object) -> "Deferred[list[str]]":
            waiting: Deferred[list[str]] = Deferred()
            call = self.reactor.callLater(times.pop(0), lambda: waiting.callback(["192.0.2.1"]))
            waiting.addErrback(giveUp, call)
            return waiting

        self.patch(resolve, "lookUp", lookUp)

    def start(self, host: str, family: Family = Family.ANY) -> tuple[PathUnderTest, "Deferred[Finding]"]:
        """Start the check."""
        path = PathUnderTest(self.reactor, StreamTarget("", host, 8081, family=family), Scope())
        check: Callable[..., Coroutine[Any, Any, Finding]] = module.check
        return path, Deferred.fromCoroutine(check(path, lambda _: None))

    def find(self, host: str, family: Family = Family.ANY, seconds: float = 0) -> tuple[PathUnderTest, Finding]:
        """Return the path and the finding, after some time."""
        path, finding = self.start(host, family)
        self.reactor.advance(seconds)
        return path, self.successResultOf(finding)

    def test_nameHasAddresses(self) -> None:
        """The addresses are in the order in which to try them, and the first one is used."""
        path, finding = self.find(NAME)
        assert (path.addresses, path.address, path.obstacle) == (["192.0.2.1", "2001:db8::1"], "192.0.2.1", "")
        expected = f"{NAME} has 2 addresses (192.0.2.1, 2001:db8::1), looked up in 0 ms; 2 nameservers in 2 ms"
        assert (finding.problems, finding.summary) == ((), expected)
        assert self.asked == [(each, NAME, ["A", "AAAA"]) for each in self.configuration.nameservers]
        assert finding.figures["addresses"] == path.addresses
        assert finding.figures["nameservers"][0]["answers"]["A"] == {
            "outcome": "found",
            "seconds": 0.002,
            "addresses": ["192.0.2.1"],
        }

    def test_onlyTheWantedFamilyIsAskedFor(self) -> None:
        """With -4 and -6 the nameservers are asked for one kind of address."""
        self.find(NAME, Family.IPV4)
        self.find(NAME, Family.IPV6)
        assert [kinds for *_, kinds in self.asked] == [["A"]] * 2 + [["AAAA"]] * 2

    def test_addressNeedsNoNameserver(self) -> None:
        """An address, and a name of /etc/hosts, need no nameserver."""
        for host in ("192.0.2.7", "2001:db8::7", "fe80::1%eth0"):
            path, finding = self.find(host)
            assert (path.addresses, path.address) == ([host], host)
            assert finding.summary == f"{host} is an address, nothing to look up"
        _, finding = self.find("here")
        assert finding.summary == "here has 1 address (127.0.0.1), looked up in 0 ms in /etc/hosts"
        assert self.asked == []

    def test_searchListIsFollowed(self) -> None:
        """A nameserver is asked for each name that the target's may stand for, until one has an address."""
        self.configuration = ResolverConfiguration(("10.0.0.1",), ("a.example", "b.example"))
        self.answers["10.0.0.1"] = [Answer("A", DNSResult.NO_NAME, 0.002), Answer("AAAA", DNSResult.NO_NAME, 0.002)]
        Names({"there": ["192.0.2.1"]}).install(self)
        _, finding = self.find("there")
        assert [name for _, name, _ in self.asked[:3]] == ["there.a.example", "there.b.example", "there"]
        assert finding.problems == ()

    def test_unknownNameIsAnObstacle(self) -> None:
        """A name without an address fails the check, and nothing more can be measured."""
        said = [Answer(kind, DNSResult.NO_NAME, 0.002) for kind in ("A", "AAAA")]
        self.answers = dict.fromkeys(self.answers, said)
        for host in ("nowhere.example", "ä" * 300, "x" * 300):
            path, finding = self.find(host)
            (problem,) = finding.problems
            assert (problem.status, problem.code) == (Status.FAIL, ExitCode.UNRESOLVED)
            assert finding.summary == problem.text
            assert (path.addresses, path.address, path.obstacle) == ([], None, f"{host} has no address")
        _, finding = self.find("192.0.2.1", Family.IPV6)
        assert [problem.cause for problem in finding.problems] == ["no-address"]

    def test_silenceOfAllEndsTheLookUp(self) -> None:
        """Where no nameserver answers, the look-up isn't waited for any longer."""
        self.answers = dict.fromkeys(self.answers, SILENT)
        self.slow(60)
        _, finding = self.find(NAME, seconds=5.1)
        (problem,) = finding.problems
        assert (problem.cause, problem.code) == ("no-nameserver", ExitCode.TIMED_OUT)

    def test_lookUpReachesTheSecondNameserver(self) -> None:
        """A look-up that waits for a silent nameserver first isn't cut short, and isn't repeated."""
        self.answers["10.0.0.1"] = SILENT
        self.slow(6)
        _, finding = self.find(NAME, seconds=6.1)
        (problem,) = finding.problems
        assert (problem.status, problem.cause) == (Status.WARN, "nameserver-silent")

    def test_slowLookUpIsRepeated(self) -> None:
        """A cold cache is told from a slow resolver."""
        self.slow(3, 0.1)
        _, finding = self.find(NAME, seconds=3.2)
        assert finding.problems == ()
        assert "looked up in 3 s at first" in finding.summary
        assert ": a cache was cold" in finding.summary
        self.slow(3, 2, 3)
        _, finding = self.find(NAME, seconds=8.1)
        assert [problem.cause for problem in finding.problems] == ["resolver-slow"]

    def test_doubtIsAskedAgain(self) -> None:
        """A failure that isn't repeated counts for nothing."""
        answers = [[Answer("A", DNSResult.FAILED, 0.002), Answer("AAAA", DNSResult.FAILED, 0.002)], found("192.0.2.1")]

        async def ask(reactor: Any, clock: Any, nameserver: str, *_: Any) -> Any:
            return found("192.0.2.1") if nameserver == "10.0.0.1" else answers.pop(0)

        self.patch(query, "ask", ask)
        _, finding = self.find(NAME)
        assert (finding.problems, answers) == ((), [])

    def test_cancellingEndsEverything(self) -> None:
        """Cancelling ends the look-up and the questions."""
        self.answers = dict.fromkeys(self.answers, SILENT)
        self.patch(resolve, "lookUp", lambda *_: Deferred())
        _, finding = self.start(NAME)
        self.reactor.advance(1)
        finding.cancel()
        self.failureResultOf(finding, CancelledError)
        assert self.reactor.getDelayedCalls() == []
