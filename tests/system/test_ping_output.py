"""What `echoup ping` writes, for people and for programs, and how it ends."""

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from socket import inet_aton, socket

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.addresses import Address, unused
from tests.support.authorities import Certificates
from tests.support.commands import listenTLS
from tests.support.daemon import Daemon
from tests.support.datagrams import ports
from tests.support.ending import ending
from tests.support.peers import need
from tests.support.pings import PING, TIMED, Pinged, ping, probe, resolving
from tests.support.relay import DatagramRelay
from tests.support.servers import blackHole, serving
from tests.support.terminal import CTRL_C, Terminal
from tests.support.waiting import eventually

NUMBER = r"[\d.]+"
TIMES = (
    rf"time min/avg/max/stddev = {NUMBER}/{NUMBER}/{NUMBER}/{NUMBER} ms\n"
    rf" +p50/p90/p95/p99 = {NUMBER}/{NUMBER}/{NUMBER}/{NUMBER} ms"
)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Daemon]:
    """A daemon on TCP, TLS and UDP."""
    listen = ["127.0.0.1:0", listenTLS(certificates.server)]
    with Daemon.start(tmp_path_factory.mktemp("daemon"), "--udp=127.0.0.1:0", listen=listen) as daemon:
        yield daemon


def test_interruptPrintsStatistics(daemon: Daemon) -> None:
    """On a terminal a live line shows the counts until Ctrl-C; then the statistics replace it."""
    target = daemon.address.target
    with Terminal(*TIMED, "-i60", target) as terminal:
        terminal.shows("ms\n1 sent, 1 answered, 0 lost (0 %), 0 wrong")
        terminal.type(CTRL_C)
        assert terminal.exits() == 130
        expected = (
            rf"ECHOUP {target}: 56 bytes\n56 bytes uppercased from {target}: seq=1 time={NUMBER} ms\n"
            rf"\n--- {target} statistics ---\n1 sent, 1 answered, 0 lost \(0 %\), 0 wrong\n{TIMES}"
        )
        assert re.fullmatch(expected, terminal.text), terminal.text
        assert terminal.isCooked


CTRL_BACKSLASH = "\x1c"


def test_quitShowsStatisticsSoFar(daemon: Daemon) -> None:
    """Ctrl-Backslash shows the statistics so far in place of the live line, and the probes go on."""
    target, live = daemon.address.target, "1 sent, 1 answered, 0 lost (0 %), 0 wrong"
    with Terminal(*TIMED, "-i60", target) as terminal:
        terminal.shows(f" ms\n{live}")
        (time,) = re.findall(rf"time=({NUMBER}) ms", terminal.text)
        line = f"{live}, time min/avg/max = {time}/{time}/{time} ms"
        for count in (1, 2):
            terminal.type(CTRL_BACKSLASH)
            terminal.shows("\n".join([f"seq=1 time={time} ms", *[line] * count, live]))
        terminal.type(CTRL_C)
        assert terminal.exits() == 130
        expected = (
            rf"ECHOUP {target}: 56 bytes\n56 bytes uppercased from {target}: seq=1 time={NUMBER} ms\n"
            rf"({re.escape(line)}\n){{2}}\n--- {target} statistics ---\n{re.escape(live)}\n{TIMES}"
        )
        assert re.fullmatch(expected, terminal.text), terminal.text


def test_quitBeforeTheFirstAnswer() -> None:
    """With --quiet, and before anything is answered, the line of Ctrl-Backslash is the same."""
    with serving("silent") as address, Terminal(*PING, "-q", "-i60", "-W600", address.target) as terminal:
        eventually(lambda: terminal.isCatching(signal.SIGQUIT))
        terminal.type(CTRL_BACKSLASH)
        terminal.shows("1 sent, 0 answered, 0 lost (0 %), 0 wrong, 1 under way")
        terminal.type(CTRL_C)
        assert terminal.exits() == 130
        first, *_, counts = terminal.text.splitlines()
        assert (first, counts) == (f"{counts.removesuffix('unfinished')}under way", f"{first[:-9]}unfinished")


