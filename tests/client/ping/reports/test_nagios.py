"""The line that Nagios reads of probes."""

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.ping.reports.nagios import NagiosReport, NagiosStatus
from echoup.client.ping.requirement import Requirement, parseRequirement
from echoup.client.ping.result import Result
from echoup.client.ping.statistics import Outcome
from tests.support.doubles import raised
from tests.support.properties import given, st
from tests.support.samples import TARGET, UNMET, ended, probe, summed, told


class NagiosTests(SynchronousTestCase):
    """`NagiosReport` writes the line of a Nagios plugin."""

    def line(self, *results: Result, requirements: tuple[Requirement, ...] = ()) -> str:
        """Return what is written for `results`: one line."""
        written: list[str] = []
        told(NagiosReport(written.append), *results, requirements=requirements)
        (line,) = written
        assert line.index("\n") == len(line) - 1
        return line[:-1]

    def test_answeredIsOK(self) -> None:
        """When all was answered the status is OK, and the numbers follow."""
        assert self.line(probe(1, 0.00041), requirements=(parseRequirement("avg<1s"),)) == (
            "ECHOUP OK - 1 of 1 answered by there:1, avg 0.410 ms"
            " | time=0.000410s;;;0 loss=0%;;;0;100 wrong=0;;;0 outage=0.000s;;;0"
        )

    def test_unmetRequirementIsWarning(self) -> None:
        """A requirement that isn't met is a warning, and is named."""
        text, _, _ = self.line(probe(), requirements=(parseRequirement("avg<1s"), UNMET)).partition(" | ")
        assert text == "ECHOUP WARNING - 1 of 1 answered by there:1, avg 1.00 ms; avg<0us: not met (1.00 ms)"

    def test_answerInAPauseHasNoTime(self) -> None:
        """An answer that was read after a pause of this process is OK, and has no part in the time."""
        text, _, data = self.line(replace(probe(1), seconds=None)).partition(" | ")
        why = "1 reply has no time: echoup was paused meanwhile"
        assert text == f"ECHOUP OK - 1 of 1 answered by there:1; {why}"
        assert data.startswith("time=U;")

    def test_failureIsCritical(self) -> None:
        """A failed probe is critical, and its error is shown; an unknown time is U."""
        assert self.line(probe(code=ExitCode.TIMED_OUT)) == (
            "ECHOUP CRITICAL - 0 of 1 answered by there:1, down since seq 1; there:1: timed out 1"
            " | time=U;;;0 loss=100%;;;0;100 wrong=0;;;0 outage=U;;;0"
        )

    def test_unsentIsUnknown(self) -> None:
        """When a probe wasn't sent the status is UNKNOWN, unless more is known of the path; the reason is shown."""
        mine = probe(2, code=ExitCode.LOCAL)
        data = "loss=0%;;;0;100 wrong=0;;;0 outage=0.000s;;;0"
        assert self.line(mine) == (
            f"ECHOUP UNKNOWN - 0 of 0 answered by there:1; 1 not sent: there:1: LOCAL 2 | time=U;;;0 {data}"
        )
        assert self.line(probe(1), mine).startswith(
            "ECHOUP UNKNOWN - 1 of 1 answered by there:1, avg 1.00 ms; 1 not sent"
        )
        assert self.line(probe(1, code=ExitCode.TIMED_OUT), mine).startswith("ECHOUP CRITICAL - 0 of 1 answered")

    def test_noProbeIsUnknown(self) -> None:
        """Without a probe the status is UNKNOWN."""
        assert self.line().startswith("ECHOUP UNKNOWN - 0 of 0 answered")

    @given(st.text())
    def test_anyErrorIsOneLine(self, text: str) -> None:
        """With any text of an error there is one line and one `|`."""
        line = self.line(probe(error=PathError(ExitCode.TLS_FAILED, text, text, text)))
        assert line.isprintable()
        assert line.count("|") == 1

    def test_statusFollowsExitCode(self) -> None:
        """The status is the exit code of the plugin; it follows from that of the command."""
        for results, code, status in (
            ([probe()], ExitCode.OK, NagiosStatus.OK),
            ([probe()], ExitCode.WRONG, NagiosStatus.WARNING),
            ([probe(code=ExitCode.WRONG)], ExitCode.WRONG, NagiosStatus.CRITICAL),
            ([probe(code=ExitCode.TIMED_OUT)], ExitCode.TIMED_OUT, NagiosStatus.CRITICAL),
            ([probe(code=ExitCode.TIMED_OUT)], ExitCode.OK, NagiosStatus.OK),
            ([], ExitCode.OK, NagiosStatus.UNKNOWN),
            ([probe(code=ExitCode.LOCAL)], ExitCode.LOCAL, NagiosStatus.UNKNOWN),
            ([probe(1), probe(2, code=ExitCode.LOCAL)], ExitCode.LOCAL, NagiosStatus.UNKNOWN),
        ):
            report = NagiosReport(lambda _: None)
            report.begin([TARGET], 56)
            report.end(ended(summed(*results), code), [])
            assert report.status is status
        assert list(map(int, NagiosStatus)) == [0, 1, 2, 3]

    def test_unforgivenLossIsCritical(self) -> None:
        """A loss or an outage beyond its limit is critical; the failure is shown once, and each requirement."""
        for requirement, found in (("loss<20%", "50 %"), ("outage<1ms", "1001 ms")):
            results = (probe(1, code=ExitCode.TIMED_OUT), probe(2))
            text, _, _ = self.line(*results, requirements=(parseRequirement(requirement),)).partition(" | ")
            assert text == (
                "ECHOUP CRITICAL - 1 of 2 answered by there:1, avg 1.00 ms;"
                f" there:1: timed out 1; {requirement}: not met ({found})"
            )
        unmet = (parseRequirement("loss<90%"), parseRequirement("outage<9m"))
        text, _, data = self.line(probe(1), probe(2, code=ExitCode.TIMED_OUT), requirements=unmet).partition(" | ")
        assert text.startswith("ECHOUP CRITICAL - 1 of 2 answered")
        assert text.endswith("; outage<9m: not met (down since seq 2)")
        assert data.endswith(" outage=U;;;0"), "its length isn't known yet"
        met = (parseRequirement("loss<90%"), parseRequirement("outage<9s"), UNMET)
        line = self.line(probe(1, code=ExitCode.TIMED_OUT), probe(2), requirements=met)
        assert line.startswith("ECHOUP WARNING - ")

    def test_targetsShareOneLine(self) -> None:
        """Several targets have one line: the worst status, what is known of each, and data with the names."""
        written: list[str] = []
        report = NagiosReport(written.append)
        good, odd = summed(probe()), "unix:/a=b|c'd"
        bad = summed(probe(1, code=ExitCode.TIMED_OUT), probe(2))
        outcomes = [
            Outcome(TARGET, good, ExitCode.OK),
            Outcome(odd, bad, ExitCode.TIMED_OUT),
            Outcome("c:1", summed(), ExitCode.LOCAL),
        ]
        report.end(outcomes, [])
        expected = (
            "ECHOUP CRITICAL - 1 of 1 answered by there:1, avg 1.00 ms;"
            " 1 of 2 answered by unix:/a=b/c'd, avg 1.00 ms; there:1: timed out 1; 0 of 0 answered by c:1"
            " | 'there:1 time'=0.001000s;;;0 'there:1 loss'=0%;;;0;100 'there:1 wrong'=0;;;0"
            " 'there:1 outage'=0.000s;;;0"
            " 'unix:/a_b_c_d time'=0.001000s;;;0 'unix:/a_b_c_d loss'=50%;;;0;100 'unix:/a_b_c_d wrong'=0;;;0"
            " 'unix:/a_b_c_d outage'=1.001s;;;0"
            " 'c:1 time'=U;;;0 'c:1 loss'=0%;;;0;100 'c:1 wrong'=0;;;0 'c:1 outage'=0.000s;;;0\n"
        )
        assert written == [expected]
        assert report.status is NagiosStatus.CRITICAL
        for codes, status in (
            ([ExitCode.OK, ExitCode.LOCAL], NagiosStatus.UNKNOWN),
            ([ExitCode.LOCAL, ExitCode.WRONG, ExitCode.OK], NagiosStatus.WARNING),
            ([ExitCode.WRONG, ExitCode.SHORT], NagiosStatus.CRITICAL),
        ):
            report.end([Outcome("", good, code) for code in codes], [])
            assert report.status is status

    def test_missedDeadlineIsTold(self) -> None:
        """That the deadline came before any result is critical, and told; there is no failed probe that says it."""
        written: list[str] = []
        report = NagiosReport(written.append)
        report.end([Outcome(TARGET, summed(), ExitCode.TIMED_OUT, "there:1: timed out")], [])
        assert written[0].startswith("ECHOUP CRITICAL - 0 of 0 answered by there:1; there:1: timed out | ")

    def test_unfinishedIsUnknown(self) -> None:
        """When no probe is over the status is UNKNOWN, even if one began."""
        written: list[str] = []
        report = NagiosReport(written.append)
        report.begin([TARGET], 56)
        statistics = summed()
        statistics.sent += 1
        report.end(ended(statistics), [])
        assert written[0].startswith("ECHOUP UNKNOWN - 0 of 1 answered by there:1 |")

    def test_unwrittenStatusIsUnknown(self) -> None:
        """When the line couldn't be written the status is UNKNOWN."""

        def fail(_: str) -> None:
            raise PathError(ExitCode.BROKEN_PIPE, "no")

        report = NagiosReport(fail)
        assert raised(PathError, told, report, probe())
        assert report.status is NagiosStatus.UNKNOWN
