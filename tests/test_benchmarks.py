"""The benchmarks compute correct figures and write them in readable tables."""

import re
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.load import Outcome, parseOutcome, percentile
from benchmarks.machine import processorIn, versionIn
from benchmarks.measure import Figures, Record, figuresOf, largestShare
from benchmarks.peer import Peer, peers, reasonIn
from benchmarks.process import Process
from benchmarks.report import layout, reportOf
from benchmarks.results import BEGIN, END, FOLDER, PAGE, Results, insert
from benchmarks.scenario import SCENARIOS, Scenario, inBytes, inThousands, smaller
from benchmarks.targets import TARGETS, Target, measured, medianOf, ratioOf
from tests.support.doubles import raised
from tests.support.properties import given, st

EXCHANGE = Scenario("64b-100", "exchange", 100, 64)


def record(number: int, peer: str, cpu: float, scenario: str = "64b-100") -> Record:
    """Return the record of a round in which `peer` took `cpu` microseconds per message."""
    return Record(number, scenario, peer, Figures(cpu, 1e6 / cpu, 64 / cpu, 10.0, 20.0, 30.0))


class LoadTests(SynchronousTestCase):
    """The load generator's output is parsed, and its latencies have percentiles."""

    def test_lastLineIsParsed(self) -> None:
        """The last line is a JSON object with the outcome."""
        line = '{"messages": 3, "bytes": 192, "seconds": 0.5, "histogram": [[1000, 2], [2000, 1]]}\n'
        assert parseOutcome(line) == Outcome(3, 192, 0.5, ((1000, 2), (2000, 1)))

    def test_percentileIsTheLeastSufficientLatency(self) -> None:
        """A percentile is the least latency that this part of the messages didn't exceed."""
        histogram = [(10, 50), (20, 49), (30, 1)]
        assert [percentile(histogram, percent) for percent in (50, 51, 99, 99.9, 100)] == [10, 20, 20, 30, 30]

    def test_noMessagesHaveNoPercentile(self) -> None:
        """Without any message there is no percentile."""
        assert str(raised(ValueError, percentile, [], 50)) == "there are no messages"

    @given(st.lists(st.integers(1, 10**9), min_size=1), st.integers(1, 100))
    def test_percentileAgreesWithSorting(self, samples: list[int], percent: int) -> None:
        """The percentile of a histogram is the one that sorting its samples gives."""
        histogram = [(sample, samples.count(sample)) for sample in sorted(set(samples))]
        assert percentile(histogram, percent) == sorted(samples)[-(-len(samples) * percent // 100) - 1]


class FiguresTests(SynchronousTestCase):
    """Figures come from the load's outcome and from the kernel's figures of the server's processes."""

    before = (Process(1, 1.0, 1 << 20), Process(2, 2.0, 1 << 20))
    after = (Process(1, 1.5, 2 << 20), Process(2, 2.5, 2 << 20))

    def test_cpuIsThatOfAllProcesses(self) -> None:
        """CPU time is that of all processes, per message."""
        outcome = Outcome(1000, 64_000, 2.0, ((5000, 1000),))
        figures = figuresOf(EXCHANGE, outcome, [*self.before], [*self.after], None)
        assert figures == Figures(cpu=1000.0, rate=500.0, throughput=0.032, p50=5.0, p99=5.0, p999=5.0)

    def test_streamCountsMiB(self) -> None:
        """A stream's unit is the MiB, although it is one message."""
        stream = Scenario("stream", "exchange", 1, 1 << 30, timed=False, unit="MiB")
        figures = figuresOf(stream, Outcome(1, 1 << 30, 2.0, ((1, 1),)), [*self.before], [*self.after], None)
        assert (figures.rate, figures.cpu) == (512.0, 1e6 / 1024)

    def test_memoryIsTheGrowthForEachConnection(self) -> None:
        """Memory is the growth of the processes per idle connection, in KiB."""
        idle = Scenario("idle", "idle", 512, 64, timed=False, unit="connection")
        figures = figuresOf(idle, Outcome(512, 32_768, 2.0, ((1, 512),)), [*self.before], [*self.after], None)
        assert figures.memory == 4.0

    def test_shareCountsNewSockets(self) -> None:
        """Only new sockets count, including those of a new process."""
        assert largestShare({1: 5, 2: 3}, {1: 5, 2: 63, 3: 40}) == 0.6
        assert largestShare({1: 5}, {1: 5}) is None


class TargetTests(SynchronousTestCase):
    """Ratios are taken round by round, and a target judges them in a word."""

    records = (
        record(1, "echoup", 10.0),
        record(2, "echoup", 30.0),
        record(3, "echoup", 8.0),
        record(1, "c", 5.0),
        record(2, "c", 10.0),
        Record(3, "64b-100", "c", None, "reset"),
        record(1, "c", 1.0, scenario="connect"),
    )

    def test_medianIsOfMeasuredRounds(self) -> None:
        """The median covers the rounds in which the figure was measured."""
        assert medianOf(self.records, "64b-100", "echoup", "cpu") == 10.0
        assert medianOf(self.records, "64b-100", "c", "cpu") == 7.5
        assert medianOf(self.records, "64b-100", "go", "cpu") is None
        assert medianOf(self.records, "64b-100", "c", "memory") is None

    def test_ratioIsOfFiguresOfOneRound(self) -> None:
        """A ratio has both figures from the same round; a round that lacks one of them has none."""
        assert ratioOf(self.records, "64b-100", "echoup", "cpu", "c") == 2.5
        assert ratioOf(self.records, "64b-100", "echoup", "cpu", "go") is None

    def test_targetIsOfFigureOrRatio(self) -> None:
        """A target judges a figure, or its ratio to another peer's."""
        assert measured(self.records, Target("64b-100", "echoup", "cpu", "c")) == 2.5
        assert measured(self.records, Target("64b-100", "echoup", "cpu")) == 10.0

    def test_verdictOfTarget(self) -> None:
        """A target is reached or missed, only shown without a limit, and not measured without a value."""
        most, least = Target("", "", "cpu", "", 1.0), Target("", "", "rate", "", 1.0, least=True)
        assert [most.judge(1.0), most.judge(1.01), most.judge(None)] == ["reached", "missed", "not measured"]
        assert [least.judge(1.01), least.judge(1.0)] == ["reached", "missed"]
        assert Target("", "", "cpu").judge(5.0) == "shown only"

    def test_targetsAndPeersNameWhatExists(self) -> None:
        """All targets and all peers name existing peers, scenarios and fields."""
        everyone = {peer.name: peer for peer in peers(Path())}
        scenarios = {scenario.name for scenario in SCENARIOS}
        for target in TARGETS:
            assert {target.peer, target.against} <= {*everyone, ""}, target
            assert target.scenario in scenarios, target
            assert target.field in Figures.__annotations__, target
        for peer in everyone.values():
            assert scenarios.issuperset(peer.scenarios), peer
        for scenario in SCENARIOS:
            assert everyone[scenario.baseline].isFor(scenario), scenario


class ReportTests(SynchronousTestCase):
    """The tables are Markdown and readable as text."""

    def test_columnsAreAligned(self) -> None:
        """Columns are as wide as their widest cell; all but the first are aligned to the right."""
        assert layout(["server", "µs"], [["a", "1.0"], ["echoup", "10.0"]]).splitlines() == [
            "| server |   µs |",
            "|--------|-----:|",
            "| a      |  1.0 |",
            "| echoup | 10.0 |",
        ]

    def test_bestPeerComesFirst(self) -> None:
        """The best peer comes first, one that failed last and with the reason; the targets follow."""
        records = [record(1, "echoup", 10.0), record(1, "c", 5.0), Record(1, "64b-100", "go", None, "short reply")]
        everyone = [Peer(name, name.title(), {}) for name in ("echoup", "go", "c", "twisted")]
        assert reportOf(records, everyone, [EXCHANGE]).splitlines() == [
            "### 64 B × 100",
            "",
            "| server | CPU, µs/message |  × C | messages/s | MB/s | p50, µs | p99, µs | p99.9, µs |",
            "|--------|----------------:|-----:|-----------:|-----:|--------:|--------:|----------:|",
            "| C      |             5.0 | 1.00 |    200 000 | 12.8 |    10.0 |    20.0 |      30.0 |",
            "| Echoup |            10.0 | 2.00 |    100 000 |  6.4 |    10.0 |    20.0 |      30.0 |",
            "| Go     |               – |    – |          – |    – |       – |       – |         – |",
            "",
            "- round 1, Go: failed, short reply",
            "",
            "### Targets",
            "",
            "| what                              | measured | target |              |",
            "|-----------------------------------|---------:|-------:|-------------:|",
            "| 64 B × 100: CPU, Echoup ÷ Twisted |        – | ≤ 1.00 | not measured |",
        ]

    def test_ratioIsToTheBaselineOfTheTransport(self) -> None:
        """The ratio is to C over TCP, and to Go otherwise; the column says so."""
        records = [record(1, "echoup", 10.0, "udp-64b"), record(1, "go", 4.0, "udp-64b")]
        report = reportOf(
            records,
            [Peer(name, name.title(), {}) for name in ("echoup", "go")],
            [Scenario("udp-64b", "udp", 100, 64, transport="udp")],
        )
        cells = [[cell.strip() for cell in line.split("|")[1:4]] for line in report.splitlines() if "|" in line]
        assert cells[0] == ["server", "CPU, µs/message", "× Go"]
        assert cells[2:4] == [["Go", "4.0", "1.00"], ["Echoup", "10.0", "2.50"]]

    def test_titleNamesSizeAndConnections(self) -> None:
        """A scenario's title names its size and connections, reduced ones included."""
        titles = [smaller(scenario, 200, 1 << 24).title for scenario in SCENARIOS]
        assert titles == [
            "64 B × 1",
            "64 B × 100",
            "64 B × 200",
            "1 KiB × 100",
            "16 KiB × 8",
            "64 KiB × 8",
            "16 MiB in one stream, sent and received at once",
            "Connect, 64 B there and back, close; 32 at a time",
            "200 idle connections",
            "64 B × 100, TLS",
            "64 KiB × 8, TLS",
            "Connect, 64 B there and back, close; 32 at a time, TLS",
            "Resume, 64 B there and back, close; 32 at a time, TLS",
            "64 B × 100, UDP",
        ]

    def test_numbersAreShort(self) -> None:
        """Sizes have a unit, and thousands are separated."""
        assert [inBytes(size) for size in (64, 1 << 16, 1 << 30)] == ["64 B", "64 KiB", "1 GiB"]
        assert [inThousands(number) for number in (999.4, 15000, 1e6)] == ["999", "15 000", "1 000 000"]

    def test_processorHasItsVectorExtensions(self) -> None:
        """The processor is named with those of its vector extensions that count, on x86 and on arm64."""
        two = "model name\t: Some CPU: fast\nflags\t\t: fpu sse2 avx2 avx512bw\n\nmodel name\t: B\nflags\t\t: aes\n\n"
        assert processorIn(two) == "Some CPU: fast (SSE2, AVX2, AVX-512BW)"
        assert processorIn("BogoMIPS\t: 50.00\nFeatures\t: fp asimd\n\n").endswith(" (NEON)")
        assert processorIn("processor\t: 0\nmodel name\t: Old\n\n") == "Old (no vector extensions)"

    def test_versionIsTheFirstNumberWithDot(self) -> None:
        """The version in a program's output is the first number with a dot."""
        assert versionIn("go version go1.19.8 linux/amd64") == "1.19.8"
        assert versionIn("cc (Debian 12.2.0-14+deb12u1) 12.2.0") == "12.2.0"
        assert versionIn("no idea") == "unknown"

    def test_reasonIsTheLastLineWithColon(self) -> None:
        """The reason in a program's output is the last line that has a colon; there may be none."""
        said = (
            "Traceback (most recent call last):\n  x\nModuleNotFoundError: No module named 'uvloop'\nSee the manual\n"
        )
        assert reasonIn(said) == "ModuleNotFoundError: No module named 'uvloop'"
        assert reasonIn("\n") == "no reason given"


class ResultsTests(SynchronousTestCase):
    """The published figures are those of the saved results."""

    def setUp(self) -> None:
        """Load the saved results."""
        self.results = Results.load()
        self.peers = peers(Path())

    def test_savedResultsAreLoaded(self) -> None:
        """Loading restores what was saved, and saving that writes the same files again."""
        folder = Path(self.enterContext(TemporaryDirectory()))
        self.results.save(self.peers, folder)
        assert Results.load(folder) == self.results
        for name in "results.json", "results.md":
            assert (folder / name).read_text() == (FOLDER / name).read_text(), "run python -m benchmarks.results"

    def test_pageHasTheResults(self) -> None:
        """The tables of docs/benchmarks.md are those of the results."""
        page = PAGE.read_text()
        assert insert(page, self.results.excerpt(self.peers)) == page, "run python -m benchmarks.results"

    def test_chartHasTheResults(self) -> None:
        """The bars of the chart are labelled with the ratios of the results."""
        ratios = [
            sorted(
                ratio
                for peer in self.peers
                if not peer.everywhere and (ratio := ratioOf(self.results.records, scenario, peer.name, "cpu", "c"))
            )
            for scenario in ("64b-100", "64k-8")
        ]
        labels = re.findall(r"<!-- (\d+\.\d\d) -->", (FOLDER / "results.svg").read_text())
        assert labels == [f"{ratio:.2f}" for ratio in chain.from_iterable(map(reversed, ratios))]

    def test_readmeHasTheResults(self) -> None:
        """The figures of README.md's section on performance are those of the results."""
        section = re.search(r"\n## Performance\n(.*?)\n## ", (PAGE.parents[1] / "README.md").read_text(), re.DOTALL)
        assert section
        for scenario, load in ("64b-100", "64 bytes on 100 connections"), ("64k-8", "64 KiB on 8 connections"):
            uvloop, default, c, twisted = (
                medianOf(self.results.records, scenario, name, "cpu")
                for name in ("echoup-uvloop", "echoup", "c", "twisted")
            )
            said = (
                f"{load}: {uvloop:.1f} µs of CPU time on uvloop, {default:.1f} µs on Twisted's default reactor "
                f"(C {c:.1f}, Twisted's `wire.Echo` {twisted:.1f})."
            )
            assert said in section[1]
        ratios = (
            ratioOf(self.results.records, scenario, "echoup-uvloop", "cpu", "c") for scenario in ("64b-100", "64k-8")
        )
        assert "{:.2f} for 64 bytes, {:.2f} for 64 KiB".format(*ratios) in section[1]
        assert f"- Processor: {self.results.machine['processor']}. " in section[1]

    def test_excerptReplacesTheOneBefore(self) -> None:
        """An excerpt takes the place of the one before, and all else stays; a page without the markers is refused."""
        page = f"before\n{BEGIN}old\n{END}after\n"
        assert insert(page, "new\n") == f"before\n{BEGIN}\nnew\n\n{END}after\n"
        for marked in f"{BEGIN}old\n", "old\n":
            assert "has no <!-- results: begin -->" in str(raised(ValueError, insert, marked, "new\n"))
