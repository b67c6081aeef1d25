"""The text that a person reads of probes."""

import re
import time
from dataclasses import replace
from datetime import timedelta
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from echoup.client.connect.tcpinfo import TCPInfo
from echoup.client.connect.trace import Phase, Step
from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.ping.reports.report import Report, milliseconds
from echoup.client.ping.reports.text import ERASE, TextReport
from echoup.client.ping.requirement import parseRequirement
from echoup.client.ping.result import Result
from echoup.client.ping.statistics import Outcome, Statistics
from tests.support.certificates import inDER
from tests.support.properties import given, st
from tests.support.samples import (
    BEGINNING,
    NOW,
    RIGHT,
    TARGET,
    UNMET,
    ended,
    interruptedAt,
    judged,
    probe,
    summed,
    told,
    traced,
)


def lines(*results: Result, verbose: bool = False, isTerminal: bool = False, target: str = "there:1") -> list[str]:
    """Return what is printed for `results`."""
    written: list[str] = []
    report: Report = TextReport(written.append, quiet=False, verbose=verbose, isTerminal=isTerminal)
    report.begin([target], 56)
    for result in results:
        report.add(result, target)
    return "".join(written[1:]).splitlines()


def summary(statistics: Statistics, *requirements: str, quiet: bool = True) -> list[str]:
    """Return what is printed at the end."""
    written: list[str] = []
    report = TextReport(written.append, quiet, verbose=False, isTerminal=False)
    report.begin([TARGET], 56)
    report.add(probe(), TARGET)
    report.end(ended(statistics), [parseRequirement(text) for text in requirements])
    return "".join(written).splitlines()


