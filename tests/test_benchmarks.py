"""The benchmarks measure what they say, find what is wrong, and leave nothing behind."""

import contextlib  # whose `suppress` trial would take for a setting of its own, as a global name
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from select import select
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.load import LoadError, Outcome, compileLoad, parseOutcome, percentile, runLoad
from benchmarks.machine import cores, versionIn
from benchmarks.measure import Bench, Figures, Record, figuresOf, largestShare, measureAll, startable
from benchmarks.peer import Peer, peers, reasonIn
from benchmarks.process import Process
from benchmarks.report import layout, reportOf
from benchmarks.scenario import SCENARIOS, Scenario, inBytes, inThousands, smaller
from benchmarks.targets import TARGETS, Target, measured, medianOf, ratioOf
from tests.support.doubles import raised

CHECKOUT = Path(__file__).parent.parent
EXCHANGE = Scenario("64b-100", "exchange", 100, 64)


def record(number: int, peer: str, cpu: float, scenario: str = "64b-100") -> Record:
    """Return the record of a round in which `peer` took `cpu` microseconds for a message."""
    return Record(number, scenario, peer, Figures(cpu, 1e6 / cpu, 64 / cpu, 10.0, 20.0, 30.0))


class LoadTests(SynchronousTestCase):
    """What the load generator prints is understood."""

    def test_parseOutcome(self) -> None:
        """Its last line is a JSON object."""
        line = '{"messages": 3, "bytes": 192, "seconds": 0.5, "histogram": [[1000, 2], [2000, 1]]}\n'
        assert parseOutcome(line) == Outcome(3, 192, 0.5, ((1000, 2), (2000, 1)))

    def test_percentile(self) -> None:
        """A percentile is the least latency that so many messages didn't exceed."""
        histogram = [(10, 50), (20, 49), (30, 1)]
        assert [percentile(histogram, percent) for percent in (50, 51, 99, 99.9, 100)] == [10, 20, 20, 30, 30]

    def test_nothing(self) -> None:
        """Without any message there is no percentile."""
        assert str(raised(ValueError, percentile, [], 50)) == "there are no messages"

    @settings(deadline=None)
    @given(st.lists(st.integers(1, 10**9), min_size=1), st.integers(1, 100))
    def test_samples(self, samples: list[int], percent: int) -> None:
        """Of a histogram that has each sample in a place of its own it's what sorting them gives."""
        histogram = [(sample, samples.count(sample)) for sample in sorted(set(samples))]
        assert percentile(histogram, percent) == sorted(samples)[-(-len(samples) * percent // 100) - 1]


class FiguresTests(SynchronousTestCase):
    """Figures are what the load says and what the kernel says of the server's processes."""

    before = (Process(1, 1.0, 1 << 20), Process(2, 2.0, 1 << 20))
    after = (Process(1, 1.5, 2 << 20), Process(2, 2.5, 2 << 20))

    def test_exchange(self) -> None:
        """CPU time is that of all processes, for each message."""
        outcome = Outcome(1000, 64_000, 2.0, ((5000, 1000),))
        figures = figuresOf(EXCHANGE, outcome, [*self.before], [*self.after], None)
        assert figures == Figures(cpu=1000.0, rate=500.0, throughput=0.032, p50=5.0, p99=5.0, p999=5.0)

    def test_stream(self) -> None:
        """A stream's unit is the MiB, however few messages it is made of."""
        stream = Scenario("stream", "exchange", 1, 1 << 30, timed=False, unit="MiB")
        figures = figuresOf(stream, Outcome(1, 1 << 30, 2.0, ((1, 1),)), [*self.before], [*self.after], None)
        assert (figures.rate, figures.cpu) == (512.0, 1e6 / 1024)

    def test_idle(self) -> None:
        """Memory is what came to it for each connection, in KiB."""
        idle = Scenario("idle", "idle", 512, 64, timed=False, unit="connection")
        figures = figuresOf(idle, Outcome(512, 32_768, 2.0, ((1, 512),)), [*self.before], [*self.after], None)
        assert figures.memory == 4.0

    def test_largestShare(self) -> None:
        """Only sockets that came count, also those of a process that wasn't there before."""
        assert largestShare({1: 5, 2: 3}, {1: 5, 2: 63, 3: 40}) == 0.6
        assert largestShare({1: 5}, {1: 5}) is None


class TargetTests(SynchronousTestCase):
    """Ratios are taken round by round, and a target is a word beside them."""

    records = (
        record(1, "echoup", 10.0),
        record(2, "echoup", 30.0),
        record(3, "echoup", 8.0),
        record(1, "c", 5.0),
        record(2, "c", 10.0),
        Record(3, "64b-100", "c", None, "reset"),
        record(1, "c", 1.0, scenario="connect"),
    )

    def test_median(self) -> None:
        """The median is that of the rounds in which it was measured."""
        assert medianOf(self.records, "64b-100", "echoup", "cpu") == 10.0
        assert medianOf(self.records, "64b-100", "c", "cpu") == 7.5
        assert medianOf(self.records, "64b-100", "go", "cpu") is None
        assert medianOf(self.records, "64b-100", "c", "memory") is None

    def test_ratio(self) -> None:
        """A round's ratio is of the figures of this round; a round that lacks one has none."""
        assert ratioOf(self.records, "64b-100", "echoup", "cpu", "c") == 2.5
        assert ratioOf(self.records, "64b-100", "echoup", "cpu", "go") is None

    def test_measured(self) -> None:
        """A target is about a figure, or about its ratio to another's."""
        assert measured(self.records, Target("64b-100", "echoup", "cpu", "c")) == 2.5
        assert measured(self.records, Target("64b-100", "echoup", "cpu")) == 10.0

    def test_judge(self) -> None:
        """At most, more than, no limit, no value."""
        most, least = Target("", "", "cpu", "", 1.0), Target("", "", "rate", "", 1.0, least=True)
        assert [most.judge(1.0), most.judge(1.01), most.judge(None)] == ["reached", "missed", "not measured"]
        assert [least.judge(1.01), least.judge(1.0)] == ["reached", "missed"]
        assert Target("", "", "cpu").judge(5.0) == "shown only"

    def test_names(self) -> None:
        """All targets and all peers name peers, scenarios and fields that there are."""
        everyone = {peer.name: peer for peer in peers(Path())}
        scenarios = {scenario.name for scenario in SCENARIOS}
        for target in TARGETS:
            assert {target.peer, target.against} <= {*everyone, ""}, target
            assert target.scenario in scenarios, target
            assert target.field in Figures.__annotations__, target
        for peer in everyone.values():
            assert scenarios.issuperset(peer.scenarios), peer


class ReportTests(SynchronousTestCase):
    """The tables can be read as they are, and are Markdown."""

    def test_layout(self) -> None:
        """Columns are as wide as what is in them; all but the first are aligned to the right."""
        assert layout(["server", "µs"], [["a", "1.0"], ["echoup", "10.0"]]).splitlines() == [
            "| server |   µs |",
            "|--------|-----:|",
            "| a      |  1.0 |",
            "| echoup | 10.0 |",
        ]

    def test_report(self) -> None:
        """The best comes first, who failed last and with the reason; the targets follow."""
        records = [record(1, "echoup", 10.0), record(1, "c", 5.0), Record(1, "64b-100", "go", None, "short reply")]
        everyone = [Peer(name, name.title(), ()) for name in ("echoup", "go", "c", "twisted")]
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

    def test_titles(self) -> None:
        """A scenario's title says what it is, also if it is smaller than usual."""
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
        ]

    def test_numbers(self) -> None:
        """Numbers are short, and easy to read."""
        assert [inBytes(size) for size in (64, 1 << 16, 1 << 30)] == ["64 B", "64 KiB", "1 GiB"]
        assert [inThousands(number) for number in (999.4, 15000, 1e6)] == ["999", "15 000", "1 000 000"]

    def test_versions(self) -> None:
        """Whatever a program says of itself, the version is the first number with a dot."""
        assert versionIn("go version go1.19.8 linux/amd64") == "1.19.8"
        assert versionIn("cc (Debian 12.2.0-14+deb12u1) 12.2.0") == "12.2.0"
        assert versionIn("no idea") == "unknown"

    def test_reasons(self) -> None:
        """A program's reason is the last line that has a colon; there may be none."""
        said = (
            "Traceback (most recent call last):\n  x\nModuleNotFoundError: No module named 'uvloop'\nSee the manual\n"
        )
        assert reasonIn(said) == "ModuleNotFoundError: No module named 'uvloop'"
        assert reasonIn("\n") == "no reason given"


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the path of the load generator."""
    return compileLoad(tmp_path_factory.mktemp("load"))


@contextmanager
def serveOnce(answer: Callable[[socket.socket, bytes], None]) -> Iterator[int]:
    """Accept one connection and `answer` what comes in at first, in a thread; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                answer(connection, connection.recv(65536))

        serving = Thread(target=serve)
        serving.start()
        try:
            port: int = listener.getsockname()[1]
            yield port
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # wakes the one who accepts
            serving.join()


def sendAndReset(connection: socket.socket, data: bytes) -> None:
    """Close so that the kernel sends a reset (socket(7), SO_LINGER)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


WRONG: dict[str, tuple[Callable[[socket.socket, bytes], None], str]] = {
    "unchanged": (lambda connection, data: connection.sendall(data), "wrong byte "),
    "altered": (lambda connection, data: connection.sendall(data.upper()[:-1] + b"\0"), "wrong byte 63 of 64: "),
    "short": (
        lambda connection, data: connection.sendall(data.upper()[:20]),
        "short reply: the end came after 20 of 64",
    ),
    "long": (lambda connection, data: connection.sendall(data.upper() + b"!"), "long reply: more than 64 bytes"),
    "reset": (sendAndReset, "reset after 0 of 64 bytes: Connection reset by peer"),
}


@pytest.mark.parametrize("mode", ["exchange", "connect"])
@pytest.mark.parametrize("name", WRONG)
def test_wrongReply(load: str, mode: str, name: str) -> None:
    """The load stops at the first reply that isn't what it has to be, and says what it was."""
    answer, message = WRONG[name]
    with serveOnce(answer) as port:
        error = raised(LoadError, runLoad, [load, mode, str(port), "1", "64", "0.1", "0.1"], lambda _: None)
    assert str(error).startswith(message), error


def test_refused(load: str) -> None:
    """Where nobody listens the load says so."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = str(bound.getsockname()[1])
        error = raised(LoadError, runLoad, [load, "exchange", port, "1", "64", "0.1", "0"], lambda _: None)
    assert str(error) == "can't send after 0 of 64 bytes: Connection refused"


def test_marks(load: str) -> None:
    """The load says when it begins and when it has ended, and every message that it counts is in the histogram."""
    busy: list[float] = []
    marks: list[str] = []

    def echo(connection: socket.socket, data: bytes) -> None:
        while data:
            came = time.monotonic()
            data = data.upper()
            busy.append(time.monotonic() - came)
            connection.sendall(data)
            data = connection.recv(65536)

    def mark(word: str) -> None:
        marks.append(word)
        if word == "begin":
            busy.clear()

    with serveOnce(echo) as port:
        outcome = runLoad([load, "exchange", str(port), "1", "1000000", "0.1", "0.1"], mark)
    assert marks == ["begin", "end"]
    assert outcome.messages == sum(count for _, count in outcome.histogram) > 0
    assert outcome.bytes == outcome.messages * 1_000_000
    # The server's own time is a part of the latencies, and these are a part of all the time, as one follows another.
    waited = sum(latency * count for latency, count in outcome.histogram) / 1e9
    assert sum(busy) * 0.995 < waited < outcome.seconds * 1.005


@contextmanager
def running(*arguments: str) -> "Iterator[subprocess.Popen[str]]":
    """Run the command; if it still runs in the end, kill it, and the servers and the load that it has started."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGSTOP)  # so that it starts no more
                for child in childrenOf(process.pid):
                    os.kill(child, signal.SIGKILL)
                process.kill()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    with running(*arguments) as process:
        output, errors = process.communicate(timeout=150)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def test_quick(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """A quick run measures of some peers, all of echoup's among them, all that there is to measure, and saves it."""
    names = ["c", "asyncio-protocol", "echoup", "echoup-uvloop", "echoup-1", "echoup-2"]
    done = run("--quick", "--output", str(tmp_path), *(f"--peer={name}" for name in names), "--scenario=64b-100")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert sorted(record["peer"] for record in results["records"]) == sorted(names), done.stderr
    for record in results["records"]:
        assert not record["error"], record
        assert all(record["figures"][name] > 0 for name in ("cpu", "rate", "throughput", "p50", "p99", "p999")), record
    assert results["machine"]["python"] == "{}.{}.{}".format(*sys.version_info)
    report = (tmp_path / "results.md").read_text()
    assert report in done.stdout
    assert "\n### 64 B × 100\n" in report
    figure(next(line for line in report.splitlines() if line.startswith("| echoup ")))


def test_withoutCompiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a C compiler the command says what is missing, in one line."""
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run("--quick")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "benchmarks: the load generator is written in C, and there is no cc on PATH\n"


def test_leftOut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that can't be built is left out, with the reason in one line; the others are measured."""
    for program in "cc", "as", "ld":
        (tmp_path / program).symlink_to(Path("/usr/bin") / program)
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run("--quick", "--peer=go", "--peer=sequential", "--scenario=64b-1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == "benchmarks: Go, one core is left out: there is no go on PATH"
    assert "| Python, one client at a time |" in done.stdout


def childrenOf(pid: int) -> list[int]:
    """Return the processes that a process has started and not waited for."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, 143)])
def test_stopped(number: signal.Signals, code: int) -> None:
    """Whoever stops the command stops the server and the load, too."""
    with running("--peer=sequential", "--scenario=64b-1", "--seconds=100") as process, ExitStack() as opened:
        end = time.monotonic() + 60
        while len(children := childrenOf(process.pid)) < 2:
            assert time.monotonic() < end
            time.sleep(0.01)
        descriptors = [os.pidfd_open(child) for child in children]  # nobody else has them, whose number may be theirs
        for descriptor in descriptors:
            opened.callback(os.close, descriptor)
        process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode == code
        assert select(descriptors, [], [], 0)[0] == descriptors


ONCE = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
connection = listener.accept()[0]
connection.sendall(connection.recv(64).upper())
raise SystemExit("server: enough for today")
"""


def test_diedServer(load: str, tmp_path: Path) -> None:
    """A server that dies is in the records, with what the load saw and what the server said; others are measured."""
    bench = Bench(load, tmp_path, 0.1, *cores())
    everyone = [
        Peer("once", "", (sys.executable, "-c", ONCE)),
        next(peer for peer in peers(tmp_path) if peer.name == "sequential"),
    ]
    told: list[Record] = []
    records = measureAll(bench, everyone, [Scenario("64b-1", "exchange", 1, 64)], 2, told.append)
    assert records == told
    assert [(record.round, record.peer) for record in records] == [
        (1, "once"),
        (1, "sequential"),
        (2, "sequential"),
        (2, "once"),
    ]
    for record in records:
        if record.peer == "once":
            assert record.figures is None
            assert record.error.endswith("; the server has ended: server: enough for today"), record
        else:
            assert record.figures, record


def test_neverListens(load: str, tmp_path: Path) -> None:
    """A server that ends before it listens can't be measured, because of what it said last."""
    command = (sys.executable, "-c", "raise SystemExit('server: no port')")
    assert startable(Bench(load, tmp_path, 0.1, *cores()), Peer("none", "", command)) == "server: no port"
