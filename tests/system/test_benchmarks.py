"""The benchmarks measure real servers, report wrong replies, and leave no processes behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from select import select
from shutil import which
from ssl import SSLContext, TLSVersion
from threading import Thread

import pytest

from benchmarks.certificate import makeCertificate
from benchmarks.load import LoadError, compileLoad, runLoad
from benchmarks.machine import cores
from benchmarks.measure import Bench, Record, measureAll, startable
from benchmarks.peer import CERTIFICATE, Peer, peers
from benchmarks.scenario import Scenario
from benchmarks.status import PATHS
from echoup.upper import IMPLEMENTATION
from tests.support.certificates import contexts
from tests.support.daemon import childrenOf
from tests.support.doubles import raised
from tests.support.sockets import reset
from tests.support.waiting import eventually

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the path of the load generator."""
    return compileLoad(tmp_path_factory.mktemp("load"))


@pytest.fixture(scope="module")
def secureLoad(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the path of the load generator for TLS."""
    if not which("go"):
        pytest.skip("the load for TLS is written in Go, which is not installed")
    return compileLoad(tmp_path_factory.mktemp("load"), "tls")


@contextmanager
def serveOnce(answer: Callable[[socket.socket, bytes], None], context: SSLContext | None = None) -> Iterator[int]:
    """Accept a connection, with TLS if there is a context, and `answer` its first bytes in a thread; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError), ExitStack() as stack:
                connection = stack.enter_context(listener.accept()[0])
                if context:
                    connection = stack.enter_context(context.wrap_socket(connection, server_side=True))
                answer(connection, connection.recv(65536))

        serving = Thread(target=serve)
        serving.start()
        try:
            port: int = listener.getsockname()[1]
            yield port
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept(2)
            serving.join()


def sendAndReset(connection: socket.socket, data: bytes) -> None:
    """Reset the connection after its first bytes."""
    reset(connection)


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
def test_wrongReplyEndsLoad(load: str, mode: str, name: str) -> None:
    """The load stops at the first wrong reply and says what is wrong."""
    answer, message = WRONG[name]
    with serveOnce(answer) as port:
        error = raised(LoadError, runLoad, [load, mode, str(port), "1", "64", "0.1", "0.1"], lambda _: None)
    assert str(error).startswith(message), error


@pytest.mark.parametrize("name", WRONG)
def test_wrongReplyEndsSecureLoad(secureLoad: str, name: str) -> None:
    """The load for TLS stops at the first wrong reply and says what is wrong."""
    answer, message = WRONG[name]
    with serveOnce(answer, contexts(TLSVersion.TLSv1_3)[1]) as port:
        error = raised(LoadError, runLoad, [secureLoad, "connect", str(port), "1", "64", "0.1", "0.1"], lambda _: None)
    assert str(error).startswith(message.partition(": Connection")[0]), error


def test_serverWithOtherTLSEndsSecureLoad(secureLoad: str) -> None:
    """The load for TLS refuses a server that encrypts in another way, whose figures would mean something else."""
    with serveOnce(sendAndReset, contexts(TLSVersion.TLSv1_2)[1]) as port:
        error = raised(LoadError, runLoad, [secureLoad, "connect", str(port), "1", "64", "0.1", "0.1"], lambda _: None)
    assert str(error) == "can't connect: remote error: tls: protocol version not supported"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unchanged", "wrong byte "),
        ("altered", "wrong byte 63 of 64: "),
        ("short", "short reply: a datagram with 20 of 64 bytes"),
        ("empty", "short reply: a datagram with 0 of 64 bytes"),
        ("long", "long reply: more than 64 bytes"),
    ],
)
def test_wrongDatagramEndsLoad(load: str, name: str, message: str) -> None:
    """The load stops at the first wrong datagram and says what is wrong."""
    answers = {
        "unchanged": lambda data: data,
        "altered": lambda data: data.upper()[:-1] + b"\0",
        "short": lambda data: data.upper()[:20],
        "empty": lambda data: data[:0],
        "long": lambda data: data.upper() + b"!",
    }
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            data, sender = server.recvfrom(65536)
            server.sendto(answers[name](data), sender)

        serving = Thread(target=serve)
        serving.start()
        port = str(server.getsockname()[1])
        error = raised(LoadError, runLoad, [load, "udp", port, "1", "64", "0.1", "0.1"], lambda _: None)
        serving.join()
    assert str(error).startswith(message), error


