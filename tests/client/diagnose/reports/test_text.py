"""The text that a person reads of a diagnosis."""

import shutil
from dataclasses import replace
from unittest import mock

import pyte
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.diagnose.conclusion import conclude
from echoup.client.diagnose.finding import Finding, Problem, Status, skipped
from echoup.client.diagnose.reports.text import WIDTH, DiagnosisText

SLOW = Problem(Status.WARN, "slow", "the first resolver is slow", ("5.0 s", "5.1 s"), "Look-ups wait.", "Ask another.")
BROKEN = Problem(Status.FAIL, "hole", "packets of more than 1300 bytes are lost", ("backoff 3",), "A link.", "Less.")


class Screen:
    """What a terminal shows of a report."""

    def __init__(self, columns: int = 110) -> None:
        self._screen = pyte.Screen(columns, 40)
        self._stream = pyte.Stream(self._screen)

    def write(self, text: str) -> None:
        """Show `text`, as a terminal does that returns at a newline."""
        self._stream.feed(text.replace("\n", "\r\n"))

    @property
    def lines(self) -> list[str]:
        """The lines, up to the last with text."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip().split("\n")


class TextTests(SynchronousTestCase):
    """`DiagnosisText` where nobody sees it happen."""

    def setUp(self) -> None:
        """Begin a report of three checks."""
        self.written: list[str] = []
        self.report = DiagnosisText(self.written.append, isTerminal=False)
        self.report.begin("there:1", ["resolve", "reach", "mtu"])

    @property
    def lines(self) -> list[str]:
        """The lines without the heading."""
        heading, *rest = "".join(self.written).splitlines()
        assert heading == "ECHOUP there:1: diagnosis"
        return rest

    def test_goodCheckIsOneLine(self) -> None:
        """A check without a problem is one line: its status, its name and what was measured."""
        self.report.add("resolve", Finding("192.0.2.7 in 3 ms"), 0.003)
        self.report.add("reach", skipped("it needs TCP"), 0)
        self.report.add("mtu", Finding("1500"), 0)
        assert self.lines == [
            "ok       resolve     192.0.2.7 in 3 ms",
            "skipped  reach       it needs TCP",
            "ok       mtu         1500",
        ]

    def test_skippedForTheSameReasonShareALine(self) -> None:
        """Checks that follow each other and are skipped for the same reason have one line, others one each."""
        self.report.begin("there:1", ["resolve", "reach", "mtu", "udp"])
        for name, why in (("resolve", "interrupted"), ("reach", "interrupted"), ("mtu", "interrupted"), ("udp", "no")):
            self.report.add(name, skipped(why), 0)
        self.report.end(conclude({}, isStrict=False))
        assert [line for line in self.lines if line.startswith("skipped")] == [
            "skipped  resolve, reach, mtu: interrupted",
            "skipped  udp         no",
        ]

    def test_problemIsExplained(self) -> None:
        """Under a check with a problem stand what was seen, what it means and what to try."""
        self.report.add("resolve", Finding("slow", (SLOW,)), 10)
        assert self.lines == [
            "warn     resolve     slow",
            "         - the first resolver is slow",
            "         seen    5.0 s",
            "                 5.1 s",
            "         means   Look-ups wait.",
            "         try     Ask another.",
        ]

    def test_summaryIsNotRepeated(self) -> None:
        """A problem that is the summary has no line of its own, and what is unknown of it has none either."""
        bare = Problem(Status.NOTE, "odd", "it is odd")
        self.report.add("resolve", Finding("it is odd", (bare,)), 0)
        assert self.lines == ["note     resolve     it is odd"]

    def test_longExplanationsAreWrapped(self) -> None:
        """An explanation is wrapped under its beginning; a summary stays one line, for grep(1)."""
        wordy = Problem(Status.WARN, "slow", "word " * 60, meaning="word " * 60)
        self.report.add("resolve", Finding("word " * 60, (wordy,)), 0)
        summary, *explanation = self.lines
        assert len(summary) > 2 * WIDTH
        assert max(map(len, explanation)) <= WIDTH
        assert all(line.startswith(" " * 17) for line in explanation[1:])

    def test_checksComeInTheirOrder(self) -> None:
        """A check that ends before those in front of it waits for them."""
        self.report.add("mtu", Finding("third"), 0)
        self.report.add("reach", Finding("second"), 0)
        assert self.lines == []
        self.report.add("resolve", Finding("first"), 0)
        assert [line.split()[-1] for line in self.lines] == ["first", "second", "third"]

    def test_unaskedCheckIsShown(self) -> None:
        """A check that wasn't asked for, and explains why the others are skipped, is shown at once."""
        self.report.add("tls", Finding("bad", (BROKEN,)), 0)
        assert self.lines[0] == "fail     tls         bad"
        self.report.add("resolve", skipped("no address"), 0)
        self.report.add("reach", skipped("no connection"), 0)
        assert self.lines[-1] == "skipped  resolve     no address"

    def test_lastLineIsTheCause(self) -> None:
        """The last line is the most probable cause, and the check that found it; the one before counts."""
        findings = {"resolve": Finding("slow", (SLOW,)), "reach": Finding("fine"), "mtu": Finding("lost", (BROKEN,))}
        for name, finding in findings.items():
            self.report.add(name, finding, 0)
        self.report.end(conclude(findings, isStrict=False))
        assert self.lines[-3:] == [
            "",
            "1 ok, 1 warn, 1 fail",
            "most probable cause: packets of more than 1300 bytes are lost (mtu)",
        ]

    def test_noFaultIsSaid(self) -> None:
        """Without a warning the last line says that there is none, unless nothing was measured."""
        note = Problem(Status.NOTE, "odd", "it is odd")
        for finding, last in (
            (Finding("fine"), "no fault found"),
            (Finding("odd", (note,)), "no fault found"),
            (skipped("interrupted"), "nothing was measured"),
        ):
            self.setUp()
            self.report.add("resolve", finding, 0)
            self.report.end(conclude({"resolve": finding}, isStrict=False))
            assert self.lines[-1] == last

    def test_interruptedOrStrictIsSaid(self) -> None:
        """The last line doesn't promise more than was measured, nor contradict the exit code."""
        self.report.add("resolve", Finding("fine"), 0)
        self.report.end(replace(conclude({}, isStrict=False), isInterrupted=True))
        assert self.lines[-1] == "no fault found so far"
        note = Finding("odd", (Problem(Status.NOTE, "odd", "it is odd"),))
        self.report.end(conclude({"resolve": note}, isStrict=True))
        assert self.lines[-1] == "no fault found, but --strict counts notes"

    def test_foreignTextIsEscaped(self) -> None:
        """Control characters in what came from outside are escaped."""
        evil = Problem(Status.WARN, "evil", "a\x1b[2J", ("b\x07",), "c\x9b", "d\r")
        self.report.add("resolve", Finding("e\x1bc", (evil,)), 0)
        self.report.end(conclude({"resolve": Finding("", (evil,))}, isStrict=False))
        assert not any(ord(each) < 32 or 127 <= ord(each) < 160 for line in self.lines for each in line)


