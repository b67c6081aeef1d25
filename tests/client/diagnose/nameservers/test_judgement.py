"""What look-ups and nameservers mean together."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.finding import Problem, Status
from echoup.client.diagnose.nameservers.answers import Answer, DNSResult, NameserverAnswers
from echoup.client.diagnose.nameservers.judgement import LookUp, isDoubtful, judge
from echoup.client.exitcodes import ExitCode, PathError

HOST = "there.example"
QUICK, LATE = LookUp(0.003, ["192.0.2.1"]), LookUp(5.1, ["192.0.2.1"])
ONE, OTHER = frozenset({"192.0.2.1"}), frozenset({"192.0.2.2"})


def answers(
    number: int,
    first: DNSResult | frozenset[str] = ONE,
    second: DNSResult | frozenset[str] = DNSResult.NO_ADDRESS,
    seconds: float = 0.002,
) -> NameserverAnswers:
    """Return what the nameserver 10.0.0.`number` says of A and AAAA: addresses, or a result."""

    def answer(kind: str, said: DNSResult | frozenset[str]) -> Answer:
        if isinstance(said, frozenset):
            return Answer(kind, DNSResult.FOUND, seconds, said)
        return Answer(kind, said, None if said in (DNSResult.SILENT, DNSResult.CLOSED) else seconds)

    return NameserverAnswers(f"10.0.0.{number}", HOST, (answer("A", first), answer("AAAA", second)))


def silent(number: int) -> NameserverAnswers:
    """Return that the nameserver 10.0.0.`number` doesn't answer."""
    return answers(number, DNSResult.SILENT, DNSResult.SILENT)