class ProbeTests(SynchronousTestCase):
    """`TextReport` prints a line for each probe."""

    def test_answerIsOneLine(self) -> None:
        """An answer is one line: its size, the verdict, the address, the seq and the time."""
        result = probe(3, 0.000412)
        assert lines(result) == ["3 bytes uppercased from 127.0.0.1:1: seq=3 time=0.412 ms"]
        assert lines(probe(reply=judged(b"a", b"A"))) == ["1 byte uppercased from 127.0.0.1:1: seq=1 time=1.00 ms"]
        (first, _) = lines(result, verbose=True)
        assert first == "3 bytes uppercased from 127.0.0.1:1 to 127.0.0.1:4: seq=3 time=0.412 ms"

    def test_wrongReplyIsExplainedOnce(self) -> None:
        """A wrong reply is explained once: the verdict, the place, and the address."""
        corrupted, long = judged(b"abc", b"AXC"), judged(b"abc", b"ABCDE")
        unchanged, short = judged(b"abc", b"abc"), judged(b"abc", b"A")
        for reply, code, reason, line in (
            (
                corrupted,
                ExitCode.WRONG,
                str(corrupted),
                (
                    "corrupted from 127.0.0.1:1: byte 1 of the reply is not the upper case of the one sent: "
                    'expected "BC", got "XC"'
                ),
            ),
            (
                long,
                ExitCode.WRONG,
                str(long),
                "corrupted from 127.0.0.1:1: more came back than was sent: 5 bytes for 3",
            ),
            (
                unchanged,
                ExitCode.WRONG,
                str(unchanged),
                "unchanged from 127.0.0.1:1: the bytes came back as they were sent, so something in between answered",
            ),
            (
                short,
                ExitCode.SHORT,
                "the server reset the connection, 1 of 3 bytes came back",
                "short from 127.0.0.1:1: the server reset the connection, 1 of 3 bytes came back",
            ),
        ):
            error = PathError(code, reason, "there:1", "127.0.0.1:1")
            assert lines(probe(2, code=code, reply=reply, error=error)) == [f"seq=2 {line}, time=1.00 ms"]

    def test_answerInAPauseHasNoTime(self) -> None:
        """An answer that was read after a pause of this process has no time, and neither have its steps."""
        first, second = lines(replace(probe(3), seconds=None), verbose=True)
        assert first == "3 bytes uppercased from 127.0.0.1:1 to 127.0.0.1:4: seq=3 time unknown"
        assert second.split() == ["connect", "-", "127.0.0.1:1"]
        statistics = summed(probe(1, 0.25), replace(probe(2), seconds=None))
        told = summary(statistics, "max<1s")
        assert "1 reply has no time: echoup was paused meanwhile" in told
        assert "max<1s: met (250 ms)" in told

    def test_failureNamesStep(self) -> None:
        """Where there is nothing to judge, or all of it was right, the step that failed is named."""
        error = PathError(ExitCode.UNREACHABLE, "Connection refused", "127.0.0.1:1", action="cannot connect to")
        nowhere = probe(error=error, local=None, remote=None)
        assert lines(nowhere) == ["seq=1 connect: Connection refused"]
        assert lines(replace(nowhere, trace=traced())) == ["seq=1 failed: Connection refused"]

    def test_addressIsNamedOnce(self) -> None:
        """The server is named once, by the address that was reached or those that were tried, before the reason."""
        for step, code, action, reason, line in (
            (Step.FIRST_BYTE, ExitCode.TIMED_OUT, "", "timed out", "first byte at {}: timed out"),
            (Step.END, ExitCode.SHORT, "", "the server closed", "end at {}: the server closed"),
            (Step.TLS, ExitCode.TLS_FAILED, "TLS handshake with", "expired", "TLS at {}: expired"),
            (Step.FIRST_BYTE, ExitCode.TLS_FAILED, "", "TLS failed: no", "TLS at {}: TLS failed: no"),
            (Step.FIRST_BYTE, ExitCode.UNREACHABLE, "cannot send to", "refused", "first byte at {}: refused"),
            (Step.CONNECT, ExitCode.TIMED_OUT, "cannot connect to", "timed out", "connect at {}: timed out"),
        ):
            for name, address, remote in (
                ("there:1", "127.0.0.1:1", "127.0.0.1:1"),
                ("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1"),
                ("there:1", "[::1]:1, 127.0.0.1:1", "127.0.0.1:1"),
                ("there:1", "127.0.0.1:1", None),
            ):
                result = probe(
                    error=PathError(code, reason, name, address, action),
                    reply=judged(b"a", b"A"),
                    trace=traced(Phase(step, 0.0, {})),
                    remote=remote,
                )
                for verbose in (False, True):
                    told, *_ = lines(result, verbose=verbose, target=name)
                    assert told == f"seq=1 {line.format(address)}"

    def test_resetBeforeUseIsShort(self) -> None:
        """A connection that was reset before it was used is short, and names the server once."""
        why = "the server reset the connection before it was used"
        for server in ("there:1", "127.0.0.1:1"):
            error = PathError(ExitCode.SHORT, why, server, "127.0.0.1:1")
            result = probe(error=error, reply=judged(b"", b""), local=None, remote=None)
            assert lines(result, target=server) == [f"seq=1 short from 127.0.0.1:1: {why}, time=1.00 ms"]

    def test_lookAlikeIsShown(self) -> None:
        """A name that is not ASCII is shown as the system was asked for it, where it has no address."""
        error = PathError(ExitCode.UNRESOLVED, "no address found", "ex\u0430mple", "xn--exmple-4nf", "cannot resolve")
        result = probe(error=error, trace=traced(Phase(Step.RESOLVE, 0.0, {})), remote=None)
        assert lines(result) == ["seq=1 resolve xn--exmple-4nf: no address found"]

    def test_verboseListsPhases(self) -> None:
        """With `verbose` each step has its line: its time, its details, the kernel's state, its error."""
        tcp = TCPInfo("ESTABLISHED", 0.00005, 0)
        phases = (
            Phase(Step.RESOLVE, 0.0, {"addresses": ["::1", "127.0.0.1"]}, 0.001),
            Phase(Step.CONNECT, 0.0, {"address": "[::1]:1"}, 0.002, "Connection refused"),
            Phase(Step.CONNECT, 0.0, {"address": "127.0.0.1:1", "local": "127.0.0.1:4"}, 0.0123, None, tcp),
            Phase(Step.PROXY, 0.0, {"version": "v1"}, 0.0),
            Phase(Step.TLS, 0.0, {"version": "TLSv1.3", "cipher": "A"}, 0.004),
            Phase(Step.FIRST_BYTE, 0.0, {}, None, None, TCPInfo("SYN-SENT", 0.0, 2)),
            Phase(Step.ALL_BYTES, 0.0, {}),
        )
        _, *printed = lines(probe(trace=traced(*phases, certificate=b"junk")), verbose=True)
        assert printed == [
            "    resolve        1.00 ms  ::1, 127.0.0.1",
            "    connect        2.00 ms  [::1]:1, Connection refused",
            "    connect        12.3 ms  127.0.0.1:1, from 127.0.0.1:4, ESTABLISHED, rtt 0.050 ms, retransmits 0",
            "    PROXY header  0.000 ms  v1",
            "    TLS            4.00 ms  TLSv1.3, A, certificate unreadable",
            "    first byte           -  SYN-SENT, retransmits 2",
            "    all bytes            -",
        ]

    def test_verboseShowsCertificate(self) -> None:
        """With `verbose` the certificate is shown, and how long it is valid, or since or from when."""
        result = probe(trace=traced(Phase(Step.TLS, 0.0, {}, 0.001), certificate=inDER(RIGHT)))
        for at, left in (
            (BEGINNING, "33 days left"),
            (BEGINNING - timedelta(seconds=1), "not valid before 2029-12-02 00:00:00 UTC"),
            (NOW - timedelta(hours=36), "4 days left"),
            (NOW + timedelta(hours=36), "1 day left"),
            (NOW + timedelta(days=4), "expired 1 day ago"),
            (NOW + timedelta(days=5), "expired 2 days ago"),
        ):
            _, line = lines(replace(result, at=at.timestamp()), verbose=True)
            assert line.startswith("    TLS            1.00 ms  certificate OU=Testing cert")
            assert ", issuer OU=Testing CA" in line
            assert line.endswith(f", {left}")

    @given(st.text())
    def test_foreignTextIsEscaped(self, text: str) -> None:
        """No text of a server or a resolver can command the terminal or begin a line."""
        error = PathError(ExitCode.TLS_FAILED, text, text, text, text)
        phase = Phase(Step.TLS, 0.0, {"cipher": text, "addresses": [text]}, 1.0, text)
        printed = lines(probe(error=error, trace=traced(phase), local=text, remote=text), verbose=True)
        assert len(printed) == 2
        assert all(line.isprintable() for line in printed)

    def test_timesHaveThreeDigits(self) -> None:
        """Times have about three significant digits, and never an exponent."""
        times = {0.0: "0.000", 0.000412: "0.412", 0.0041: "4.10", 0.0412: "41.2", 0.412: "412", 1234.5: "1234500"}
        assert {time: milliseconds(time) for time in times} == times