@pytest.mark.parametrize("form", ["text", "json", "nagios", "prometheus"])
def test_quitLeavesOutputValid(daemon: Daemon, form: str) -> None:
    """Where a program reads the output the statistics so far are lines on stderr, and the format stays what it is."""
    target = daemon.address.target
    command = [*TIMED, f"--format={form}", "-c2", "-i600", target]
    with ending(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)) as client:
        assert client.stderr
        status = Path(f"/proc/{client.pid}/status")
        eventually(lambda: int(re.findall(r"SigCgt:\s*(\w+)", status.read_text())[0], 16) >> (signal.SIGQUIT - 1) & 1)
        for _ in range(2):
            client.send_signal(signal.SIGQUIT)
            assert client.stderr.readline().startswith(f"echoup: {target}: 1 sent, ")
        client.send_signal(signal.SIGINT)
        output, errors = client.communicate(timeout=60)
    assert errors == ""
    if form == "text":
        expected = rf"ECHOUP {target}: 56 bytes\n.*seq=1.*\n\n--- {target} statistics ---\n1 sent, [^m]*\n({TIMES}\n)?"
        assert re.fullmatch(expected, output), output
    elif form == "json":
        assert [json.loads(line)["type"] for line in output.splitlines()][-1] == "summary"
    elif form == "nagios":
        assert re.fullmatch(rf"ECHOUP \w+ - [^|\n]* \| {PERFORMANCE}", output), output
    else:
        assert {family.type for family in text_string_to_metric_families(output)} == {"gauge"}


def test_quitDoesNotSpoilTheEnd(daemon: Daemon) -> None:
    """Ctrl-Backslash after the statistics, while Python exits, leaves the exit code as it is."""
    command = [*TIMED, "-qc1", daemon.address.target]
    with ending(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) as client:
        assert client.stdout
        while "p50" not in client.stdout.readline():
            pass
        while client.poll() is None:
            client.send_signal(signal.SIGQUIT)
        assert client.returncode == 0


def test_liveLineShowsOutage() -> None:
    """While nothing is answered, the live line shows since when; the error comes last."""
    target = unused().target
    with Terminal(*PING, "-i60", target) as terminal:
        terminal.shows(" ago")
        live = r"\n1 sent, 0 answered, 1 lost \(100 %\), 0 wrong, down since seq 1, \d+ s ago$"
        assert re.search(live, terminal.text), terminal.text
        terminal.type(CTRL_C)
        assert terminal.exits() == 130
        assert re.search(r"\ndown since seq 1$", terminal.text), terminal.text
    with Terminal(*PING, "-c1", target) as terminal:
        assert terminal.exits() == 4
        assert terminal.text.endswith(f"\nechoup: cannot connect to {target}: Connection refused")


def test_interruptDuringOutage() -> None:
    """When it is interrupted during an outage, the counts are printed, and what the oldest probe waits for."""
    with blackHole() as hole:
        target, command = f"name.example:{hole.address[1]}", resolving(hole.address[0])
        before = connecting(hole)
        with Terminal(*command, "-v", "-i600", "-W600", target) as terminal:
            terminal.shows("\n1 sent, 0 answered, 0 lost (0 %), 0 wrong")
            eventually(lambda: connecting(hole) > before)
            terminal.type(CTRL_C)
            assert terminal.exits() == 130
            expected = (
                rf"ECHOUP {target}: 56 bytes\nseq=1 connect: still waiting after \d\.\d\d\d s\n"
                rf" +resolve +{NUMBER} ms  {hole.address[0]}\n +connect +-  {hole.target}, SYN-SENT, retransmits \d\n"
                rf"\n--- {target} statistics ---\n"
                r"1 sent, 0 answered, 0 lost \(0 %\), 0 wrong, 1 unfinished"
            )
            assert re.fullmatch(expected, terminal.text), terminal.text
        with Terminal(*command, "-q", "-i0.1", "-W600", target) as terminal:
            eventually(lambda: terminal.isCatching(signal.SIGTERM))  # just before the first probe
            eventually(lambda: connecting(hole) > before + 3)
            terminal.type(CTRL_C)
            assert terminal.exits() == 130
            heading, counts = terminal.text.removeprefix("^C").splitlines()
            assert heading == f"--- {target} statistics ---"
            assert re.fullmatch(r"(\d+) sent, 0 answered, 0 lost \(0 %\), 0 wrong, \1 unfinished", counts), counts