class EvidenceTests(SynchronousTestCase):
    """`judge` says which nameserver is at fault."""

    def judge(self, *lookUps: LookUp, of: list[NameserverAnswers]) -> list[Problem]:
        """Return the problems."""
        return list(judge(HOST, lookUps, of, 5))

    def assertFound(self, problems: list[Problem], *expected: tuple[Status, str]) -> None:
        """Check the problems' status and cause."""
        assert [(problem.status, problem.cause) for problem in problems] == [*expected]
        for problem in problems:
            assert problem.text
            assert problem.meaning
            assert problem.advice

    def test_healthyNameserversAreFine(self) -> None:
        """Quick nameservers that agree are fine, whether or not there are addresses of both kinds."""
        self.assertFound(self.judge(QUICK, of=[answers(1), answers(2)]))
        self.assertFound(self.judge(QUICK, of=[answers(1, ONE, OTHER)]))
        self.assertFound([*judge("localhost", [QUICK], [], 5)])

    def test_silentFirstNameserverIsNamed(self) -> None:
        """A first nameserver that is silent is named, with what it costs."""
        (problem,) = found = self.judge(LATE, of=[silent(1), answers(2)])
        self.assertFound(found, (Status.WARN, "nameserver-silent"))
        expected = "the first nameserver 10.0.0.1 does not answer; each look-up waits 5 s for it"
        assert problem.text == expected
        assert problem.seen[0] == "the look-up took 5.1 s"

    def test_silentReserveIsANote(self) -> None:
        """A later one that is silent costs nothing, nor does a first one beside a cache."""
        self.assertFound(self.judge(QUICK, of=[answers(1), silent(2)]), (Status.NOTE, "nameserver-silent"))
        self.assertFound(self.judge(QUICK, of=[silent(1), answers(2)]), (Status.NOTE, "nameserver-silent"))
        problems = self.judge(QUICK, of=[answers(1), silent(2), silent(3)])
        assert [problem.text for problem in problems] == [
            "the second nameserver 10.0.0.2 does not answer",
            "the third nameserver 10.0.0.3 does not answer",
        ]

    def test_unusedNameserversAreFine(self) -> None:
        """Where the resolver doesn't need the nameservers, as it has other sources, nothing is said of them."""
        closed = answers(1, DNSResult.CLOSED, DNSResult.CLOSED)
        refusing = answers(2, DNSResult.REFUSED, DNSResult.REFUSED)
        for unused in (silent(1), closed, refusing, answers(1, DNSResult.NO_NAME, DNSResult.NO_NAME)):
            self.assertFound(self.judge(QUICK, of=[unused]))

    def test_failingNameserverIsANote(self) -> None:
        """One that fails, while another answers, is named."""
        for outcome in (DNSResult.FAILED, DNSResult.REFUSED, DNSResult.CLOSED):
            found = self.judge(QUICK, of=[answers(1, outcome, outcome), answers(2)])
            self.assertFound(found, (Status.NOTE, "nameserver-fails"))
            assert found[0].text == f"nameserver 10.0.0.1 {outcome.value}"

    def test_oneKindFails(self) -> None:
        """One that has addresses of a kind, and fails for the other, is named."""
        for outcome in (DNSResult.SILENT, DNSResult.FAILED, DNSResult.NO_NAME):
            for said in ((ONE, outcome), (outcome, ONE)):
                found = self.judge(QUICK, of=[answers(1, *said)])
                self.assertFound(found, (Status.WARN, "one-kind-fails"))
        found = self.judge(LATE, of=[answers(1, ONE, DNSResult.SILENT)])
        self.assertFound(found, (Status.WARN, "one-kind-fails"))
        expected = "nameserver 10.0.0.1 does not answer when it is asked for AAAA, though it has A"
        assert found[0].text == expected

    def test_slowNameserverIsNamed(self) -> None:
        """Where each look-up is slow, the nameserver is named if it is slow itself, and else the resolver is."""
        found = self.judge(LATE, LATE, LATE, of=[answers(1, seconds=4)])
        self.assertFound(found, (Status.WARN, "nameserver-slow"))
        found = self.judge(LATE, LATE, LATE, of=[answers(1)])
        self.assertFound(found, (Status.WARN, "resolver-slow"))
        self.assertFound([*judge("here", [LATE, LATE, LATE], [], 5)], (Status.WARN, "resolver-slow"))

    def test_coldCacheIsFine(self) -> None:
        """A first look-up that is slow, and a process that was paused, say nothing."""
        self.assertFound(self.judge(LATE, QUICK, of=[answers(1)]))
        self.assertFound(self.judge(LookUp(5.1, ["192.0.2.1"], isPaused=True), of=[answers(1)]))

    def test_disagreementIsANote(self) -> None:
        """Nameservers with different answers are a note; some addresses in common, or too many to tell, are none."""
        disagree = (Status.NOTE, "nameservers-disagree")
        self.assertFound(self.judge(QUICK, of=[answers(1), answers(2, OTHER)]), disagree)
        self.assertFound(self.judge(QUICK, of=[answers(1), answers(2, DNSResult.NO_NAME, DNSResult.NO_NAME)]), disagree)
        self.assertFound(self.judge(QUICK, of=[answers(1), answers(2, ONE | OTHER)]))
        self.assertFound(self.judge(QUICK, of=[answers(1), answers(2, DNSResult.CUT)]))

    def test_doubtfulAnswersAreAskedForAgain(self) -> None:
        """A failure and a disagreement are worth another round; what both rounds say counts."""
        assert not isDoubtful([answers(1), answers(2), silent(3)])
        assert isDoubtful([answers(1), answers(2, OTHER)])
        failed = answers(1, DNSResult.FAILED, DNSResult.FAILED)
        assert isDoubtful([failed])
        merged = failed.mergedWith(answers(1, seconds=0.001))
        assert merged.results == {DNSResult.FOUND, DNSResult.NO_ADDRESS}
        assert merged.seconds == 0.001
        assert answers(1).mergedWith(answers(1, OTHER)).addresses == ONE | OTHER

    def test_failureIsExplained(self) -> None:
        """Where there is no address, what the nameservers say tells why."""
        unresolved = LookUp(0.1, [], PathError(ExitCode.UNRESOLVED, "no address found"))
        timedOut = LookUp(5, [], PathError(ExitCode.TIMED_OUT, "timed out after 5 s"))
        local = LookUp(0.1, [], PathError(ExitCode.LOCAL, "this machine allows no more threads"))
        noName = answers(1, DNSResult.NO_NAME, DNSResult.NO_NAME)
        failed = answers(1, DNSResult.FAILED, DNSResult.FAILED)
        nothing = answers(1, DNSResult.NO_ADDRESS)
        for lookUp, of, cause, code in (
            (unresolved, [noName], "no-such-name", ExitCode.UNRESOLVED),
            (unresolved, [noName, answers(2)], "resolver-fails", ExitCode.UNRESOLVED),
            (unresolved, [answers(1, DNSResult.CUT)], "resolver-fails", ExitCode.UNRESOLVED),
            (unresolved, [nothing], "no-address", ExitCode.UNRESOLVED),
            (unresolved, [], "no-address", ExitCode.UNRESOLVED),
            (unresolved, [failed], "nameservers-fail", ExitCode.UNRESOLVED),
            (timedOut, [silent(1), silent(2)], "no-nameserver", ExitCode.TIMED_OUT),
            (timedOut, [silent(1), answers(2)], "resolver-fails", ExitCode.TIMED_OUT),
            (local, [], "local-trouble", ExitCode.LOCAL),
        ):
            found = self.judge(lookUp, of=of)
            self.assertFound(found, (Status.FAIL, cause))
            assert found[0].code is code

    def test_answersAreDescribed(self) -> None:
        """Its line has what it said, and how long that took."""
        expected = "nameserver 10.0.0.1, asked for there.example: A 192.0.2.1; AAAA has no address of this kind"
        assert answers(1).describe() == f"{expected}, after 2 ms"
        assert (
            silent(1).describe()
            == "nameserver 10.0.0.1, asked for there.example: A does not answer; AAAA does not answer"
        )
