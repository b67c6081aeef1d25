"""Requirements: their grammar, and their exact judgement."""

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.exitcodes import ExitCode
from echoup.client.ping.requirement import Requirement, parseRequirement
from echoup.client.ping.statistics import Statistics
from tests.support.doubles import raised
from tests.support.properties import example, given, st
from tests.support.samples import probe, summed

PIECES = ["loss", "late", "p", "99", ".9", "100", "0", "avg", "outage", "<", "<=", ">", "1", "5", "%", "µs", "ms", "m"]
TEXTS = st.text() | st.lists(st.sampled_from([*PIECES, " ", "\n"]), max_size=7).map("".join)


class RequirementTests(SynchronousTestCase):
    """`parseRequirement` and `Requirement` hold the statistics to a limit."""

    def test_metricsHaveUnits(self) -> None:
        """Every metric has its units, and blanks don't matter."""
        for text, requirement in (
            ("p99<5ms", Requirement("p99<5ms", "p99", 0.005, False)),
            (" p99.99 <= .5 us ", Requirement("p99.99<=.5us", "p99.99", 5e-7, True)),
            ("avg<5µs", Requirement("avg<5µs", "avg", 5e-6, False)),
            ("avg<5μs", Requirement("avg<5μs", "avg", 5e-6, False)),
            ("outage<=1.5m", Requirement("outage<=1.5m", "outage", 90.0, True)),
            ("max<2s", Requirement("max<2s", "max", 2.0, False)),
            ("loss<0.7%", Requirement("loss<0.7%", "loss", 0.007, False)),
            ("late<=0", Requirement("late<=0", "late", 0.0, True)),
        ):
            assert parseRequirement(text) == requirement

    def test_unknownIsRefused(self) -> None:
        """An unknown metric, a unit of another metric, and a limit that is no number are refused."""
        for text in ("", "p99", "p99>5ms", "p99=5ms", "p99<5", "p99<5%", "p0<1s", "p100.1<1s", "p<1s", "loss<1"):
            assert raised(ValueError, parseRequirement, text), text
        for text in (
            "loss<1ms",
            "wrong<1",
            "late<1%",
            "late<1s",
            "avg<-1s",
            "avg<nans",
            "avg<1e3s",
            f"avg<{'9' * 400}s",
        ):
            assert raised(ValueError, parseRequirement, text), text

    @given(TEXTS)
    @example("avg<1s\n")
    @example("\ud800\u2028")
    def test_anyTextIsTakenOrRefused(self, text: str) -> None:
        """Any text is either a requirement, which is one line and means the same again, or refused in one line."""
        if error := raised(ValueError, parseRequirement, text):
            assert len(str(error).splitlines()) == 1
            return
        requirement = parseRequirement(text)
        assert requirement == parseRequirement(requirement.text)
        assert requirement.limit >= 0

    def test_limitIsExact(self) -> None:
        """A requirement is met below its limit; at the limit only with `<=`, and exactly so."""
        lost = [probe(seq, code=ExitCode.TIMED_OUT) for seq in range(1, 8)]
        statistics = summed(*lost, *(probe(seq, 0.25) for seq in range(8, 1001)))
        statistics.late = 2
        for text, isMet in {
            "loss<0.7%": False,
            "loss<=0.7%": True,
            "loss<0.71%": True,
            "p50<250ms": False,
            "p50<=250ms": True,
            "stddev<=0s": True,
            "late<2": False,
            "late<3": True,
            "duplicates<1": True,
            "outage<7s": False,
            "outage<8s": True,
        }.items():
            assert parseRequirement(text).isMet(statistics) == isMet, text

    def test_unknownValueIsNotMet(self) -> None:
        """No limit of a time is met without an answer or in an outage, and none at all before a probe is over."""
        everything = ["p50<9m", "max<9m", "loss<=100%", "outage<9m"]
        begun = Statistics()
        begun.sent += 1
        for statistics, met in ((summed(probe(code=ExitCode.SHORT)), everything[2:3]), (summed(), []), (begun, [])):
            assert [text for text in everything if parseRequirement(text).isMet(statistics)] == met

    def test_outageThatIsNotOverHasNoLength(self) -> None:
        """While the server is down no limit of the outage is met, whatever the outages before."""
        requirement = parseRequirement("outage<9m")
        lost = [probe(seq, code=ExitCode.TIMED_OUT) for seq in (1, 3)]
        statistics = summed(lost[0], probe(2))
        assert (requirement.value(statistics), requirement.isMet(statistics)) == (1.001, True)
        statistics = summed(lost[0], probe(2), lost[1])
        assert (requirement.value(statistics), requirement.isMet(statistics)) == (None, False)

    def test_noOutageIsZero(self) -> None:
        """Without a failure the longest outage is 0."""
        requirement = parseRequirement("outage<=0s")
        assert requirement.value(summed(probe())) == 0
        assert requirement.isMet(summed(probe()))
