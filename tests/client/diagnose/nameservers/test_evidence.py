"""What look-ups and nameservers mean together."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.finding import Problem, Status
from echoup.client.diagnose.nameservers.answer import Answer, Outcome, Witness
from echoup.client.diagnose.nameservers.configuration import ResolverConfiguration
from echoup.client.diagnose.nameservers.evidence import LookUp, describeWitness, isOutvoted, judge
from echoup.client.exitcodes import ExitCode, PathError

HOST = "there.example"
QUICK, LATE = LookUp(0.003, ["192.0.2.1"]), LookUp(5.1, ["192.0.2.1"])
ONE, OTHER = frozenset({"192.0.2.1"}), frozenset({"192.0.2.2"})


def witness(
    number: int,
    first: Outcome | frozenset[str] = ONE,
    second: Outcome | frozenset[str] = Outcome.NO_ADDRESS,
    seconds: float = 0.002,
) -> Witness:
    """Return what the nameserver 10.0.0.`number` says of A and AAAA: addresses, or an outcome."""

    def answer(kind: str, said: Outcome | frozenset[str]) -> Answer:
        if isinstance(said, frozenset):
            return Answer(kind, Outcome.FOUND, seconds, said)
        return Answer(kind, said, None if said in (Outcome.SILENT, Outcome.CLOSED) else seconds)

    return Witness(f"10.0.0.{number}", HOST, (answer("A", first), answer("AAAA", second)))


def silent(number: int) -> Witness:
    """Return that the nameserver 10.0.0.`number` doesn't answer."""
    return witness(number, Outcome.SILENT, Outcome.SILENT)


