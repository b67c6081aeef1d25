"""The files in docker/ and docs/systemd/ agree with each other, with the daemon, and with docs/deploying.md."""

import json
import os
import re
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from echoup.server.tap import Options

CHECKOUT = Path(__file__).parent.parent
KUBERNETES = CHECKOUT / "docker" / "kubernetes"

MARGIN = 2
"""The seconds that a process manager has to leave the daemon beyond the deadline of its drain."""


def find(pattern: str, path: str) -> list[str]:
    """Return the matches of a pattern at the beginnings of a file's lines."""
    return re.findall("^" + pattern, (CHECKOUT / path).read_text(), re.MULTILINE)


class StopTests(SynchronousTestCase):
    """A process manager that stops the daemon waits for the end of its drain."""

    def test_composeLeavesTimeForDrain(self) -> None:
        """The replicas of docker/compose.yaml have enough time."""
        (seconds,) = find(r" *stop_grace_period: (\d+)s", "docker/compose.yaml")
        assert int(seconds) >= drain() + MARGIN

    def test_systemdLeavesTimeForDrain(self) -> None:
        """The service of systemd has enough time."""
        (seconds,) = find(r"TimeoutStopSec=(\d+)$", "docs/systemd/echoup.service")
        assert int(seconds) >= drain() + MARGIN


class DropInTests(SynchronousTestCase):
    """docs/deploying.md turns TLS on as the unit's comment does."""

    def test_dropInIsTheComment(self) -> None:
        """The drop-in for TLS has the settings that are a comment in the unit."""
        settings = find("#([A-Z][A-Za-z]+=.*)$", "docs/systemd/echoup.service")
        assert len(settings) == 3
        block = "".join(f"    {line}\n" for line in ["[Service]", *settings])
        assert block in (CHECKOUT / "docs" / "deploying.md").read_text()


def drain() -> float:
    """Return the default of --drain-timeout."""
    options = Options()
    options.parseOptions([])
    seconds: float = options["drain-timeout"]
    return seconds


class KubernetesTests(SynchronousTestCase):
    """The objects for Kubernetes agree with each other, with the image and with the daemon."""

    def setUp(self) -> None:
        """Read the objects, and parse the daemon's settings in the Deployment and in the image."""
        objects = {path.stem: yaml.safe_load(path.read_text()) for path in KUBERNETES.iterdir()}
        self.kustomization: dict[str, Any] = objects.pop("kustomization")
        self.objects: dict[str, dict[str, Any]] = objects
        self.template = self.spec("deployment")["template"]
        self.pod = self.template["spec"]
        (self.container,) = self.pod["containers"]
        self.settings = {each["name"]: each["value"] for each in self.container["env"]}
        (self.settings["ECHOUP_LISTEN"],) = find(r"ENV .*\bECHOUP_LISTEN=(\S+)", "docker/Dockerfile")
        self.patch(os, "environ", self.settings)
        self.options = Options()
        self.options.parseOptions([])

    def spec(self, name: str) -> dict[str, Any]:
        """Return the `spec` of an object."""
        spec: dict[str, Any] = self.objects[name]["spec"]
        return spec

    def test_kustomizationListsEveryFile(self) -> None:
        """The kustomization lists every file, each named after its kind, and can rename the image.

        It has nothing else, which could change the objects.
        """
        assert sorted(self.kustomization["resources"]) == sorted(f"{name}.yaml" for name in self.objects)
        assert {name: content["kind"].lower() for name, content in self.objects.items()} == {
            name: name for name in self.objects
        }
        assert [image["name"] for image in self.kustomization["images"]] == [self.container["image"]]
        assert self.kustomization.keys() == {"apiVersion", "kind", "resources", "images"}

    def test_objectsShareNameAndLabel(self) -> None:
        """All objects have the name that the others refer to, and the label of the pods."""
        for content in self.objects.values():
            assert content["metadata"] == {"name": "echoup", "labels": self.template["metadata"]["labels"]}

    def test_daemonKnowsEveryVariable(self) -> None:
        """Every variable is one of the daemon's."""
        assert set(self.settings) <= {"ECHOUP_" + name.upper().replace("-", "_") for name in self.options}

    def test_gracePeriodLeavesTimeForHookAndDrain(self) -> None:
        """The grace period is long enough for the preStop hook and the drain."""
        hook, seconds = self.container["lifecycle"]["preStop"]["exec"]["command"]
        assert hook == "/bin/sleep"
        needed = int(seconds) + self.options["drain-timeout"] + MARGIN
        assert self.pod["terminationGracePeriodSeconds"] >= needed

    def test_portIsTheImages(self) -> None:
        """The port is the image's, and the other objects refer to it by its name."""
        (port,) = self.container["ports"]
        assert [str(port["containerPort"])] == find(r"EXPOSE (\d+)$", "docker/Dockerfile")
        assert self.settings["ECHOUP_LISTEN"] == f"*:{port['containerPort']}"
        assert self.spec("service")["ports"][0]["targetPort"] == port["name"]
        assert self.spec("networkpolicy")["ingress"][0]["ports"][0]["port"] == port["name"]

    def test_userIsTheImages(self) -> None:
        """The user is the image's, by number."""
        context = self.pod["securityContext"]
        assert [f"{context['runAsUser']}:{context['runAsGroup']}"] == find("USER (.+)$", "docker/Dockerfile")

    def test_probesEndBeforeTheirTimeout(self) -> None:
        """A probe gives up before Kubernetes does; the liveness probe uses UDP, which a full daemon still answers."""
        for kind in "startup", "readiness", "liveness":
            probe = self.container[f"{kind}Probe"]
            command = probe["exec"]["command"]
            assert command[:2] == ["echoup", "ping"]
            assert int(command[command.index("-W") + 1]) < probe["timeoutSeconds"]
        assert command[-1] == "udp:" + self.settings["ECHOUP_UDP"]

    def test_selectorsMatchThePods(self) -> None:
        """Every selector matches the pods of the Deployment, which is the autoscaler's target."""
        selectors = [
            self.spec("deployment")["selector"]["matchLabels"],
            self.spec("service")["selector"],
            self.spec("poddisruptionbudget")["selector"]["matchLabels"],
            self.spec("networkpolicy")["podSelector"]["matchLabels"],
            *(each["labelSelector"]["matchLabels"] for each in self.pod["topologySpreadConstraints"]),
        ]
        assert all(selector == self.template["metadata"]["labels"] for selector in selectors)
        target, deployment = self.spec("horizontalpodautoscaler")["scaleTargetRef"], self.objects["deployment"]
        assert target == {**{name: deployment[name] for name in ("apiVersion", "kind")}, "name": "echoup"}


