"""`echoup ping` of broken streams: the verdict, the step that failed, the exit code, and the one line."""

import re
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.addresses import unused
from tests.support.commands import connect
from tests.support.daemon import Daemon
from tests.support.ending import ending
from tests.support.pings import PING, TIMED, Pinged, ping, probe, resolving
from tests.support.servers import blackHole, serving

UNCHANGED = "unchanged: the bytes came back as they were sent, so something in between answered"
CORRUPTED = "corrupted: byte 1000 of the reply is not the upper case of the one sent"

BYTES = re.compile(': expected "[^"]{8}", got "[^"]{8}"')
"""Of a random payload."""


@dataclass(frozen=True)
class Fault:
    """The report that a broken server should get."""

    server: str
    options: tuple[str, ...]
    verdict: str | None
    step: str
    code: int
    why: str
    received: int
    wrongAt: int | None = None


FAULTS = [
    Fault("unchanged", (), "unchanged", "all bytes", 1, UNCHANGED, 56, 0),
    Fault("unchanged", ("--half-close",), "unchanged", "end", 1, UNCHANGED, 56, 0),
    Fault("flipping", ("-s5000",), "corrupted", "all bytes", 1, CORRUPTED, 5000, 1000),
    Fault("corrupting", ("-s5000", "--half-close"), "corrupted", "end", 1, CORRUPTED, 5000, 1000),
    Fault("short", (), "short", "all bytes", 7, "the server closed the connection, 3 of 56 bytes came back", 3),
    Fault(
        "short",
        ("--half-close",),
        "short",
        "all bytes",
        7,
        "the server closed the connection, 3 of 56 bytes came back",
        3,
    ),
    Fault("resetting", (), "short", "all bytes", 7, "the server reset the connection, 3 of 56 bytes came back", 3),
    Fault("silent", ("-W2",), None, "first byte", 5, "timed out: nothing came back in 2 s", 0),
    Fault("silent", ("-W2", "--half-close"), None, "first byte", 5, "timed out: nothing came back in 2 s", 0),
    Fault(
        "endless",
        ("-W2", "--half-close"),
        None,
        "end",
        5,
        "timed out: all 56 bytes came back, but the server did not close the connection within 2 s",
        56,
    ),
]


def named(fault: Fault) -> str:
    """Return the name of the test of `fault`."""
    return " ".join((fault.server, *fault.options))


@pytest.mark.parametrize("fault", FAULTS, ids=named)
def test_faultIsReported(fault: Fault) -> None:
    """Each fault of a server is reported in JSON and in text."""
    with serving(fault.server) as address:
        error = f"{address.target}: {fault.why}"
        pinged = probe(address.target, *fault.options)
        assert pinged.found == (fault.verdict, fault.step, fault.code)
        assert BYTES.sub("", pinged.error) == error
        assert (pinged.probe["received"], pinged.probe["wrongAt"]) == (fault.received, fault.wrongAt)
        assert pinged.probe["remote"] == address.target
        outage = pinged.summary["outage"]
        assert (outage["first"], outage["last"], outage["over"]) == (1, 1, False)
    with serving(fault.server) as address:
        ended = ping("-c1", *fault.options, address.target, command=TIMED)
        error = f"echoup: {address.target}: {fault.why}\n"
        assert (ended.returncode, BYTES.sub("", ended.stderr)) == (fault.code, error)
        _, line, _, _, counts, *_ = ended.stdout.splitlines()
        lost = "0 lost (0 %), 1 wrong" if fault.code == 1 else "1 lost (100 %), 0 wrong"
        assert counts == f"1 sent, 0 answered, {lost}"
        if fault.verdict:
            why = fault.why.removeprefix(f"{fault.verdict}: ")
            line = BYTES.sub("", line)
            assert line.startswith(f"seq=1 {fault.verdict} from {address.target}: {why}, time=")
        else:
            assert line == f"seq=1 {fault.step} at {address.target}: {fault.why}"


def test_resetAtOnceHasOneCode() -> None:
    """A server that resets each connection at once is told the same, whether we see the connection before or after."""
    with serving("dropping") as address:
        for target, code, verdict in ((address.target, 7, "short"), (f"tls:{address.target}", 6, None)):
            pinged = probe(target, "-i0.005", count=100)
            assert {(one["code"], one["verdict"]) for one in pinged.probes} == {(code, verdict)}
            assert (pinged.code, len(pinged.probes)) == (code, 100)
            ended = connect(target, b"hello")
            assert (ended.returncode, ended.stdout) == (code, b""), ended.stderr