class EvidenceTests(SynchronousTestCase):
    """`judge` says which nameserver is at fault."""

    def judge(self, *lookUps: LookUp, of: list[Witness], rotates: bool = False) -> list[Problem]:
        """Return the problems."""
        configuration = ResolverConfiguration(tuple(each.nameserver for each in of), rotates=rotates)
        return list(judge(HOST, lookUps, of, configuration))

    def assertFound(self, problems: list[Problem], *expected: tuple[Status, str]) -> None:
        """Check the problems' status and cause."""
        assert [(problem.status, problem.cause) for problem in problems] == [*expected]
        for problem in problems:
            assert problem.text
            assert problem.meaning
            assert problem.advice

    def test_healthyNameserversAreFine(self) -> None:
        """Quick nameservers that agree are fine, whether or not there are addresses of both kinds."""
        self.assertFound(self.judge(QUICK, of=[witness(1), witness(2)]))
        self.assertFound(self.judge(QUICK, of=[witness(1, ONE, OTHER)]))
        self.assertFound([*judge("localhost", [QUICK], [], None)])

    def test_silentFirstNameserverIsNamed(self) -> None:
        """A first nameserver that is silent is named, with what it costs."""
        (problem,) = found = self.judge(LATE, of=[silent(1), witness(2)])
        self.assertFound(found, (Status.WARN, "nameserver-silent"))
        expected = "the first nameserver 10.0.0.1 does not answer; each look-up waits 5 s for it"
        assert problem.text == expected
        assert problem.seen[0] == "the look-up took 5.1 s"

    def test_silentReserveIsANote(self) -> None:
        """A later one that is silent costs nothing, unless they take turns; nor does a first one beside a cache."""
        self.assertFound(self.judge(QUICK, of=[witness(1), silent(2)]), (Status.NOTE, "nameserver-silent"))
        self.assertFound(self.judge(QUICK, of=[silent(1), witness(2)]), (Status.NOTE, "nameserver-silent"))
        found = self.judge(LATE, of=[witness(1), silent(2)], rotates=True)
        self.assertFound(found, (Status.WARN, "nameserver-silent"))
        (problem,) = self.judge(QUICK, of=[witness(1), silent(2), silent(3)])
        assert problem.text == "the second nameserver 10.0.0.2 and the third nameserver 10.0.0.3 do not answer"

    def test_unusedNameserversAreFine(self) -> None:
        """Where the resolver doesn't need the nameservers, as it has other sources, nothing is said of them."""
        closed = witness(1, Outcome.CLOSED, Outcome.CLOSED)
        refusing = witness(2, Outcome.REFUSED, Outcome.REFUSED)
        for unused in (silent(1), closed, refusing, witness(1, Outcome.NO_NAME, Outcome.NO_NAME)):
            self.assertFound(self.judge(QUICK, of=[unused]))

    def test_failingNameserverIsANote(self) -> None:
        """One that fails, while another answers, is named."""
        for outcome in (Outcome.FAILED, Outcome.REFUSED, Outcome.CLOSED):
            found = self.judge(QUICK, of=[witness(1, outcome, outcome), witness(2)])
            self.assertFound(found, (Status.NOTE, "nameserver-fails"))
            assert found[0].text == f"nameserver 10.0.0.1 {outcome.value}"

    def test_oneKindFails(self) -> None:
        """One that has addresses of a kind, and fails for the other, is named."""
        for outcome in (Outcome.SILENT, Outcome.FAILED, Outcome.NO_NAME):
            for said in ((ONE, outcome), (outcome, ONE)):
                found = self.judge(QUICK, of=[witness(1, *said)])
                self.assertFound(found, (Status.WARN, "one-kind-fails"))
        found = self.judge(LATE, of=[witness(1, ONE, Outcome.SILENT)])
        self.assertFound(found, (Status.WARN, "one-kind-fails"))
        expected = (
            "nameserver 10.0.0.1 does not answer when it is asked for AAAA, though it has A, and a look-up takes 5.1 s"
        )
        assert found[0].text == expected

    def test_slowNameserverIsNamed(self) -> None:
        """Where each look-up is slow, the nameserver is named if it is slow itself, and else the resolver is."""
        found = self.judge(LATE, LATE, LATE, of=[witness(1, seconds=4)])
        self.assertFound(found, (Status.WARN, "nameserver-slow"))
        found = self.judge(LATE, LATE, LATE, of=[witness(1)])
        self.assertFound(found, (Status.WARN, "resolver-slow"))
        self.assertFound([*judge("here", [LATE, LATE, LATE], [], None)], (Status.WARN, "resolver-slow"))

    def test_coldCacheIsFine(self) -> None:
        """A first look-up that is slow, and a process that was paused, say nothing."""
        self.assertFound(self.judge(LATE, QUICK, of=[witness(1)]))
        self.assertFound(self.judge(LookUp(5.1, ["192.0.2.1"], isPaused=True), of=[witness(1)]))

    def test_disagreementIsANote(self) -> None:
        """Nameservers with different answers are a note; some addresses in common, or too many to tell, are none."""
        disagree = (Status.NOTE, "nameservers-disagree")
        self.assertFound(self.judge(QUICK, of=[witness(1), witness(2, OTHER)]), disagree)
        self.assertFound(self.judge(QUICK, of=[witness(1), witness(2, Outcome.NO_NAME, Outcome.NO_NAME)]), disagree)
        self.assertFound(self.judge(QUICK, of=[witness(1), witness(2, ONE | OTHER)]))
        self.assertFound(self.judge(QUICK, of=[witness(1), witness(2, frozenset())]))

    def test_doubtfulAnswersAreAskedForAgain(self) -> None:
        """A failure and a disagreement are worth another round; what both rounds say counts."""
        assert not isOutvoted([witness(1), witness(2), silent(3)])
        assert isOutvoted([witness(1), witness(2, OTHER)])
        failed = witness(1, Outcome.FAILED, Outcome.FAILED)
        assert isOutvoted([failed])
        merged = failed.mergedWith(witness(1, seconds=0.001))
        assert merged.outcomes == {Outcome.FOUND, Outcome.NO_ADDRESS}
        assert merged.seconds == 0.001
        assert witness(1).mergedWith(witness(1, OTHER)).addresses == ONE | OTHER

    def test_failureIsExplained(self) -> None:
        """Where there is no address, what the nameservers say tells why."""
        unresolved = LookUp(0.1, [], PathError(ExitCode.UNRESOLVED, "no address found"))
        timedOut = LookUp(5, [], PathError(ExitCode.TIMED_OUT, "timed out after 5 s"))
        local = LookUp(0.1, [], PathError(ExitCode.LOCAL, "this machine allows no more threads"))
        noName = witness(1, Outcome.NO_NAME, Outcome.NO_NAME)
        failed = witness(1, Outcome.FAILED, Outcome.FAILED)
        nothing = witness(1, Outcome.NO_ADDRESS)
        for lookUp, of, cause, code in (
            (unresolved, [noName], "no-such-name", ExitCode.UNRESOLVED),
            (unresolved, [noName, witness(2)], "resolver-fails", ExitCode.UNRESOLVED),
            (unresolved, [nothing], "no-address", ExitCode.UNRESOLVED),
            (unresolved, [], "no-address", ExitCode.UNRESOLVED),
            (unresolved, [failed], "nameservers-fail", ExitCode.UNRESOLVED),
            (timedOut, [silent(1), silent(2)], "no-nameserver", ExitCode.TIMED_OUT),
            (timedOut, [silent(1), witness(2)], "resolver-fails", ExitCode.TIMED_OUT),
            (local, [], "local-trouble", ExitCode.LOCAL),
        ):
            found = self.judge(lookUp, of=of)
            self.assertFound(found, (Status.FAIL, cause))
            assert found[0].code is code

    def test_witnessIsDescribed(self) -> None:
        """Its line has what it said, and how long that took."""
        expected = "nameserver 10.0.0.1, asked for there.example: A 192.0.2.1; AAAA has no address of this kind"
        assert describeWitness(witness(1)) == f"{expected}, after 2 ms"
        assert describeWitness(silent(1)) == "nameserver 10.0.0.1, asked for there.example, does not answer"
