"""What all reports of probes have in common."""

import sys
from io import StringIO

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.ping.reports.jsonlines import JSONReport
from echoup.client.ping.reports.nagios import NagiosReport
from echoup.client.ping.reports.prometheus import PrometheusReport
from echoup.client.ping.reports.report import Report, soFar
from echoup.client.ping.reports.text import TextReport
from tests.support.samples import probe, summed


class TerminalIO(StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        """Return that it is one."""
        return True


class BrokenIO(StringIO):
    """A stream that can't be written."""

    def write(self, _: str) -> int:
        """Raise what the command's own streams raise."""
        raise PathError(ExitCode.BROKEN_PIPE, "the output can't be written")


class SoFarTests(SynchronousTestCase):
    """The statistics so far are one line."""

    def test_lineHasCountsTimesAndOutages(self) -> None:
        """The line has the counts, the probes under way, the times, the longest outage and the one that isn't over."""
        lost = ExitCode.TIMED_OUT
        assert soFar(summed()) == "0 sent, 0 answered, 0 lost (0 %), 0 wrong"
        statistics = summed(probe(1, code=lost), probe(2), probe(3, code=lost))
        statistics.sent += 2
        assert soFar(statistics) == (
            "5 sent, 1 answered, 2 lost (66.7 %), 0 wrong, 2 under way, time min/avg/max = 1.00/1.00/1.00 ms,"
            " longest outage 1.001 s, at seq 1, down since seq 3"
        )

    def test_outputStaysValid(self) -> None:
        """Where a program may read the output they are on standard error, without what a target's name may have."""
        told = "there\\x1b:1: 1 sent, 1 answered, 0 lost (0 %), 0 wrong, time min/avg/max = 1.00/1.00/1.00 ms\n"
        written: list[str] = []
        reports: list[Report] = [kind(written.append) for kind in (JSONReport, NagiosReport, PrometheusReport)]
        reports.append(TextReport(written.append, quiet=True, verbose=False, isTerminal=False))
        for report in reports:
            report.begin(["there\x1b:1"], 56)
            for kind, start in ((StringIO, ""), (TerminalIO, "\r")):
                self.patch(sys, "stderr", errors := kind())
                report.showSoFar({"there\x1b:1": summed(probe())})
                assert errors.getvalue() == f"{start}echoup: {told}"
        assert written == []

    def test_eachTargetHasALine(self) -> None:
        """Several targets have a line each."""
        self.patch(sys, "stderr", errors := StringIO())
        Report(lambda _: None).showSoFar({"a:1": summed(), "b:1": summed()})
        assert [line[:12] for line in errors.getvalue().splitlines()] == ["echoup: a:1:", "echoup: b:1:"]

    def test_unwritableErrorsAreNone(self) -> None:
        """Where standard error can't be written, nothing is, and the probes go on."""
        report = Report(lambda _: None)
        report.begin(["there:1"], 56)
        for errors in (None, BrokenIO()):
            self.patch(sys, "stderr", errors)
            report.showSoFar({"there:1": summed(probe())})