@pytest.mark.parametrize("fault", [FAULTS[0], FAULTS[4], FAULTS[7], FAULTS[9]], ids=named)
def test_addressFollowsName(fault: Fault) -> None:
    """Of a server with a name, each fault is reported with the address that was reached, once."""
    with serving(fault.server) as address:
        port = address.address[1]
        target, command = f"name.example:{port}", resolving("127.0.0.1")
        pinged = probe(target, *fault.options, command=command)
        assert pinged.error == f"{target} ({address.target}): {fault.why}"
    with serving(fault.server) as address:
        target = f"name.example:{address.address[1]}"
        ended = ping("-c1", *fault.options, target, command=command)
        assert (ended.returncode, ended.stderr) == (fault.code, f"echoup: {target} ({address.target}): {fault.why}\n")
        _, line, *_ = ended.stdout.splitlines()
        assert line.count("127.0.0.1") == 1
        why = fault.why.removeprefix(f"{fault.verdict}: ")
        what = f"{fault.verdict} from" if fault.verdict else f"{fault.step} at"
        assert line.startswith(f"seq=1 {what} {address.target}: {why}"), line


def test_blackHoleIsReportedByAddress() -> None:
    """Of a name whose address doesn't answer, that address is reported."""
    with blackHole() as address:
        host, port = address.address
        pinged = probe(f"name.example:{port}", "-W2", command=resolving(host))
        assert pinged.found == (None, "connect", 5)
        assert pinged.error == f"cannot connect to name.example:{port} ({address.target}): timed out after 2 s"


def test_greetingIsEscaped() -> None:
    """A server that sends first is no echo service, and the beginning of its text is shown, escaped, on one line."""
    with serving("chatty") as address:
        pinged = probe(address.target)
        assert (pinged.probe["verdict"], pinged.probe["wrongAt"], pinged.code) == ("corrupted", 0, 1)
        assert r'; it begins with "\x1b[31mWELCOME\r\n' in pinged.error


def test_missingEndShowsState() -> None:
    """A server that never ends leaves us in FIN-WAIT-2, which is shown."""
    with serving("endless") as address:
        pinged = probe(address.target, "-W2", "--half-close")
        assert (pinged.phases["end"]["seconds"], pinged.phases["end"]["tcp"]["state"]) == (None, "FIN-WAIT-2")
        ended = ping("-c1", "-W2", "-v", "--half-close", address.target)
        assert any(line.startswith("    end ") and "FIN-WAIT-2" in line for line in ended.stdout.splitlines())


def test_blackHoleShowsState() -> None:
    """Where no SYN is answered the step is connect, the state SYN-SENT, and the SYN was sent again."""
    with blackHole() as address:
        pinged = probe(address.target, "-W3")
        assert pinged.found == (None, "connect", 5)
        assert pinged.error == f"cannot connect to {address.target}: timed out after 3 s"
        (phase,) = pinged.probe["phases"]
        assert (phase["step"], phase["address"], phase["seconds"]) == ("connect", address.target, None)
        assert phase["tcp"]["state"] == "SYN-SENT"
        assert phase["tcp"]["retransmits"] >= 1
        assert pinged.probe["remote"] is None
        ended = ping("-c1", "-W2", "-v", address.target)
        assert (ended.returncode, ended.stderr.count("\n")) == (5, 1)
        assert f"seq=1 connect at {address.target}: timed out after 2 s\n" in ended.stdout
        assert re.search(rf"\n    connect +-  {address.target}, SYN-SENT, retransmits \d\n", ended.stdout)
        # The same holds for a target with a shorter timeout for each address.
        pinged = probe(f"tcp:{address.target}:timeout=1", "-W5")
        assert pinged.found == (None, "connect", 5)
        assert pinged.error == f"cannot connect to {address.target}: timed out"


NO_ADDRESS = "Cannot assign requested address (this machine has no such address to send from, or no free port)"
ELSEWHERE = [
    ("no.such.name.invalid", "resolve", 3, "cannot resolve no.such.name.invalid: no address found"),
    ("127.0.0.1:1", "connect", 4, "cannot connect to 127.0.0.1:1: Connection refused"),
    ("[::1]:1", "connect", 4, "cannot connect to [::1]:1: Connection refused"),
    ("unix:/no/such/socket", "connect", 4, "cannot connect to unix:/no/such/socket: No such file or directory"),
    (
        "tcp:127.0.0.1:1:bindAddress=192.0.2.1",
        "connect",
        8,
        f"cannot connect to 127.0.0.1:1: {NO_ADDRESS}",
    ),
]


@pytest.mark.parametrize(("target", "step", "code", "error"), ELSEWHERE)
def test_missingServerHasStep(target: str, step: str, code: int, error: str) -> None:
    """An unknown name and a closed port have their steps and exit codes."""
    pinged = probe(target)
    assert pinged.found == (None, step, code)
    assert pinged.error == error
    assert (pinged.probe["sent"], pinged.probe["local"], pinged.probe["remote"]) == (0, None, None)
    (phase,) = pinged.probe["phases"]
    assert phase["step"] == step
    assert phase["error"]
    ended = ping("-c2", "-i0", target)
    what = "not sent" if code == 8 else "failed"
    assert (ended.returncode, ended.stderr) == (code, f"echoup: 2 of 2 {what}: {error}\n")
    server, _, why = error.removeprefix("cannot connect to ").partition(": ")
    where = f" at {server}" if step == "connect" else ""
    assert [line for line in ended.stdout.splitlines() if "seq" in line][:2] == [
        f"seq={seq} {step}{where}: {why}" for seq in (1, 2)
    ]