def test_refusedConnectionEndsLoad(load: str) -> None:
    """The load reports a port that refuses."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = str(bound.getsockname()[1])
        error = raised(LoadError, runLoad, [load, "exchange", port, "1", "64", "0.1", "0"], lambda _: None)
    assert str(error) == "can't send after 0 of 64 bytes: Connection refused"


@pytest.mark.parametrize(("fixture", "size"), [("load", 1_000_000), ("secureLoad", 200_000)])
def test_marksEncloseTheCountedMessages(request: pytest.FixtureRequest, fixture: str, size: int) -> None:
    """The load prints `begin` and `end`, and every message that it counts is in the histogram."""
    load = request.getfixturevalue(fixture)
    context = contexts(TLSVersion.TLSv1_3)[1] if fixture == "secureLoad" else None
    busy: list[float] = []
    marks: list[str] = []

    def echo(connection: socket.socket, data: bytes) -> None:
        while data:
            came = time.monotonic()
            connection.sendall(data.upper())
            busy.append(time.monotonic() - came)
            data = connection.recv(65536)

    def mark(word: str) -> None:
        marks.append(word)
        if word == "begin":
            busy.clear()

    with serveOnce(echo, context) as port:
        outcome = runLoad([load, "exchange", str(port), "1", str(size), "0.1", "0.1"], mark)
    assert marks == ["begin", "end"]
    assert outcome.messages == sum(count for _, count in outcome.histogram) > 0
    assert outcome.bytes == outcome.messages * size
    # The server's time is part of the latencies, and they are part of the whole time: one message follows another.
    waited = sum(latency * count for latency, count in outcome.histogram) / 1e9
    assert sum(busy[: outcome.messages]) * 0.995 < waited < outcome.seconds * 1.005


@contextmanager
def running(*arguments: str, module: str = "benchmarks") -> "Iterator[subprocess.Popen[str]]":
    """Run the command; if it is still running at the end, kill it with the servers and the load that it started."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGSTOP)  # it starts no more processes then
                for child in childrenOf(process.pid):
                    os.kill(child, signal.SIGKILL)
                process.kill()


def run(*arguments: str, module: str = "benchmarks") -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    with running(*arguments, module=module) as process:
        output, errors = process.communicate(timeout=150)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


@pytest.mark.parametrize(
    ("fixture", "scenario"),
    [
        ("secureLoad", Scenario("tls-resume", "resume", 2, 64, unit="connection", transport="tls")),
        ("load", Scenario("udp-64b", "udp", 2, 64, transport="udp")),
    ],
)
def test_otherTransportsAreMeasured(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str, scenario: Scenario
) -> None:
    """The daemon is measured with TLS and UDP too; it resumes TLS sessions."""
    bench = Bench({scenario.transport: request.getfixturevalue(fixture)}, tmp_path, 0.1, *cores())
    makeCertificate(tmp_path / CERTIFICATE)
    peer = next(peer for peer in peers(tmp_path) if peer.name == "echoup-uvloop")
    figures = bench.measure(peer, scenario)
    assert figures.cpu > 0
    assert figures.rate > 0


@pytest.mark.slow
def test_quickRunMeasuresEveryFigure(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """A quick run of some peers, all of echoup's among them, measures every figure and saves the results."""
    names = ["c", "echoup", "echoup-uvloop", "echoup-1", "echoup-2"]
    done = run("--quick", "--output", str(tmp_path), *(f"--peer={name}" for name in names), "--scenario=64b-100")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert sorted(record["peer"] for record in results["records"]) == sorted(names), done.stderr
    for record in results["records"]:
        assert not record["error"], record
        assert all(record["figures"][name] > 0 for name in ("cpu", "rate", "throughput", "p50", "p99", "p999")), record
    assert results["machine"]["echoup"].endswith(f" ({IMPLEMENTATION})")
    assert results["machine"]["python"] == "{}.{}.{}".format(*sys.version_info)
    report = (tmp_path / "results.md").read_text()
    assert report in done.stdout
    assert "\n### 64 B × 100\n" in report
    figure(next(line for line in report.splitlines() if line.startswith("| echoup ")))


def test_stopOfEachReactorIsMeasured(figure: Callable[[str], None]) -> None:
    """The benchmark of a shutdown prints the longest turn of each reactor, and how all connections ended."""
    done = run("50", module="benchmarks.stop")
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split("|") for line in done.stdout.splitlines() if line.startswith("|")][2:]
    assert [row[0].strip() for row in rows] == ["epoll", "uvloop"]
    for row in rows:
        turn, turnCPU, stop, cpu, ended, reset = map(float, row[1:])
        assert 0 < turn < stop * 1000
        assert 0 < turnCPU <= cpu * 1000 + 10  # two decimals of a second
        assert (ended, reset) == (50, 0)
        figure(f"{row[0].strip()}: longest turn {turn} ms, of which CPU {turnCPU} ms, with 50 connections")