class SummaryTests(SynchronousTestCase):
    """`TextReport` prints the statistics at the end."""

    def test_summaryHasStatistics(self) -> None:
        """The summary has counts, times and percentiles, and each requirement below them."""
        statistics = summed(probe(1, 0.0004), probe(2, 0.0006))
        assert summary(statistics, "p99<5ms", "avg<=100us", "loss<1%", "late<1") == [
            "--- there:1 statistics ---",
            "2 sent, 2 answered, 0 lost (0 %), 0 wrong",
            "time min/avg/max/stddev = 0.400/0.500/0.600/0.100 ms",
            "     p50/p90/p95/p99 = 0.400/0.600/0.600/0.600 ms",
            "p99<5ms: met (0.600 ms)",
            "avg<=100us: not met (0.500 ms)",
            "loss<1%: met (0 %)",
            "late<1: met (0)",
        ]

    def test_unsentIsCountedApart(self) -> None:
        """Probes that weren't sent are named as local trouble, apart from the sent and the lost, and have no outage."""
        statistics = summed(probe(1), probe(2, code=ExitCode.LOCAL), probe(3, code=ExitCode.LOCAL))
        assert summary(statistics, "loss<1%")[1] == (
            "1 sent, 1 answered, 0 lost (0 %), 0 wrong, 2 not sent (local trouble)"
        )
        assert not any("outage" in line for line in summary(statistics))

    def test_failuresHaveOutage(self) -> None:
        """Without an answer there are no times, but an outage; rare counts are shown unless they are 0."""
        statistics = summed(probe(1, code=ExitCode.TIMED_OUT), probe(2, code=ExitCode.WRONG))
        statistics.late = 4
        for _ in range(3):
            statistics.sent += 1
        assert summary(statistics, "p99<5ms") == [
            "--- there:1 statistics ---",
            "5 sent, 0 answered, 1 lost (50 %), 1 wrong, 4 late, 3 unfinished",
            "down since seq 1",
            "p99<5ms: not met (unknown)",
        ]
        assert "longest outage 1.001 s, at seq 1" in summary(summed(probe(1, code=ExitCode.WRONG), probe(2)))

    def test_outageThatIsNotOverHasNoLength(self) -> None:
        """An outage that isn't over has no length, only its first probe; the longest that is over is told as well."""
        lost = ExitCode.TIMED_OUT
        results = [probe(1, code=lost), probe(2, code=lost), probe(3), probe(4, 9.0, lost)]
        assert summary(summed(*results), "outage<9m", "loss<=75%")[-4:] == [
            "longest outage 2.001 s, from seq 1 to 2",
            "down since seq 4",
            "outage<9m: not met (down since seq 4)",
            "loss<=75%: met (75 %)",
        ]

    def test_firstUnfinishedIsShown(self) -> None:
        """The first probe that was interrupted is shown, with `verbose` its steps, with `quiet` nothing of it."""
        statistics = summed(probe(1))
        for seq in (2, 3):
            statistics.sent += 1
            tcp = TCPInfo("SYN-SENT", 0.0, 1)
            phase = Phase(Step.CONNECT, 0.0, {"address": "127.0.0.1:1"}, tcp=tcp)
            statistics.interrupt(interruptedAt(seq, phase, local=None, remote=None))
        counted = ["--- there:1 statistics ---", "3 sent, 1 answered, 0 lost (0 %), 0 wrong, 2 unfinished"]
        told = "seq=2 connect: still waiting after 2.000 s"
        step = "    connect              -  127.0.0.1:1, SYN-SENT, retransmits 1"
        assert summary(statistics)[:2] == counted
        assert summary(statistics, quiet=False)[2:6] == [told, "", *counted]
        written: list[str] = []
        report = TextReport(written.append, quiet=False, verbose=True, isTerminal=False)
        report.begin([TARGET], 56)
        report.end(ended(statistics), [])
        assert "".join(written).splitlines()[1:6] == [told, step, "", *counted]

    def test_timestampIsThatOfTheLine(self) -> None:
        """With timestamps each line of a probe begins with the time when it is written, as ping(8) does."""
        written: list[str] = []
        report = TextReport(written.append, verbose=True, hasTimestamps=True)
        before = time.time()
        report.begin([TARGET], 56)
        report.add(probe(trace=traced(Phase(Step.CONNECT, 0.0, {}, 1.0))), TARGET)
        statistics = summed()
        statistics.interrupt(interruptedAt(2))
        report.end(ended(statistics), [])
        heading, first, phase, last, *_ = "".join(written).splitlines()
        for line in (first, last):
            found = re.match(r"\[([0-9]+\.[0-9]{6})\] (3 bytes|seq=2) ", line)
            assert found
            assert before - 1e-6 <= float(found[1]) <= time.time()
        assert (heading[:6], phase[:8]) == ("ECHOUP", "    conn")

    def test_targetsAreNamed(self) -> None:
        """Several targets share a heading; each probe's line names its own, and each has its statistics, in order."""
        written: list[str] = []
        others = {"b\x1b:1": (probe(1, code=ExitCode.TIMED_OUT),)}
        told(TextReport(written.append), probe(), requirements=(UNMET,), others=others)
        lines = "".join(written).splitlines()
        assert lines[:3] == [
            "ECHOUP there:1, b\\x1b:1: 3 bytes",
            "there:1: 3 bytes uppercased from 127.0.0.1:1: seq=1 time=1.00 ms",
            "b\\x1b:1: seq=1 connect at 127.0.0.1:1: there:1: timed out 1",
        ]
        assert [line for line in lines[3:] if not line.startswith((" ", "time"))] == [
            "",
            "--- there:1 statistics ---",
            "1 sent, 1 answered, 0 lost (0 %), 0 wrong",
            "avg<0us: not met (1.00 ms)",
            "",
            "--- b\\x1b:1 statistics ---",
            "1 sent, 0 answered, 1 lost (100 %), 0 wrong",
            "down since seq 1",
            "avg<0us: not met (unknown)",
        ]

    def test_unfinishedOfAllTargetsPrecedeTheStatistics(self) -> None:
        """The oldest unfinished probe of each target has a line, before the statistics of the first."""
        written: list[str] = []
        report = TextReport(written.append)
        report.begin(["a:1", "b:1"], 56)
        outcomes = [Outcome(target, summed(), ExitCode.OK) for target in ("a:1", "b:1")]
        for outcome in outcomes:
            outcome.statistics.interrupt(interruptedAt(1))
        report.end(outcomes, [])
        lines = "".join(written).splitlines()
        assert [line[:14] for line in lines[1:5]] == ["a:1: seq=1 fai", "b:1: seq=1 fai", "", "--- a:1 statis"]

    def test_headingPrecedesProbes(self) -> None:
        """Without `quiet` there is a heading before, and a blank line between the probes and the statistics."""
        heading, first, blank, *_ = summary(summed(probe()), quiet=False)
        assert (heading, first[:7], blank) == ("ECHOUP there:1: 56 bytes", "3 bytes", "")