def test_secondAddressAnswers(tmp_path: Path) -> None:
    """Of a name with a black hole, a closed port and a server, the server answers; each try is a phase, in order."""
    with blackHole() as hole, Daemon.start(tmp_path, listen=[f"{unused().address[0]}:{hole.address[1]}"]) as daemon:
        port = hole.address[1]
        closed = replace(unused(), address=(unused().address[0], port))
        hosts = [address.address[0] for address in (hole, closed, daemon.address)]
        for tried in (hosts, hosts[::2], hosts[1:], [hosts[1], hosts[0], hosts[2]]):
            pinged = probe(f"name.example:{port}", command=resolving(*tried))
            assert pinged.found == ("uppercased", None, 0)
            assert pinged.probe["remote"] == daemon.address.target
            resolution, *attempts, first, last = pinged.probe["phases"]
            assert (resolution["step"], resolution["addresses"]) == ("resolve", tried)
            assert [attempt["step"] for attempt in attempts] == ["connect"] * len(tried)
            assert [attempt["address"] for attempt in attempts] == [f"{host}:{port}" for host in tried]
            for attempt in attempts:
                state = attempt["tcp"] and attempt["tcp"]["state"]
                assert (attempt["error"], attempt["seconds"] is None, state) == {
                    hole.target: (None, True, "SYN-SENT"),
                    closed.target: ("Connection refused", False, None),
                    daemon.address.target: (None, False, "ESTABLISHED"),
                }[attempt["address"]]
            assert (first["step"], last["step"]) == ("first byte", "all bytes")
        pinged = probe(f"name.example:{port}", "-W2", command=resolving(*hosts[1::-1]))
        assert pinged.found == (None, "connect", 5)


def test_stoppedServerSendsNoByte(tmp_path: Path) -> None:
    """The kernel of a stopped server still accepts: no byte comes, and that is the step."""
    with Daemon.start(tmp_path) as daemon:
        daemon.signal(signal.SIGSTOP)
        try:
            pinged = probe(daemon.address.target, "-W2")
        finally:
            daemon.signal(signal.SIGCONT)
        assert pinged.found == (None, "first byte", 5)
        assert pinged.error == f"{daemon.address.target}: timed out: nothing came back in 2 s"
        assert pinged.phases["first byte"]["tcp"]["state"] == "ESTABLISHED"
        assert probe(daemon.address.target).code == 0


SLOW_RESOLVER = """
import socket, sys, time

def getaddrinfo(*_):
    print("asked", file=sys.stderr, flush=True)
    time.sleep(600)

socket.getaddrinfo = getaddrinfo

from echoup.client.cli import main
main()
"""


def test_slowResolverTimesOut() -> None:
    """A slow resolver is the step that times out; Ctrl-C ends it at once."""
    command = [sys.executable, "-c", SLOW_RESOLVER, "ping"]
    ended = ping("--json", "-c1", "-W2", "name.example", command=command)
    pinged = Pinged.of(ended.returncode, ended.stdout, ended.stderr.removeprefix("asked\n"))
    assert pinged.found == (None, "resolve", 5)
    assert pinged.error == "cannot resolve name.example: timed out after 2 s"
    assert pinged.phases["resolve"]["seconds"] is None
    with ending(
        subprocess.Popen([*command, "-i60", "name.example"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ) as client:
        assert client.stdout
        assert client.stderr
        assert client.stderr.readline() == b"asked\n"
        client.send_signal(signal.SIGINT)
        assert client.wait(60) == 130
        output = client.stdout.read()
        assert b"\nseq=1 resolve: still waiting after " in output
        assert b"\n1 sent, 0 answered, 0 lost (0 %), 0 wrong, 1 unfinished\n" in output
        assert client.stderr.read() == b""


def test_missingDescriptorsAreReported() -> None:
    """Without free descriptors probes aren't sent, and say so; none is left out, and none of them is lost."""
    with serving("silent") as address:
        limited = ["sh", "-c", 'ulimit -n 24 && exec "$@"', "sh", *PING]
        pinged = probe(address.target, "-i0.005", "-W2", count=40, command=limited)
    assert {(one["step"], one["code"]) for one in pinged.probes} == {("connect", 8), ("first byte", 5)}
    errors = {one["error"] for one in pinged.probes if one["code"] == 8}
    why = "Too many open files (this process has no file descriptors left, see ulimit -n)"
    assert errors == {f"cannot connect to {address.target}: {why}"}
    assert (pinged.code, pinged.summary["lost"] + pinged.summary["unsent"]) == (5, 40)
    assert pinged.summary["outage"]["last"] < min(one["seq"] for one in pinged.probes if one["code"] == 8)
