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


def find(pattern: str, path: str) -> list[Any]:
    """Return the matches of a pattern at the beginnings of a file's lines."""
    return re.findall("^" + pattern, (CHECKOUT / path).read_text(), re.MULTILINE)


class StopTests(SynchronousTestCase):
    """A process manager that stops the daemon waits for the end of its drain."""

    def test_composeLeavesTimeForDrain(self) -> None:
        """The replicas of docker/compose.yaml have enough time."""
        (seconds,) = find(r" *stop_grace_period: (\d+)s", "docker/compose.yaml")
        assert int(seconds) >= readyDelay() + drain() + MARGIN

    def test_haproxyNoticesDuringReadyDelay(self) -> None:
        """The proxy has seen that a replica isn't ready, twice if need be, before the replica drains."""
        (check,) = find(r" +default-server check (.+)", "docker/haproxy.cfg")
        values = dict(zip(check.split()[::2], check.split()[1::2], strict=True))
        often, fast = int(values["inter"].removesuffix("s")), int(values["fastinter"].removesuffix("ms")) / 1000
        assert often + (int(values["fall"]) - 1) * fast + 1 <= readyDelay()
        assert find(r' +ECHOUP_STATUS: "\*:(\d+)"', "docker/compose.yaml") == [values["port"]]


class DropInTests(SynchronousTestCase):
    """docs/deploying.md turns TLS on as the unit's comment does."""

    def test_dropInIsTheComment(self) -> None:
        """The drop-in for TLS has the settings that are a comment in the unit."""
        settings = find("#([A-Z][A-Za-z]+=.*)$", "docs/systemd/echoup.service")
        assert len(settings) == 3
        block = "".join(f"    {line}\n" for line in ["[Service]", *settings])
        assert block in (CHECKOUT / "docs" / "deploying.md").read_text()


class ComposeTests(SynchronousTestCase):
    """docker/compose.yaml shows outside only what it should."""

    def setUp(self) -> None:
        """Read the services."""
        self.services: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker" / "compose.yaml").read_text())["services"]

    def test_statusSiteIsNotPublished(self) -> None:
        """No port of the replicas is published, and their network leads nowhere."""
        assert "ports" not in self.services["echoup"]
        assert self.services["echoup"]["networks"] == ["replicas"]
        assert find(r"  replicas:\n    internal: (\w+)", "docker/compose.yaml") == ["true"]

    def test_monitoringIsOptionalAndForThisMachine(self) -> None:
        """Prometheus and Grafana are in a profile of their own, and their ports are published on loopback only."""
        optional = {name: each for name, each in self.services.items() if "profiles" in each}
        assert optional.keys() == {"prometheus", "grafana"}
        for each in optional.values():
            assert each["profiles"] == ["monitoring"]
            assert [port.rpartition(":")[0].split(":")[0] for port in each["ports"]] == ["127.0.0.1"]

    def test_everyServiceIsConfined(self) -> None:
        """No service has a writable file system, a capability or a way to gain one."""
        for each in self.services.values():
            confined = (each["read_only"], each["cap_drop"], each["security_opt"])
            assert confined == (True, ["ALL"], ["no-new-privileges:true"])

    def test_everyMountedFileExists(self) -> None:
        """Every file that a service mounts is in docker/."""
        mounted = [volume.split(":")[0] for each in self.services.values() for volume in each.get("volumes", [])]
        files = [name for name in mounted if name.startswith(".")]
        assert len(files) >= 6
        assert [name for name in files if not (CHECKOUT / "docker" / name).exists()] == []


