"""Programs and relays that hold bytes back, and some that pass them on at once.

DIAGNOSE_RUNS is how many times each healthy path is checked.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from math import inf
from pathlib import Path

import pytest

from echoup.client.diagnose.checks import buffering
from tests.support.addresses import unused
from tests.support.authorities import Certificates
from tests.support.balancers import HoldingRelay, fullBuffers, haproxy, nginx, nothing
from tests.support.checks import REPETITIONS, checked
from tests.support.daemon import Daemon
from tests.support.peers import need, running
from tests.support.relay import StreamRelay


@contextmanager
def socat(folder: Path, program: str) -> Iterator[str]:
    """Run socat with `program` behind it; yield the target."""
    address = unused()
    host, port = address.address
    listen = [need("socat"), "-t30", f"TCP-LISTEN:{port},bind={host},reuseaddr,fork", f"SYSTEM:{program}"]
    with running(listen, address, folder / "socat.log"):
        yield address.target


@pytest.mark.slow
@pytest.mark.parametrize(("options", "until"), [("", "full"), ("stdbuf -oL ", "newline"), ("stdbuf -o0 ", None)])
def test_outputOfProgram(tmp_path: Path, options: str, until: str | None) -> None:
    """A program behind socat holds back until its buffer is full, until a newline, or not at all."""
    with socat(tmp_path, f"{options}tr a-z A-Z") as target:
        done = checked(target, buffering.check)
    assert done.finding
    assert done.causes == [f"held-until-{until}"] * bool(until)
    assert done.finding.figures["until"] == until
    assert bool(done.finding.figures["buffer"]) == (until == "full")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ready", "seconds", "until"), [(fullBuffers, 1.0, "later"), (fullBuffers, inf, "full"), (nothing, inf, "end")]
)
def test_relayThatCollects(tmp_path: Path, ready: Callable[[bytes], int], seconds: float, until: str) -> None:
    """A relay collects for a second, until it has 4 KiB, or to the end."""
    with Daemon.start(tmp_path) as daemon, HoldingRelay(daemon.address, ready, seconds) as relay:
        done = checked(relay.target, buffering.check)
    assert done.causes == [f"held-until-{until}"]
    assert done.finding
    assert done.finding.figures["buffer"] == (4096 if until == "full" else None)


@pytest.mark.parametrize("path", ["daemon", "haproxy", "haproxy with TLS", "nginx", "delay"])
def test_streamingIsFine(tmp_path: Path, certificates: Certificates, path: str) -> None:
    """Nothing is said against proxies that pass on what comes, nor against a delay of 50 ms each way."""
    with ExitStack() as stack:
        daemon = stack.enter_context(Daemon.start(tmp_path))
        target = daemon.address.target
        if path == "nginx":
            target = stack.enter_context(nginx(tmp_path, target)).target
        elif path == "delay":
            target = stack.enter_context(StreamRelay(daemon.address, 0.05)).target
        elif path != "daemon":
            options = f"ssl crt {certificates.server}" if "TLS" in path else ""
            target = "tls:" * bool(options) + stack.enter_context(haproxy(tmp_path, target, options=options)).target
        for _ in range(REPETITIONS):
            done = checked(target, buffering.check)
            assert done.causes == []
            assert done.finding
            assert done.finding.figures["until"] is None
