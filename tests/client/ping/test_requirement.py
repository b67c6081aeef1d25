"""Requirements: their grammar, and their exact judgement."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from trustme import CA
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.connect.trace import Phase, Step
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.ping.requirement import CERTIFICATE, STEPS, Requirement, parseRequirement
from echoup.client.ping.result import Result
from echoup.client.ping.schedule import Schedule
from echoup.client.ping.statistics import Statistics
from echoup.client.target.parse import parseTarget
from echoup.client.target.stream import StreamTarget
from tests.support.certificates import NAME, inDER
from tests.support.doubles import raised
from tests.support.properties import example, given, st
from tests.support.samples import NOW, RIGHT, probe, summed, traced

PIECES = [
    *("loss", "late", "p", "99", ".9", "100", "0", "avg", "outage", "TLS", "first-byte", "certificate"),
    *("<", "<=", ">", ">=", "1", "5", "%", "µs", "ms", "m", "d"),
]
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
            ("TLS<50ms", Requirement("TLS<50ms", "TLS", 0.05, False)),
            ("first-byte <= 1s", Requirement("first-byte<=1s", "first-byte", 1.0, True)),
            ("PROXY-header<1ms", Requirement("PROXY-header<1ms", "PROXY-header", 0.001, False)),
            ("certificate>14d", Requirement("certificate>14d", "certificate", 14.0, False)),
            ("certificate >= .5 d", Requirement("certificate>=.5d", "certificate", 0.5, True)),
        ):
            assert parseRequirement(text) == requirement

    def test_unknownIsRefused(self) -> None:
        """An unknown metric, a unit of another metric, and a limit that is no number are refused."""
        for text in ("", "p99", "p99>5ms", "p99=5ms", "p99<5", "p99<5%", "p0<1s", "p100.1<1s", "p<1s", "loss<1"):
            assert raised(ValueError, parseRequirement, text), text
        for text in (
            "loss<1ms",
            "TLS>50ms",
            "TLS<50",
            "TLS<1d",
            "tls<50ms",
            "first byte<1s",
            "certificate<14d",
            "certificate>14",
            "certificate>14s",
            "certificate>1m",
            "max>1s",
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

    def test_stepIsTheSlowest(self) -> None:
        """A step's time is the longest of the answered probes that have a time; without one it is unknown."""

        def connected(seq: int, seconds: float, **changes: Any) -> Result:
            refused = Phase(Step.CONNECT, 0.0, {}, 9.0, "Connection refused")
            return probe(seq, trace=traced(refused, Phase(Step.CONNECT, 0.0, {}, seconds)), **changes)

        requirement = parseRequirement("connect<=20ms")
        paused = replace(connected(4, 8.0), seconds=None)
        results = [connected(1, 0.01), connected(2, 0.02), connected(3, 7.0, code=ExitCode.TIMED_OUT), paused]
        assert (requirement.value(summed(*results)), requirement.isMet(summed(*results))) == (0.02, True)
        assert not requirement.isMet(summed(*results, connected(5, 0.03)))
        assert requirement.value(summed(*results[2:])) is None
        assert not parseRequirement("TLS<9m").isMet(summed(*results))

    def test_certificateIsTheFirstToExpire(self) -> None:
        """The days are those that were left when a certificate was shown last, the fewest of several; or unknown."""
        der, other = (inDER(RIGHT), inDER(CA().issue_cert(NAME)))
        requirement = parseRequirement("certificate>2d")
        results = [
            probe(seq, trace=traced(certificate=certificate), at=(NOW + timedelta(hours=hours)).timestamp())
            for seq, (certificate, hours) in enumerate([(other, 0), (der, 0), (other, 0), (der, 12)], 1)
        ]
        assert requirement.value(summed(*results)) == 2.5
        assert requirement.isMet(summed(*results))
        assert not parseRequirement("certificate>=3d").isMet(summed(*results))
        assert parseRequirement("certificate>=2.5d").isMet(summed(*results))
        assert not parseRequirement("certificate>2.5d").isMet(summed(*results))
        refused = replace(results[1], error=PathError(ExitCode.TLS_FAILED, "no"))
        assert requirement.value(summed(refused)) == 3, "also of a probe that failed"
        for unknown in (summed(probe()), summed(*results, probe(9, trace=traced(certificate=b"junk")))):
            assert not requirement.isMet(unknown)

    def test_stepThatCannotOccurIsRefused(self) -> None:
        """A limit on a step that the probes of a target don't have is refused, and so is one on a certificate."""
        name, secure = parseTarget("a.example:1"), parseTarget("tls:127.0.0.1:1")
        proxied = StreamTarget("", "127.0.0.1", 1, proxyProtocol=1)
        everywhere = {"first-byte"}
        stream = everywhere | {"connect", "all-bytes"}
        for target, halfClose, metrics in (
            (name, False, stream | {"resolve"}),
            (secure, True, stream | {"TLS", "certificate", "end"}),
            (proxied, False, stream | {"PROXY-header"}),
            (parseTarget("unix:/a"), False, stream),
            (parseTarget("udp:[::1]:1"), False, everywhere),
            (parseTarget("udp:a.example"), False, everywhere | {"resolve"}),
        ):
            for metric in [*STEPS, CERTIFICATE]:
                requirement = parseRequirement(f"{metric}>1d" if metric == CERTIFICATE else f"{metric}<1s")
                error = raised(ValueError, requirement.check, target, Schedule(1, 1, 1, 1, halfClose=halfClose))
                assert (error is None) == (metric in metrics), (target, metric)
        error = raised(ValueError, parseRequirement("TLS<1s").check, name, Schedule(1, 1, 1, 1))
        assert str(error) == "TLS<1s can't be met: a probe of a.example:1 has no step TLS"
        parseRequirement("loss<1%").check(name, Schedule(1, 1, 1, 1))