class LiveTests(SynchronousTestCase):
    """`DiagnosisText` on a terminal."""

    columns = 110

    def setUp(self) -> None:
        """Begin a report of three checks."""
        self.patch(shutil, "get_terminal_size", lambda: mock.Mock(columns=self.columns))
        self.screen = Screen()
        self.report = DiagnosisText(self.screen.write, isTerminal=True)
        self.report.begin("there:1", ["resolve", "reach", "mtu"])

    def test_runningChecksHaveALine(self) -> None:
        """Each check that is under way has one line below the others, which says what it is doing."""
        self.report.tell("resolve", "")
        self.report.tell("reach", "192.0.2.7")
        self.report.tell("reach", "192.0.2.8")
        assert self.screen.lines[1:] == ["...      resolve", "...      reach       192.0.2.8"]
        self.report.add("reach", Finding("fine"), 0)
        assert self.screen.lines[1:] == ["...      resolve"]
        self.report.add("resolve", Finding("good"), 0)
        self.report.tell("mtu", "1200 bytes")
        assert self.screen.lines[1:] == [
            "ok       resolve     good",
            "ok       reach       fine",
            "...      mtu         1200 bytes",
        ]
        self.report.end(conclude({"mtu": Finding("fine")}, isStrict=False))
        assert self.screen.lines[3:] == ["", "2 ok", "no fault found"]

    def test_liveLineFitsTheTerminal(self) -> None:
        """A live line is cut at the width of the terminal, so that it takes one line."""
        self.columns = 40
        self.report.tell("resolve", "word " * 40)
        assert len(self.screen.lines) == 2
        assert len(self.screen.lines[1]) < 40

    def test_summaryFitsTheTerminal(self) -> None:
        """On a terminal a summary and the last line are wrapped at words, like the explanations."""
        self.columns = 50
        self.setUp()
        wordy = Problem(Status.FAIL, "wordy", "word " * 12)
        self.report.add("resolve", Finding(wordy.text, (wordy,)), 0)
        self.report.end(conclude({"resolve": Finding("", (wordy,))}, isStrict=False))
        assert self.screen.lines[1:] == [
            "fail     resolve     word word word word word",
            "                     word word word word word",
            "                     word word",
            "",
            "1 fail",
            "most probable cause: word word word word word",
            "word word word word word word word  (resolve)",
        ]

    def test_explanationFitsTheTerminal(self) -> None:
        """An explanation is wrapped at the width of a terminal that is narrower than usual, but not to nothing."""
        for self.columns, widest in ((60, 59), (20, 34)):
            self.setUp()
            self.report.add("resolve", Finding("slow", (replace(SLOW, meaning="word " * 40),)), 0)
            lines = [line for line in self.screen.lines if line.endswith("word")]
            assert widest - 5 < max(map(len, lines)) <= widest

    def test_statusIsColoured(self) -> None:
        """The status has a colour on a terminal, unless NO_COLOR is set."""
        for environment, isColoured in (({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)):
            with mock.patch.dict("os.environ", environment):
                written: list[str] = []
                report = DiagnosisText(written.append, isTerminal=True)
                report.begin("there:1", ["resolve"])
                report.add("resolve", Finding("lost", (BROKEN,)), 0)
                assert ("\x1b[31m" in "".join(written)) is isColoured