class TerminalTests(SynchronousTestCase):
    """On a terminal there are colours, and a live last line."""

    def setUp(self) -> None:
        """Make the terminal 60 characters wide, and a report for it."""
        patch = mock.patch.dict("os.environ", COLUMNS="60")
        patch.start()
        self.addCleanup(patch.stop)
        self.written: list[str] = []
        self.report = TextReport(self.written.append, quiet=False, verbose=False, isTerminal=True)
        self.report.begin([TARGET], 56)
        self.written.clear()

    def test_wordsHaveColours(self) -> None:
        """The word is green for a right reply, red for a wrong one, yellow for one that is late or interrupted."""
        for code, colour in ((ExitCode.OK, 32), (ExitCode.WRONG, 31), (ExitCode.TIMED_OUT, 33)):
            (line,) = lines(probe(code=code), isTerminal=True)
            assert f"\x1b[{colour}m" in line
            assert line.count("\x1b") == 2
        assert lines(interruptedAt(1), isTerminal=True)[0].startswith("seq=1 \x1b[33mfailed\x1b[0m at ")

    def test_noColourWhereUnwanted(self) -> None:
        """NO_COLOR, unless it is empty, takes the colours away (no-color.org); the live line stays."""
        for value, colours in (("1", 0), ("", 2)):
            with mock.patch.dict("os.environ", NO_COLOR=value):
                (line,) = lines(probe(), isTerminal=True)
                assert line.count("\x1b[") == colours
                self.report.tick({TARGET: summed(probe())}, 2.0)
                assert self.written.pop().startswith(ERASE)
                self.report.add(probe(), TARGET)
                self.written.clear()

    def test_liveLineIsErased(self) -> None:
        """The live line is written when it changes, and erased before anything else is written."""
        statistics = summed(probe())
        self.report.tick({TARGET: statistics}, 2.0)
        self.report.tick({TARGET: statistics}, 3.0)
        assert self.written == [f"{ERASE}1 sent, 1 answered, 0 lost (0 %), 0 wrong"]
        self.report.add(probe(2), TARGET)
        assert self.written.pop().startswith(f"{ERASE}3 bytes")
        self.report.tick({TARGET: statistics}, 3.0)
        self.report.end(ended(statistics, ExitCode.WRONG), [UNMET])
        assert self.written[-1].startswith(f"{ERASE}\n---")
        assert self.written[-1].endswith("not met (1.00 ms)\n")

    def test_liveLineShowsOutage(self) -> None:
        """During an outage the live line shows its first probe and when that began, as far as it fits."""
        statistics = summed(probe(4, code=ExitCode.TIMED_OUT))
        self.report.tick({TARGET: statistics}, 16.2)
        (line,) = self.written
        assert (
            line == f"{ERASE}1 sent, 0 answered, 1 lost (100 %), 0 wrong, down since seq 4, 12 s ago"[: 59 + len(ERASE)]
        )

    def test_liveLineIsOfAllTargets(self) -> None:
        """The live line has the sum of all targets, and names those that are down; the statistics so far name each."""
        self.report.begin(["a:1", "b:1"], 56)
        self.written.clear()
        everything = {"a:1": summed(probe(), probe(2)), "b:1": summed(probe(4, code=ExitCode.TIMED_OUT))}
        with mock.patch.dict("os.environ", COLUMNS="200"):
            self.report.tick(everything, 16.2)
        counts = "3 sent, 2 answered, 1 lost (33.3 %), 0 wrong"
        assert self.written == [f"{ERASE}{counts}, b:1: down since seq 4, 12 s ago"]
        self.written.clear()
        self.report.showSoFar({target: summed() for target in everything})
        none = "0 sent, 0 answered, 0 lost (0 %), 0 wrong"
        assert self.written == [f"{ERASE}a:1: {none}\nb:1: {none}\n"]

    def test_statisticsSoFarReplaceLiveLine(self) -> None:
        """The statistics so far replace the live line, which is written again after them, and with `quiet` nothing."""
        statistics = summed(probe(1, 0.5), probe(2, code=ExitCode.TIMED_OUT))
        told = "2 sent, 1 answered, 1 lost (50 %), 0 wrong, time min/avg/max = 500/500/500 ms, down since seq 2"
        self.report.tick({TARGET: statistics}, 2.0)
        live = self.written.pop()
        self.report.showSoFar({TARGET: statistics})
        self.report.tick({TARGET: statistics}, 2.0)
        assert self.written == [f"{ERASE}{told}\n", live]
        self.written.clear()
        TextReport(self.written.append, quiet=True, verbose=False, isTerminal=True).showSoFar({TARGET: statistics})
        assert self.written == [f"{ERASE}{told}\n"]

    def test_noLiveLineWithoutTerminal(self) -> None:
        """There is no live line without a terminal, or with `quiet`."""
        for quiet, isTerminal in ((False, False), (True, True)):
            report = TextReport(self.written.append, quiet, verbose=False, isTerminal=isTerminal)
            report.tick({TARGET: summed(probe())}, 2.0)
        assert self.written == []