def test_statusSiteIsMeasured(figure: Callable[[str], None]) -> None:
    """The benchmark of the status site prints what requests, a start and a message cost."""
    done = run("50", "--rounds=1", "--seconds=0.1", module="benchmarks.status")
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in done.stdout.splitlines() if "|" in line]
    rows = [row for row in rows if "-" not in row[0][:1]]
    requests = [row for row in rows if row[0] in ("epoll", "uvloop")]
    assert [row[1] for row in requests] == [*PATHS] * 2
    for _, path, size, answer, turn, turnCPU in requests:
        assert int(size) > 0
        assert float(turnCPU) <= float(turn) + 1, path
        assert float(answer) >= 0
    costs = {row[0]: [float(cell) for cell in row[1:]] for row in rows if row[0].endswith(("--status", "second"))}
    assert [*costs] == ["without --status", "with --status", "scraped every second"]
    assert all(cost > 0 for row in costs.values() for cost in row)
    figure(f"a message with --status costs {costs['with --status'][1]:.2f} of one without")


def test_missingCompilerIsNamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a C compiler the command says what is missing, in one line."""
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run("--quick")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "benchmarks: load.c: not compiled: cc is not on PATH\n"


def test_peerThatCannotBeBuiltIsLeftOut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer or a load that can't be built is left out, with the reason in one line; the others are measured."""
    for program in "cc", "as", "ld":
        (tmp_path / program).symlink_to(Path("/usr/bin") / program)
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run("--quick", "--peer=go", "--peer=sequential", "--scenario=64b-1", "--scenario=tls-connect")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[:2] == [
        "benchmarks: leaving out TLS: load.go: not compiled: go is not on PATH",
        "benchmarks: leaving out Go, one core: go is not on PATH",
    ]
    assert "| Python, one client at a time |" in done.stdout


@pytest.mark.parametrize(
    ("number", "code", "command"),
    [
        (signal.SIGINT, 1, ["benchmarks", "--peer=sequential", "--scenario=64b-1", "--seconds=100"]),
        (signal.SIGTERM, 143, ["benchmarks", "--peer=sequential", "--scenario=64b-1", "--seconds=100"]),
        (signal.SIGTERM, 143, ["benchmarks.pipe", "--size=100000"]),
    ],
)
def test_signalEndsServerAndLoad(number: signal.Signals, code: int, command: list[str]) -> None:
    """A signal that ends the command ends the server and the load, or the client, too."""
    if "benchmarks.pipe" in command and not which("socat"):
        pytest.skip("socat is missing: apt-get install socat")
    module, *options = command
    with running(*options, module=module) as process, ExitStack() as opened:

        def holdChildren() -> list[int]:
            """Return descriptors of the children, which outlast the reuse of their numbers; none if one has ended."""
            held = []
            with suppress(ProcessLookupError):
                for child in childrenOf(process.pid):
                    held.append(os.pidfd_open(child))
                    opened.callback(os.close, held[-1])
                return held
            return []

        descriptors = eventually(lambda: len(found := holdChildren()) >= 2 and found)
        process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode == code
        assert select(descriptors, [], [], 0)[0] == descriptors


ONCE = """
import os, socket
listener = socket.create_server(("127.0.0.1", 0))
connection = listener.accept()[0]
connection.sendall(connection.recv(64).upper())
os.write(2, b"server: enough for today\\n")
os._exit(1)
"""
"""A server that exits early, at the moment at which its sockets are closed."""


def test_serverThatEndsIsRecorded(load: str, tmp_path: Path) -> None:
    """A server that exits early is recorded with the load's error and its own last line; others are measured."""
    bench = Bench({"tcp": load}, tmp_path, 0.1, *cores())
    everyone = [
        Peer("once", "", {"tcp": (sys.executable, "-c", ONCE)}),
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
            assert record.error.endswith("; the server exited: server: enough for today"), record
        else:
            assert record.figures, record


def test_serverThatNeverListensIsLeftOut(load: str, tmp_path: Path) -> None:
    """A server that exits before it listens can't be measured, and its last line is the reason."""
    command = (sys.executable, "-c", "raise SystemExit('server: no port')")
    assert (
        startable(Bench({"tcp": load}, tmp_path, 0.1, *cores()), Peer("none", "", {"tcp": command}))
        == "server: no port"
    )