def entries(pattern: str) -> int:
    """Return how many entries of /proc/net/tcp begin, after their numbers, with `pattern` (proc_pid_net(5))."""
    return len(re.findall(rf"^ *\d+: {pattern} ", Path("/proc/net/tcp").read_text(), re.MULTILINE))


def connecting(address: Address) -> int:
    """Return how many connections there wait for an answer to their SYN, 02."""
    host, port = address.address
    return entries(rf"\S+ {int.from_bytes(inet_aton(host), 'little'):08X}:{port:04X} 02")


def hasArrived(address: Address, size: int) -> bool:
    """Return whether a connection, 01, brought `size` bytes there that weren't read yet."""
    return entries(rf"\S+:{address.address[1]:04X} \S+ 01 00000000:{size:08X}") > 0


def test_interruptShowsAddressAndState() -> None:
    """A silent server is shown with its address, and the state of the connection."""
    with serving("silent") as address:
        target = f"name.example:{address.address[1]}"
        with Terminal(*resolving("127.0.0.1"), "-v", "-i600", "-W600", target) as terminal:
            terminal.shows("\n1 sent, 0 answered, 0 lost (0 %), 0 wrong")
            eventually(lambda: hasArrived(address, 56))
            terminal.type(CTRL_C)
            assert terminal.exits() == 130
            assert re.search(
                rf"\nseq=1 first byte at {address.target}: still waiting after {NUMBER} s\n", terminal.text
            )
            assert re.search(rf"\n +first byte +-  ESTABLISHED, rtt {NUMBER} ms, retransmits 0\n", terminal.text)
            assert terminal.text.endswith("\n1 sent, 0 answered, 0 lost (0 %), 0 wrong, 1 unfinished")


@pytest.mark.parametrize("options", [(), ("--json",), ("--quiet",)])
def test_coloursOnTerminalOnly(daemon: Daemon, options: tuple[str, ...]) -> None:
    """Colours and a live line are for the text on a terminal only."""
    command = [*PING, "-c2", "-i0", "-v", *options, daemon.address.target]
    plain = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
    assert not set(plain) & set(b"\x1b\r")
    master, slave = pty.openpty()
    with os.fdopen(master, "rb", buffering=0) as terminal:
        try:
            subprocess.run(command, stdout=slave, timeout=60, check=True)
        finally:
            os.close(slave)
        shown = b""
        with suppress(OSError):  # EIO is the end; the terminal passes the output on with a delay
            while more := terminal.read(65536):
                shown += more
    if options:
        assert b"\x1b" not in shown
    else:
        assert shown.count(b"\x1b[32muppercased\x1b[0m") == 2
        assert b"\r\x1b[K2 sent, 1 answered, 0 lost (0 %), 0 wrong\r\x1b[K56 bytes" in shown
        assert b"\r\n\r\n--- " in shown


def test_closedOutputEndsQuietly(daemon: Daemon) -> None:
    """When the reader of the output exits it ends without a message, with the exit code of a broken pipe."""
    for options in ([], ["--json"]):
        command = ["bash", "-c", '("$@"; echo $? >&2) | head -1', "bash", *PING, "-i0.01", *options]
        ended = subprocess.run([*command, daemon.address.target], capture_output=True, timeout=60, check=False)
        assert (ended.stdout.count(b"\n"), ended.stderr) == (1, b"141\n")


