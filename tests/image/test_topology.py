"""docker/compose.yaml: two replicas behind haproxy are one service, also while they are restarted in turn."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen
from uuid import uuid4

import pytest

from tests.support.chance import randomBytes
from tests.support.containers import HARDENED, IMAGE, Podman, answers
from tests.support.waiting import eventually

pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]
FRONT = "echoup_front_1"
LOAD = ["-i", "0.02", "-s", "65536"]
SOME = 50
"""The number of connections, or probes, that is enough to judge by."""


@dataclass(frozen=True)
class Topology:
    """The containers of docker/compose.yaml."""

    podman: Podman
    replicas: list[str]

    def served(self, name: str) -> int:
        """Count the connections that a replica has answered according to its log."""
        return len(re.findall(" connection .* reason=done ", self.podman("logs", name)))

    def waitForConnections(self, *names: str, count: int = SOME) -> dict[str, int]:
        """Wait until each of these replicas has served `count` more, and return how many it has served meanwhile."""
        before = {name: self.served(name) for name in names}

        def served() -> dict[str, int] | None:
            found = {name: self.served(name) - before[name] for name in names}
            return found if min(found.values()) >= count else None

        more: dict[str, int] = eventually(served)
        return more


@pytest.fixture(scope="module")
def topology(podman: Podman) -> Iterator[Topology]:
    """The containers of docker/compose.yaml, once each replica serves."""
    try:
        # Grafana has no image here.
        podman.compose("--profile=monitoring", "up", "-d", "--no-build", "front", "echoup", "prometheus")
        replicas = podman("ps", "--format={{.Names}}", "--filter=name=echoup_echoup").split()
        assert len(replicas) == 2, replicas
        running = Topology(podman, replicas)
        eventually(lambda: answers() and all(running.served(name) for name in replicas))
        yield running
    finally:
        podman.compose("--profile=monitoring", "down", "-v")


def test_haproxyAcceptsConfiguration(podman: Podman, topology: Topology) -> None:
    """The configuration passes haproxy's own check."""
    podman("exec", FRONT, "haproxy", "-c", "-f", "/usr/local/etc/haproxy/haproxy.cfg")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["127.0.0.1:8081"], id="plain"),
        pytest.param(["--tls", "--cafile=/certificates/tls.pem", "127.0.0.1:8443"], id="TLS"),
    ],
)
def test_everyByteComesBackThroughHaproxy(
    podman: Podman, topology: Topology, tmp_path: Path, arguments: list[str], figure: Callable[[str], None]
) -> None:
    """Every byte of 100 MiB comes back through haproxy, which sends PROXY version 2."""
    podman("cp", f"{FRONT}:/certificates/tls.pem", tmp_path)
    tmp_path.chmod(0o755)
    data = randomBytes(100 * 2**20)
    received = podman.client("connect", *arguments, options=["-v", f"{tmp_path}:/certificates:ro"], data=data)
    figure(f"{len(data)} bytes sent, {len(received)} received")
    assert received == data.upper()


def test_prometheusScrapesEveryReplica(topology: Topology) -> None:
    """Prometheus finds all replicas and scrapes each, and evaluates every alert; then no condition of one holds."""

    def asked(path: str) -> Any:
        with urlopen(f"http://127.0.0.1:9090/api/v1/{path}", timeout=10) as response:
            return json.load(response)["data"]

    def scraped() -> bool:
        targets = asked("targets?state=active")["activeTargets"]
        return len(targets) == len(topology.replicas) and all(each["health"] == "up" for each in targets)

    eventually(scraped)
    (group,) = eventually(lambda: (found := asked("rules")["groups"]) and found[0]["lastEvaluation"] > "1970" and found)
    assert {each["health"] for each in group["rules"]} == {"ok"}
    conditions = [urlencode({"query": each["query"]}) for each in group["rules"]]
    assert [asked(f"query?{condition}")["result"] for condition in conditions] == [[]] * len(conditions)


class Probing:
    """A running `echoup ping`, with its JSON objects so far: one for each probe, and at the end the summary."""

    def __init__(self, output: Path) -> None:
        self._output = output

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The objects that are complete."""
        return [json.loads(line) for line in self._output.read_bytes().splitlines(keepends=True) if line[-1:] == b"\n"]

    @property
    def probes(self) -> list[dict[str, Any]]:
        """The objects of probes."""
        return [each for each in self.objects if "verdict" in each]

    @contextmanager
    def running(self, podman: Podman, *arguments: str) -> Iterator[None]:
        """Probe meanwhile."""
        name = f"ping-{uuid4().hex}"
        command = ["podman", "run", "--rm", "--pull=never", f"--name={name}", "--network=host", *HARDENED, IMAGE]
        command += ["echoup", "ping", "--json", *arguments]
        with (
            self._output.open("wb") as output,
            subprocess.Popen(command, stdout=output, env=podman.environment) as process,
        ):
            try:
                eventually(lambda: self.probes or process.poll() is not None)
                yield
            finally:
                podman("kill", "--signal=INT", name)
                code = process.wait(60)
        assert code == 130, code


def test_rollingRestartLosesNothing(
    podman: Podman, topology: Topology, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    """The replicas are restarted in turn under load, and no byte is lost that the drain can save."""
    plain, secure, kept = (Probing(tmp_path / name) for name in ("plain", "secure", "kept"))
    with (
        plain.running(podman, *LOAD, "--half-close", "127.0.0.1:8081"),
        secure.running(podman, *LOAD, "--half-close", "--tls", "--insecure", "127.0.0.1:8443"),
        kept.running(podman, *LOAD, "--keep", "127.0.0.1:8081"),
    ):
        before = topology.waitForConnections(*topology.replicas, count=4 * SOME)
        began = datetime.now(UTC)
        for name in topology.replicas:
            podman("restart", "-t", "20", name)
            topology.waitForConnections(name)
        ended = datetime.now(UTC)
        moments: dict[str, Callable[[datetime], bool]] = {
            "before": lambda at: at < began,
            "during": lambda at: began <= at < ended,
            "after": lambda at: at >= ended,
        }

        def during(probing: Probing, moment: str) -> list[dict[str, Any]]:
            return [each for each in probing.probes if moments[moment](datetime.fromisoformat(each["at"]))]

        eventually(lambda: all(len(during(each, "after")) >= SOME for each in (plain, secure, kept)))
    figure(f"it took {(ended - began).total_seconds():.1f} s")
    figure(f"connections that each served before: {' and '.join(map(str, before.values()))}")
    assert min(before.values()) / sum(before.values()) > 0.4
    for kind, probing in {"plain": plain, "TLS": secure, "one connection after the other": kept}.items():
        for moment in moments:
            them = during(probing, moment)
            sent, received = (sum(probe[which] for probe in them) for which in ("sent", "received"))
            figure(f"{kind}, {moment}: {len(them)} probes, {sent} bytes sent, {received} received")
            assert them
        lost = [probe for probe in probing.probes if probe["verdict"] != "uppercased"]
        # A connection that is never quiet is ended at 0.8 of the drain, possibly in the middle of an exchange.
        assert len(lost) <= (len(topology.replicas) if probing is kept else 0), lost
        assert all("the server closed the connection" in probe["error"] for probe in lost), lost
        assert probing.objects[-1]["lost"] == len(lost), probing.objects[-1]
