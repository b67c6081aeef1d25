"""`echoup ping` of several targets, and until a deadline."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.addresses import unused
from tests.support.daemon import Daemon
from tests.support.datagrams import ports
from tests.support.ending import ending
from tests.support.pings import PING, TIMED, ping
from tests.support.servers import blackHole


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon on TCP and UDP."""
    with Daemon.start(tmp_path_factory.mktemp("daemon"), "--udp=127.0.0.1:0") as daemon:
        yield daemon


def test_targetsAreProbedSideBySide(daemon: Daemon) -> None:
    """Each target has its lines and its summary, and the one that refuses sets the exit code, and is named."""
    ((host, port),) = ports(daemon)
    refused, datagrams = unused().target, f"udp:{host}:{port}"
    targets = [refused, daemon.address.target, datagrams]
    ended = ping("--json", "-c3", "-i0.05", *targets)
    objects = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [(one["target"], one["code"]) for one in objects if one["type"] == "summary"] == [
        (refused, 4),
        (daemon.address.target, 0),
        (datagrams, 0),
    ]
    for target, code in zip(targets, (4, 0, 0), strict=True):
        probes = [one for one in objects if one["type"] == "probe" and one["target"] == target]
        assert sorted((one["seq"], one["code"]) for one in probes) == [(seq, code) for seq in (1, 2, 3)]
    why = f"3 of 3 failed: cannot connect to {refused}: Connection refused"
    assert (ended.returncode, ended.stderr) == (4, f"echoup: 1 of 3 targets failed: {why}\n")


def test_deadlineEndsIt(daemon: Daemon) -> None:
    """At the deadline it ends: well, if all that was over was answered, as a timeout where nothing was."""
    target = daemon.address.target
    ended = ping("-D", "-w2", "-i0.2", target, command=TIMED)
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = re.findall(rf"^\[[0-9]+\.[0-9]{{6}}\] 56 bytes uppercased from {target}: seq=", ended.stdout, re.MULTILINE)
    sent = re.search(rf"\n--- {target} statistics ---\n([0-9]+) sent, ([0-9]+) answered, 0 lost", ended.stdout)
    assert sent
    assert int(sent[2]) == len(lines) <= int(sent[1]) <= 11
    with blackHole() as hole:
        ended = ping("-w0.5", "-q", hole.target, command=TIMED)
        why = f"{hole.target}: timed out: no probe was over after 0.5 s; seq 1, connect: still waiting after "
        assert (ended.returncode, ended.stderr.count("\n")) == (5, 1)
        assert ended.stderr.startswith(f"echoup: {why}")
        counts = "1 sent, 0 answered, 0 lost (0 %), 0 wrong, 1 unfinished"
        assert ended.stdout == f"--- {hole.target} statistics ---\n{counts}\n"


def test_signalsConcernAllTargets(daemon: Daemon) -> None:
    """Ctrl-Backslash shows a line for each target, and Ctrl-C ends all with their summaries."""
    targets = [daemon.address.target, unused().target]
    with ending(
        subprocess.Popen([*PING, "-i600", *targets], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    ) as client:
        assert client.stdout
        assert client.stderr
        lines = [client.stdout.readline() for _ in range(3)]
        assert lines[0] == f"ECHOUP {', '.join(targets)}: 56 bytes\n"
        assert sorted(line.startswith(f"{targets[0]}: 56 bytes uppercased") for line in lines[1:]) == [False, True]
        assert any(line.startswith(f"{targets[1]}: seq=1 connect at {targets[1]}: ") for line in lines[1:])
        client.send_signal(signal.SIGQUIT)
        for target in targets:
            assert client.stderr.readline().startswith(f"echoup: {target}: 1 sent, ")
        client.send_signal(signal.SIGINT)
        output, errors = client.communicate(timeout=60)
    assert (client.returncode, errors) == (130, "")
    assert re.findall("^--- (.*) statistics ---$", output, re.MULTILINE) == targets
