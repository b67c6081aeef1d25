"""Programs and relays that hold bytes back, and some that pass them on at once."""

from collections.abc import Callable
from contextlib import ExitStack
from math import inf
from pathlib import Path

import pytest

from echoup.client.diagnose.checks import buffering
from tests.support.authorities import Certificates
from tests.support.checks import RUNS, alike, causesOf, find
from tests.support.daemon import Daemon
from tests.support.faultyrelays import HoldingRelay, fullBuffers, nothing
from tests.support.proxies import haproxy, nginx, socat
from tests.support.relay import StreamRelay


@pytest.mark.slow
@pytest.mark.parametrize(("options", "until"), [("", "full"), ("stdbuf -oL ", "newline"), ("stdbuf -o0 ", None)])
def test_outputOfProgram(tmp_path: Path, options: str, until: str | None) -> None:
    """A program behind socat holds back until its buffer is full, until a newline, or not at all."""
    with socat(tmp_path, f"SYSTEM:{options}tr a-z A-Z", "-t30") as address:
        found = find(buffering.check, address.target)
    assert causesOf(found) == [f"held-until-{until}"] * bool(until)
    assert found.figures["until"] == until
    assert bool(found.figures["buffer"]) == (until == "full")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ready", "seconds", "until"),
    alike((fullBuffers, 1.0, "later"), (fullBuffers, inf, "full"), (nothing, inf, "end")),
)
def test_relayThatCollects(daemon: Daemon, ready: Callable[[bytes], int], seconds: float, until: str) -> None:
    """A relay collects for a second, until it has 4 KiB, or to the end."""
    with HoldingRelay(daemon.address, ready, seconds) as relay:
        found = find(buffering.check, relay.target)
    assert causesOf(found) == [f"held-until-{until}"]
    assert found.figures["buffer"] == (4096 if until == "full" else None)


@pytest.mark.parametrize("path", ["daemon", "haproxy", "haproxy with TLS", "nginx", "delay"])
def test_streamingIsFine(daemon: Daemon, tmp_path: Path, certificates: Certificates, path: str) -> None:
    """Nothing is said against proxies that pass on what comes, nor against a delay of 50 ms each way."""
    with ExitStack() as stack:
        target = daemon.address.target
        if path == "nginx":
            target = stack.enter_context(nginx(tmp_path, target)).target
        elif path == "delay":
            target = stack.enter_context(StreamRelay(daemon.address, 0.05)).target
        elif path != "daemon":
            bind = f"ssl crt {certificates.server}" if "TLS" in path else ""
            target = stack.enter_context(haproxy(tmp_path, target, bind)).target
        for _ in range(RUNS):
            found = find(buffering.check, target)
            assert found.problems == ()
            assert found.figures["until"] is None
