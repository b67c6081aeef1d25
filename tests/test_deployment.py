"""What is in docker/ and docs/systemd/ fits together, and fits the daemon."""

import os
import re
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from echoup.server.tap import Options

CHECKOUT = Path(__file__).parent.parent
KUBERNETES = CHECKOUT / "docker" / "kubernetes"

MARGIN = 2
"""Seconds that whoever stops the daemon has to leave it beyond the deadline of its drain."""


def find(pattern: str, path: str) -> list[str]:
    """Return what a pattern finds at the beginnings of a file's lines."""
    return re.findall("^" + pattern, (CHECKOUT / path).read_text(), re.MULTILINE)


class StopTests(SynchronousTestCase):
    """Whoever stops the daemon waits for the end of its drain."""

    def test_compose(self) -> None:
        """The replicas of docker/compose.yaml have enough time."""
        (seconds,) = find(r" *stop_grace_period: (\d+)s", "docker/compose.yaml")
        assert int(seconds) >= drain() + MARGIN

    def test_systemd(self) -> None:
        """The service of systemd has enough time."""
        (seconds,) = find(r"TimeoutStopSec=(\d+)$", "docs/systemd/echoup.service")
        assert int(seconds) >= drain() + MARGIN


def drain() -> float:
    """Return the default of --drain-timeout."""
    options = Options()
    options.parseOptions([])
    seconds: float = options["drain-timeout"]
    return seconds


class KubernetesTests(SynchronousTestCase):
    """The objects for Kubernetes agree with each other, with the image and with the daemon."""

    def setUp(self) -> None:
        """Read all of them, and have the daemon read its settings in the Deployment and in the image."""
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
        """Return what an object is to be."""
        spec: dict[str, Any] = self.objects[name]["spec"]
        return spec

    def test_listed(self) -> None:
        """Every file is listed in the kustomization, and named as what is in it; the image is one that it can name.

        There is nothing else in it, which could change them.
        """
        assert sorted(self.kustomization["resources"]) == sorted(f"{name}.yaml" for name in self.objects)
        assert {name: content["kind"].lower() for name, content in self.objects.items()} == {
            name: name for name in self.objects
        }
        assert [image["name"] for image in self.kustomization["images"]] == [self.container["image"]]
        assert self.kustomization.keys() == {"apiVersion", "kind", "resources", "images"}

    def test_named(self) -> None:
        """All have the name by which the others know them, and the label of the pods."""
        for content in self.objects.values():
            assert content["metadata"] == {"name": "echoup", "labels": self.template["metadata"]["labels"]}

    def test_settings(self) -> None:
        """Every variable is one that the daemon knows."""
        assert set(self.settings) <= {"ECHOUP_" + name.upper().replace("-", "_") for name in self.options}

    def test_grace(self) -> None:
        """Before it's killed there is time for the preStop hook and the drain."""
        hook, seconds = self.container["lifecycle"]["preStop"]["exec"]["command"]
        assert hook == "/bin/sleep"
        needed = int(seconds) + self.options["drain-timeout"] + MARGIN
        assert self.pod["terminationGracePeriodSeconds"] >= needed

    def test_port(self) -> None:
        """The port is the image's; the others call it by its name."""
        (port,) = self.container["ports"]
        assert [str(port["containerPort"])] == find(r"EXPOSE (\d+)$", "docker/Dockerfile")
        assert self.settings["ECHOUP_LISTEN"] == f"*:{port['containerPort']}"
        assert self.spec("service")["ports"][0]["targetPort"] == port["name"]
        assert self.spec("networkpolicy")["ingress"][0]["ports"][0]["port"] == port["name"]

    def test_user(self) -> None:
        """The user is the image's, by number."""
        context = self.pod["securityContext"]
        assert [f"{context['runAsUser']}:{context['runAsGroup']}"] == find("USER (.+)$", "docker/Dockerfile")

    def test_probes(self) -> None:
        """A probe gives up before it is given up; the last asks over UDP, which a daemon that is full still answers."""
        for kind in "startup", "readiness", "liveness":
            probe = self.container[f"{kind}Probe"]
            command = probe["exec"]["command"]
            assert command[:2] == ["echoup", "ping"]
            assert int(command[command.index("-W") + 1]) < probe["timeoutSeconds"]
        assert command[-1] == "udp:" + self.settings["ECHOUP_UDP"]

    def test_selected(self) -> None:
        """What selects pods by labels selects these; the autoscaler has this Deployment."""
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
