"""`echoup ping` while a server stops, dies and comes back."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from select import select
from typing import Any

import pytest

from tests.support.addresses import unused
from tests.support.daemon import Daemon
from tests.support.ending import ending
from tests.support.pings import PING, TIMED, Pinged


@pytest.mark.slow
def test_stoppedServerIsOutage(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """A server that stops for a while, and goes on, is one outage of that length."""
    lines: list[tuple[float, dict[str, Any]]] = []

    def read(client: "subprocess.Popen[bytes]") -> bool:
        assert client.stdout
        line = json.loads(client.stdout.readline())
        lines.append((time.monotonic(), line))
        return bool(line["code"] == 0)

    command = [*TIMED, "--json", "-i0.1", "-W3"]
    with (
        Daemon.start(tmp_path) as daemon,
        ending(
            subprocess.Popen(
                [*command, daemon.address.target], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
            )
        ) as client,
    ):
        assert client.stdout
        assert client.stderr
        for _ in range(5):
            assert read(client)
        isLate = True
        while isLate:  # an unread line may be of a moment before
            atMost = time.monotonic()  # a probe that fails begins after this
            isLate = bool(select([client.stdout], [], [], 0)[0])
            assert read(client)
        daemon.signal(signal.SIGSTOP)
        while read(client):
            pass
        read(client)
        ended, failed = lines[-2]
        read(client)
        atLeast = time.monotonic() - (ended - failed["seconds"])
        daemon.signal(signal.SIGCONT)
        while not read(client):
            pass
        client.send_signal(signal.SIGINT)
        while lines[-1][1]["type"] == "probe":
            read(client)
        code = client.wait(60)
        pinged = Pinged.of(code, "".join(json.dumps(line) + "\n" for _, line in lines), client.stderr.read().decode())
    outage = pinged.summary["outage"]
    answered = next(moment for moment, line in lines if line.get("seq") == outage["last"] + 1)
    within = f"from outside between {atLeast:.3f} and {answered - atMost:.3f} s"
    figure(f"an outage of {outage['seconds']:.3f} s, {within}")
    assert (pinged.code, outage["first"], outage["over"]) == (130, failed["seq"], True)
    assert {line["code"] for _, line in lines[:-1]} == {0, 5}
    assert pinged.summary["lost"] == outage["last"] - outage["first"] + 1
    assert failed["error"].startswith(f"{daemon.address.target}: timed out: ")
    assert atLeast <= outage["seconds"] <= answered - atMost


def test_restartCostsProbes(tmp_path: Path) -> None:
    """With --keep, a server that dies costs the probes until it is back; then they use a new connection."""
    target = unused().target  # another process might take a port of the kernel's choice before the server is back
    with (
        Daemon.start(tmp_path, listen=[target]) as daemon,
        ending(
            subprocess.Popen(
                [*PING, "--json", "--keep", "-i0.05", target], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        ) as client,
    ):
        assert client.stdout
        assert client.stderr
        lines = [client.stdout.readline()]
        daemon.kill()
        while json.loads(lines[-1])["code"] != 4:
            lines.append(client.stdout.readline())
        with Daemon.start(tmp_path, listen=[target]):
            while json.loads(lines[-1])["code"] != 0:
                lines.append(client.stdout.readline())
            client.send_signal(signal.SIGINT)
            lines += client.stdout
            assert client.wait(60) == 130
        pinged = Pinged.of(130, "".join(lines), client.stderr.read())
    codes = [one["code"] for one in pinged.probes]
    assert (codes[0], codes[-1], set(codes)) == (0, 0, {0, 4} | ({7} & set(codes)))
    locals_ = {one["local"] for one in pinged.probes if one["code"] == 0}
    assert len(locals_) == 2
    assert pinged.summary["outage"]["over"]