def readyDelay() -> int:
    """Return the seconds of ECHOUP_READY_DELAY in docker/compose.yaml."""
    (seconds,) = find(r' +ECHOUP_READY_DELAY: "(\d+)"', "docker/compose.yaml")
    return int(seconds)


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

    def test_gracePeriodLeavesTimeForDelayAndDrain(self) -> None:
        """The grace period is long enough for the ready delay and the drain, and no hook takes any of it."""
        needed = self.options["ready-delay"] + self.options["drain-timeout"] + MARGIN
        assert self.options["ready-delay"] > 0
        assert self.pod["terminationGracePeriodSeconds"] >= needed
        assert "lifecycle" not in self.container

    def test_portsAreTheDaemons(self) -> None:
        """The echo port is the image's, and the other objects refer to it by its name; the other one is the site's."""
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        assert ports.keys() == {"echo", "status"}
        assert [str(ports["echo"])] == find(r"EXPOSE (\d+)$", "docker/Dockerfile")
        assert self.settings["ECHOUP_LISTEN"] == f"*:{ports['echo']}"
        assert self.settings["ECHOUP_STATUS"] == f"*:{ports['status']}"
        assert [port["targetPort"] for port in self.spec("service")["ports"]] == ["echo"]
        assert self.template["metadata"]["annotations"]["prometheus.io/port"] == str(ports["status"])

    def test_onlyPrometheusReachesTheStatusSite(self) -> None:
        """Every client may reach the echo port, and pods in the namespace of Prometheus the status site."""
        everyone, prometheus = self.spec("networkpolicy")["ingress"]
        assert everyone == {"ports": [{"port": "echo", "protocol": "TCP"}]}
        assert prometheus["ports"] == [{"port": "status", "protocol": "TCP"}]
        ((source, selector),) = prometheus["from"][0].items()
        assert source == "namespaceSelector"
        assert selector["matchLabels"].keys() == {"kubernetes.io/metadata.name"}

    def test_userIsTheImages(self) -> None:
        """The user is the image's, by number."""
        context = self.pod["securityContext"]
        assert [f"{context['runAsUser']}:{context['runAsGroup']}"] == find("USER (.+)$", "docker/Dockerfile")

    def test_onlyAHangRestartsAReplica(self) -> None:
        """Whether a replica gets connections depends on /readyz; whether it is restarted, only on /livez."""
        probes = {kind: self.container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
        assert {kind: each["path"] for kind, each in probes.items()} == {
            "startup": "/livez",
            "readiness": "/readyz",
            "liveness": "/livez",
        }
        assert {each["port"] for each in probes.values()} == {"status"}

    def test_probesAreThoseOfThePage(self) -> None:
        """docs/deploying.md says what each probe asks, and how often."""
        rows = find(r"\| (startup|readiness|liveness) \| `(.+?)` \| (\d+) s \|", "docs/deploying.md")
        assert len(rows) == 3
        for kind, path, seconds in rows:
            probe = self.container[f"{kind}Probe"]
            assert (probe["httpGet"]["path"], probe["periodSeconds"]) == (path, int(seconds)), kind

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


class MonitoringTests(SynchronousTestCase):
    """The alerts and the dashboard ask for metrics and labels that there are."""

    def setUp(self) -> None:
        """Read the metrics of docs/metrics.md with their labels, and all queries."""
        rows = find(r"\| `((?:echoup|process)_\w+)` \| (.*?) ?\|", "docs/metrics.md")
        self.labels = {name: {"job", "instance", *re.findall("`(\\w+)`", labels)} for name, labels in rows}
        dashboard = json.loads((CHECKOUT / "docker" / "grafana" / "dashboard.json").read_text())
        (rules,) = yaml.safe_load((CHECKOUT / "docker" / "prometheus" / "rules.yml").read_text())["groups"]
        self.queries: list[str] = [rule["expr"] for rule in rules["rules"]]
        for panel in dashboard["panels"]:
            self.queries += [target["expr"] for target in panel.get("targets", [])]

    def test_prometheusAsksTheStatusSite(self) -> None:
        """Prometheus asks at the port of the replicas' status sites, as often as Grafana believes."""
        (port,) = find(r" +port: (\d+)", "docker/prometheus/prometheus.yml")
        assert find(r' +ECHOUP_STATUS: "\*:(\d+)"', "docker/compose.yaml") == [port]
        (interval,) = find(r" +scrape_interval: (\w+)", "docker/prometheus/prometheus.yml")
        assert find(r" +timeInterval: (\w+)", "docker/grafana/datasources.yaml") == [interval]

    def test_dataSourceCanBeChosen(self) -> None:
        """Everything on the dashboard asks the data source that is chosen at its top."""
        text = (CHECKOUT / "docker" / "grafana" / "dashboard.json").read_text()
        sources = re.findall(r'"datasource": \{[^}]*?"uid": "(.*?)"', text)
        assert len(sources) > 30
        assert {*sources} == {"${datasource}"}

    def test_everyMetricExists(self) -> None:
        """Every metric of a query is a documented one, and so are the labels that the query selects or groups by."""
        asked: set[str] = set()
        for query in self.queries:
            names = {re.sub("_bucket$", "", name) for name in re.findall(r"\b(?:echoup|process)_\w+", query)}
            grouped = re.findall(r"(?:by|without) \(([^)]*)\)", query)
            used = {*re.findall(r"(\w+)!?=~?\"", query), *re.findall(r"\w+", " ".join(grouped))}
            assert names <= self.labels.keys(), query
            assert used <= {"job", "instance"}.union(*(self.labels[name] for name in names)), query
            asked |= names
        assert self.labels.keys() - asked <= {"process_virtual_memory_bytes", "process_start_time_seconds"}


class SizingTests(SynchronousTestCase):
    """The figures in docs/deploying.md are the measured ones, or follow from them."""

    DAEMON = 51
    """The MiB of a daemon without connections."""
    SITE = 6
    """The MiB of its status site."""

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
        daemon = self.DAEMON + self.SITE
        for kind, size in self.replica.items():
            replica = daemon + 20_000 * size / 1024
            row = f"memory, idle, {kind}: {daemon} MiB + {size:.1f} KiB each | {replica:.0f} MiB |"
            assert f"{row} {replica * 50 / 1024:.2g} GiB |" in self.page
        buffers = 200 * self.memory["64 KiB have arrived"][2] / 1024
        assert f"1 % have 64 KiB in a buffer | {buffers:.0f} MiB | {buffers * 50 / 1024:.1f} GiB |" in self.page
        assert f"buffers limited to 256 KiB | {self.stuck:.2f} MiB |" in self.page

    @property
    def stuck(self) -> float:
        """The MiB of a connection whose peer never reads, with limited buffers."""
        return sum(self.limited["its peer never reads"]) / 1024

    def test_memoryLimitIsEnough(self) -> None:
        """The Deployment's limit is enough for all connections with peers that never read, and has a reserve."""
        daemon = self.DAEMON + self.SITE
        used = daemon + 1024 * self.stuck
        reserve = int((1024 - used) / 1024 * 10) * 10
        limit = f"{daemon} MiB, 1024 peers that never read at {self.stuck:.2f} MiB each, and {reserve} % in reserve"
        assert limit in " ".join(self.page.split())
        assert (
            f"takes {self.DAEMON} MiB (`ps -o rss= -C twistd`), and the status site {self.SITE} MiB more" in self.page
        )
        peers = (1024 - daemon - 20_000 * self.replica["without TLS"] / 1024) / self.stuck
        assert f"about {int(peers / 100) * 100} of a replica's 20 000 peers" in self.page