class SizingTests(SynchronousTestCase):
    """The figures in docs/deploying.md are the measured ones, or follow from them."""

    DAEMON = 51
    """The MiB of a daemon without connections."""
    PROBE = 47
    """The MiB of a probe."""

    def setUp(self) -> None:
        """Read the page, and its tables of KiB for each connection: the first, and the one with limited buffers."""
        self.page = (CHECKOUT / "docs" / "deploying.md").read_text()
        rows = re.findall(r"^\| (.+?) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", self.page, re.MULTILINE)
        sizes = [(name, [float(size) for size in each]) for name, *each in rows]
        self.memory = dict(sizes[:6])
        self.limited = dict(sizes[6:])
        self.replica = {"without TLS": sum(self.memory["idle"]), "TLS by echoup": sum(self.memory["idle, TLS"])}

    def test_cpuIsThatOfTheResults(self) -> None:
        """The CPU times are the medians in benchmarks/results.json, and those of all connections follow."""
        records = json.loads((CHECKOUT / "benchmarks" / "results.json").read_text())["records"]
        each, connect = (
            median(
                record["figures"]["cpu"]
                for record in records
                if (record["scenario"], record["peer"]) == (scenario, "echoup-uvloop")
            )
            for scenario in ("64b-10000", "connect")
        )
        share = each * 20_000 / 10 / 1e6
        row = f"every 10 s: {each:.1f} µs each | {share:.1%} of a core | {share * 50:.1f} cores |"
        assert row.replace("%", " %") in self.page
        seconds = connect * 20_000 / 1e6
        row = f"all reconnect: {connect:.1f} µs each | {seconds:.1f} s of a core | {seconds * 50:.0f} s of a core |"
        assert row in self.page
        assert f"At {connect:.1f} µs each that is {connect * 4096 / 1e6:.1f} s of connecting" in self.page

    def test_memoryFollowsFromTheTables(self) -> None:
        """The memory of a replica, and that of a million connections, follow from the tables."""
        for kind, size in self.replica.items():
            replica = self.DAEMON + 20_000 * size / 1024
            row = f"memory, idle, {kind}: {self.DAEMON} MiB + {size:.1f} KiB each | {replica:.0f} MiB |"
            assert f"{row} {replica * 50 / 1024:.2g} GiB |" in self.page
        buffers = 200 * self.memory["64 KiB have arrived"][2] / 1024
        assert f"1 % have 64 KiB in a buffer | {buffers:.0f} MiB | {buffers * 50 / 1024:.1f} GiB |" in self.page
        assert f"buffers limited to 256 KiB | {self.stuck:.2f} MiB |" in self.page

    @property
    def stuck(self) -> float:
        """The MiB of a connection whose peer never reads, with limited buffers."""
        return sum(self.limited["its peer never reads"]) / 1024

    def test_memoryLimitIsEnough(self) -> None:
        """The Deployment's limit is enough for all connections with peers that never read, and for three probes."""
        assert f"{self.DAEMON} MiB, 1024 peers that\nnever read at {self.stuck:.2f} MiB each, three probes" in self.page
        assert f"a probe {self.PROBE} MiB while it runs" in self.page
        assert self.DAEMON + 1024 * self.stuck + 3 * self.PROBE <= 1024 / 1.2
        peers = (1024 - self.DAEMON - 20_000 * self.replica["without TLS"] / 1024 - 3 * self.PROBE) / self.stuck
        assert f"about {int(peers / 100) * 100} of a replica's 20 000 peers" in self.page