@pytest.mark.parametrize(("form", "unbuffered"), [("text", ""), ("text", "1"), ("json", "1")])
def test_nonBlockingOutputIsAwaited(daemon: Daemon, form: str, unbuffered: str) -> None:
    """Where another process made the output non-blocking, it waits for its reader, and not a line is lost."""
    drain, sink = os.pipe()
    os.set_blocking(sink, False)
    full = os.write(sink, bytes(fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, 4096)))
    command = [*TIMED, "-c100", "-i0", f"--format={form}", daemon.address.target]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with (
        os.fdopen(drain, "rb") as output,
        ending(subprocess.Popen(command, stdout=sink, stderr=subprocess.PIPE, env=environment)) as client,
    ):
        os.close(sink)
        with suppress(subprocess.TimeoutExpired):  # it would have ended if it didn't wait
            client.wait(2)
        lines = output.read()[full:].splitlines()
        assert client.stderr
        assert (client.wait(60), client.stderr.read()) == (0, b"")
    assert sum(b"uppercased" in line for line in lines) == 100
    assert b"100 sent" in lines[-3] if form == "text" else json.loads(lines[-1])["sent"] == 100


@pytest.mark.parametrize(
    ("form", "code"),
    [("text", 141), ("json", 141), ("prometheus", 141), ("nagios", 3)],  # to Nagios 3 is UNKNOWN
)
def test_fullDiskIsReported(daemon: Daemon, form: str, code: int) -> None:
    """When the output can't be written, that is reported in one line, and is a failure."""
    with Path("/dev/full").open("wb") as full:
        command = [*PING, "-c2", "-i0", f"--format={form}", daemon.address.target]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (code, b"echoup: the output can't be written\n")


def test_noOutputKeepsExitCode(daemon: Daemon) -> None:
    """Without any standard output the exit code is the same."""
    command = ["sh", "-c", '"$@" >&-', "sh", *PING, "-c2", "-i0"]
    for target, code in ((daemon.address.target, 0), (unused().target, 4)):
        ended = subprocess.run([*command, target], stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        assert (ended.returncode, ended.stderr.count("\n")) == (code, bool(code)), ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signalPrintsStatistics(daemon: Daemon, number: int) -> None:
    """A signal ends it with the statistics and the exit code that shells use for it."""
    command = [*PING, "-i600", daemon.address.target]
    with ending(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)) as client:
        assert client.stdout
        assert client.stderr
        client.stdout.readline()
        client.stdout.readline()
        client.send_signal(number)
        assert client.wait(60) == 128 + number
        assert "\n1 sent, 1 answered, 0 lost (0 %), 0 wrong\n" in client.stdout.read()
        assert client.stderr.read() == ""


def test_interruptAtStart() -> None:
    """An interrupt just after the start prints the statistics too."""
    with serving("silent") as address:
        command = [*PING, "-i60", address.target]
        with ending(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)) as client:
            assert client.stdout
            assert client.stderr
            client.stdout.readline()
            client.send_signal(signal.SIGINT)
            assert client.wait(60) == 130
            output = client.stdout.read()
            assert "seq=1 " in output
            assert ": still waiting after " in output
            assert "\n1 sent, 0 answered, 0 lost (0 %), 0 wrong, 1 unfinished\n" in output
            assert client.stderr.read() == ""


def test_interruptedProbeIsUnfinished() -> None:
    """A probe that is under way when it is interrupted was sent, and is counted as nothing else."""
    with socket() as listening, ExitStack() as stack:
        listening.settimeout(60)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        host, port = listening.getsockname()
        command = [*PING, "--json", "-i0.02", "-W30", f"{host}:{port}"]
        client = stack.enter_context(
            ending(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        )
        for _ in range(5):
            stack.enter_context(listening.accept()[0])
        client.send_signal(signal.SIGINT)
        output, errors = client.communicate(timeout=60)
    pinged = Pinged.of(client.returncode, output, errors)
    assert (pinged.code, pinged.probes, pinged.error, pinged.summary["code"]) == (130, [], "", 0)
    assert pinged.summary["unfinished"] >= 5
    assert (pinged.summary["sent"], pinged.summary["lost"]) == (pinged.summary["unfinished"], 0)


def test_quietLeavesSummary(daemon: Daemon) -> None:
    """--quiet leaves only the summary, in JSON too; failures are the same."""
    ended = ping("-q", "-c2", "-i0", daemon.address.target, command=TIMED)
    expected = rf"--- {daemon.address.target} statistics ---\n2 sent, 2 answered, 0 lost \(0 %\), 0 wrong\n{TIMES}\n"
    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.fullmatch(expected, ended.stdout), ended.stdout
    ended = ping("-q", "-c2", "-i0", "--json", daemon.address.target)
    assert json.loads(ended.stdout)["type"] == "summary"
    closed = unused().target
    ended = ping("-q", "-c1", closed)
    assert (ended.returncode, ended.stderr) == (4, f"echoup: cannot connect to {closed}: Connection refused\n")
    assert "seq=1" not in ended.stdout


REQUIREMENTS = [
    (["p99<50s", "loss<1%", "late<1", "outage<=0s", "max < 1m"], []),
    (["p99<1us"], ["p99<1us"]),
    (["min<0.1us", "loss<=0%", "stddev<.000001us"], ["min<0.1us", "stddev<.000001us"]),
]


@pytest.mark.parametrize(("required", "unmet"), REQUIREMENTS)
def test_unmetRequirementFails(daemon: Daemon, required: list[str], unmet: list[str]) -> None:
    """A requirement that isn't met makes the exit code 1, and is the one line; all are in the statistics."""
    options = [f"--require={text}" for text in required]
    required = [text.replace(" ", "") for text in required]
    ended = ping("-c3", "-i0", *options, daemon.address.target, command=TIMED)
    assert ended.returncode == bool(unmet)
    judgements = [rf"{re.escape(text)}: {'not ' * (text in unmet)}met \({NUMBER} (ms|%)\)" for text in required]
    shown = "\n".join(re.sub(r" \(0\)", " (0 %)", line) for line in ended.stdout.splitlines()[-len(required) :])
    assert re.fullmatch("\n".join(judgements), shown), shown
    assert ended.stderr.startswith(f"echoup: {unmet[0]}: not met (" if unmet else "")
    assert ended.stderr.count(": not met (") == len(unmet)
    assert ended.stderr.count("\n") == bool(unmet)
    pinged = probe(daemon.address.target, "-i0", *options, count=3, command=TIMED)
    assert [(one["require"], one["met"]) for one in pinged.summary["requirements"]] == [
        (text, text not in unmet) for text in required
    ]


@pytest.mark.slow
def test_lossRequirementForgivesLosses(daemon: Daemon) -> None:
    """A requirement of the loss forgives lost probes, but no wrong reply."""
    (server,) = ports(daemon)
    for requirement, code in (("loss<=25%", 0), ("loss<25%", 1)):
        with DatagramRelay(server, drop={2}) as relay:
            pinged = probe(relay.target, "-i0.02", "-W2", f"--require={requirement}", count=4)
            assert (pinged.code, pinged.summary["lost"], pinged.summary["loss"]) == (code, 1, 0.25)
            if code == 1:
                assert pinged.error.startswith(f"loss<25%: not met (25 %); {relay.target}: no reply within 2 s: ")
    closed = unused().target
    assert probe(closed, "--require=loss<=100%").code == 0
    assert probe(closed, "--require=loss<=100%", "--require=p99<1s").code == 1  # no probe was answered
    with serving("unchanged") as address:
        pinged = probe(address.target, "--require=loss<=50%")
        assert (pinged.code, "unchanged" in pinged.error) == (1, True)


def test_outageRequirementForgivesPastLosses(daemon: Daemon) -> None:
    """A requirement of the outage forgives lost probes of an outage that is over, but no wrong reply."""
    (server,) = ports(daemon)
    for drop, requirement, code, why in (
        ({1}, "outage<=9m", 0, ""),
        ({2}, "outage<1.9s", 1, rf"outage<1.9s: not met \({NUMBER} ms\); udp:[\d.:]+: no reply within 2 s: "),
        ({3}, "outage<=9m", 5, r"1 of 3 failed: udp:[\d.:]+: no reply within 2 s: "),
    ):
        # One by one: otherwise the next probe's answer ends an outage at once.
        with DatagramRelay(server, drop=drop) as relay:
            pinged = probe(relay.target, "-i0", "-W2", f"--require={requirement}", count=3)
            assert (pinged.code, pinged.summary["lost"]) == (code, len(drop)), pinged.error
            assert re.match(why, pinged.error), pinged.error
    with serving("unchanged") as address:
        pinged = probe(address.target, "--require=outage<=9m")
        assert (pinged.code, "unchanged" in pinged.error) == (1, True)


PERFORMANCE = rf"time=(U|{NUMBER}s);;;0 loss={NUMBER}%;;;0;100 wrong=\d+;;;0 outage=(U|{NUMBER}s);;;0\n"


def test_nagiosHasLineAndCode(daemon: Daemon) -> None:
    """For Nagios there is one line, with performance data, and its own exit codes."""
    target, closed = daemon.address.target, unused().target
    down = ", down since seq 1"
    refused = f"{down}; cannot connect to {closed}: Connection refused"
    with serving("unchanged") as unchanged:
        for options, code, status in (
            ((target,), 0, rf"OK - 3 of 3 answered by {target}, avg {NUMBER} ms"),
            (
                ("--require=p50<1us", target),
                1,
                rf"WARNING - 3 of 3 answered by {target}, avg {NUMBER} ms; p50<1us: not met \({NUMBER} ms\)",
            ),
            (
                ("--require=loss<50%", "--require=outage<=0s", closed),
                2,
                (
                    rf"CRITICAL - 0 of 3 answered by {closed}{refused}; "
                    r"loss<50%: not met \(100 %\); outage<=0s: not met \(down since seq 1\)"
                ),
            ),
            (
                (closed,),
                2,
                rf"CRITICAL - 0 of 3 answered by {closed}{refused}",
            ),
            (
                (unchanged.target,),
                2,
                rf"CRITICAL - 0 of 3 answered by {unchanged.target}{down}; {unchanged.target}: unchanged: [^|]*",
            ),
        ):
            ended = ping("--format=nagios", "-c3", "-i0", *options, command=TIMED)
            assert ended.returncode == code
            assert re.fullmatch(rf"ECHOUP {status} \| {PERFORMANCE}", ended.stdout), ended.stdout
            assert ended.stderr.count("\n") == bool(code)
            assert ended.stdout.count("refused") == ended.stderr.count("refused") == (closed in options)


def metrics(*arguments: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the exported values by their names, without the common prefix, and their labels, without target."""
    ended = ping("--format=prometheus", *arguments, command=TIMED)
    assert ended.stderr.count("\n") == bool(ended.returncode)
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(ended.stdout):
        assert (family.type, family.name.startswith("echoup_ping_"), bool(family.documentation)) == (
            "gauge",
            True,
            True,
        )
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("target") == arguments[-1].removeprefix("tls:")
            found.setdefault(sample.name.removeprefix("echoup_ping_"), {})[tuple(labels.values())] = sample.value
    return found


def test_promtoolFindsNoFault(daemon: Daemon, certificates: Certificates) -> None:
    """Prometheus' own tool finds no fault in the export."""
    required = ("--require=p99<1us", "--require=loss<=1%")
    target, trust = daemon.addresses[1].target, f"--cafile={certificates.authority}"
    for arguments in (("-c2", "-i0", "--half-close", *required, trust, target), ("-c1", unused().target, target)):
        exported = ping("--format=prometheus", *arguments).stdout
        command = [need("promtool", "prometheus"), "check", "metrics"]
        checked = subprocess.run(command, input=exported, capture_output=True, text=True, timeout=60, check=False)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_prometheusHasGauges(daemon: Daemon, certificates: Certificates) -> None:
    """For Prometheus' textfile collector there are gauges, which its parser reads."""
    tcp, tls = (address.target for address in daemon.addresses)
    found = metrics("-c4", "-i0", "--half-close", "--require=p99<1us", "--require=loss<=1%", tcp)
    assert found["up"] == {(): 1}
    assert found["probes"] == {("answered",): 4, ("lost",): 0, ("wrong",): 0, ("unsent",): 0}
    assert set(found["seconds"]) == {("50",), ("90",), ("95",), ("99",)}
    assert found["seconds_min"][()] <= found["seconds"][("50",)] <= found["seconds_max"][()]
    assert set(found["phase_seconds"]) == {("connect",), ("first byte",), ("all bytes",), ("end",)}
    assert found["outage_seconds"] == {(): 0}
    assert found["requirement_met"] == {("p99<1us",): 0, ("loss<=1%",): 1}
    found = metrics("-c1", f"--cafile={certificates.authority}", tls)
    expiry = probe(tls, f"--cafile={certificates.authority}").probe["certificate"]
    assert ("TLS",) in found["phase_seconds"]
    assert found["certificate_expiry_timestamp_seconds"][()] > 0
    assert expiry["daysLeft"] > 29
    found = metrics("-c2", "-i0", unused().target)
    assert found["up"] == {(): 0}
    assert found["probes"] == {("answered",): 0, ("lost",): 2, ("wrong",): 0, ("unsent",): 0}
    assert (found["outage_seconds"][()], found["down_since_seq"][()], found["exit_code"][()]) == (0, 1, 4)
    assert [step for step, isFailed in found["failed_step"].items() if isFailed] == [("connect",)]
    assert "seconds" not in found


USAGE = [
    (["--keep", "--half-close", "127.0.0.1"], "--keep and --half-close are mutually exclusive"),
    (["-c0", "127.0.0.1"], "Invalid value for '-c'"),
    (["--tls", "--cafile=/no\nfile", "-c1", "127.0.0.1"], "/no\\nfile: No such file or directory"),
]
"""Three of them: the tests of tests/client prove the words for all others."""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["-c1", "-q", "127.0.0.1:1"], 4),
        (["-c0"], 2),
        (["--cafile=/no", "tls:127.0.0.1"], 2),
        (["-c1", "no.invalid"], 3),
    ],
)
@pytest.mark.parametrize("stderr", ["/dev/full", "&-"])
def test_unwritableErrorKeepsExitCode(arguments: list[str], code: int, stderr: str) -> None:
    """Where the line on stderr can't be written, the exit code is the same."""
    ended = ping(*arguments, command=["sh", "-c", f'"$@" 2>{stderr}', "sh", *PING])
    assert (ended.returncode, ended.stderr) == (code, "")


def test_noMemoryIsMistake(daemon: Daemon) -> None:
    """A size for which there isn't enough memory is a mistake, in one line."""
    limited = ["sh", "-c", 'ulimit -v 1000000 && exec "$@"', "sh", *PING]
    ended = ping("-c1", "-q", f"-s{2**30}", daemon.address.target, command=limited)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"echoup: not enough memory for --size {2**30}\n"


@pytest.mark.parametrize(("arguments", "why"), USAGE)
def test_mistakeIsOneLine(arguments: list[str], why: str) -> None:
    """A mistake of usage is one line, and no probe is made."""
    ended = ping(*arguments)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert ended.stderr.startswith("echoup: ")
    assert why in ended.stderr
    assert "seq=" not in ended.stdout
