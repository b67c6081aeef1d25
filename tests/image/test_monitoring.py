"""Prometheus and Grafana understand the files in docker/prometheus and docker/grafana."""

import json
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
import yaml

from tests.support.containers import CHECKOUT, run
from tests.support.peers import need

pytestmark = pytest.mark.image
ALERTS = CHECKOUT / "tests/image/alerts.yml"
DASHBOARD: dict[str, Any] = json.loads((CHECKOUT / "docker/grafana/dashboard.json").read_text())


@pytest.fixture
def promtool() -> str:
    """The path of promtool."""
    return need("promtool", "prometheus")


def test_prometheusUnderstandsItsFiles(promtool: str, tmp_path: Path) -> None:
    """The configuration and its rules are valid, and so is the job for Kubernetes, which is a comment."""
    path = CHECKOUT / "docker/prometheus/prometheus.yml"
    run(promtool, "check", "config", path)
    (job,) = yaml.safe_load(re.sub("(?m)^#", "", path.read_text().partition("#\n")[2]))
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod", "namespaces": {"names": ["echoup"]}}]  # Debian has none
    (tmp_path / "prometheus.yml").write_text(json.dumps({"scrape_configs": [job]}))
    run(promtool, "check", "config", tmp_path / "prometheus.yml")


def test_alertsFire(promtool: str) -> None:
    """Each alert fires when ALERTS says, and only then."""
    tested = re.findall(r"- alertname: (\w+)\n +eval_time: \w+\n +exp_alerts", ALERTS.read_text())
    assert {*tested} == {*re.findall(r"alert: (\w+)", (CHECKOUT / "docker/prometheus/rules.yml").read_text())}
    run(promtool, "test", "rules", ALERTS)


def test_prometheusUnderstandsTheDashboard(promtool: str, tmp_path: Path) -> None:
    """Every query of the dashboard is one of Prometheus."""
    queries = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    assert len(queries) > 30
    queries += [each["expr"] for each in DASHBOARD["annotations"]["list"]]
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "20s")}
        for number, query in enumerate(queries)
    ]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    run(promtool, "check", "rules", tmp_path / "rules.yml")


def test_grafanaUnderstandsTheDashboard() -> None:
    """Grafana's models have a place for every member of the dashboard, and every value is of its type."""
    assert mistakesIn(DASHBOARD) == []


def test_mistakeInADashboardIsFound() -> None:
    """A name that Grafana doesn't know is found, and a value of another type, also in what a panel's type decides."""
    wrong = json.loads(json.dumps(DASHBOARD))
    panel = wrong["panels"][1]
    panel["caption"] = "misspelt"
    panel["title"] = 1
    panel["options"]["colorMode"] = "colourful"
    panel["targets"][0]["instant"] = "yes"
    assert mistakesIn(wrong) == [
        ".panels[1].caption",
        ".panels[1].targets[0].instant",
        ".panels[1].title",
        ".panels[1].options.color_mode",
    ]


def mistakesIn(dashboard: dict[str, Any]) -> list[str]:
    """Return the members of a dashboard that Grafana's models don't have, or whose values are of another type."""
    plugins = pytest.importorskip("grafana_foundation_sdk.cog.plugins", reason="pip install grafana-foundation-sdk")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    plugins.register_default_plugins()
    model = Dashboard.from_json(dashboard)
    back = json.loads(json.dumps(model, cls=JSONEncoder))
    return [*findUnknown(dashboard, back), *findWrong(model, Dashboard)]


def findUnknown(source: Any, back: Any, path: str = "") -> Iterator[str]:
    """Return the members of `source` that `back`, which went through the models, has lost."""
    if isinstance(source, dict):
        for name, value in source.items():
            if name in back:
                yield from findUnknown(value, back[name], f"{path}.{name}")
            else:
                yield f"{path}.{name}"
    elif isinstance(source, list):
        for number, (value, other) in enumerate(zip(source, back, strict=True)):
            yield from findUnknown(value, other, f"{path}[{number}]")
    else:
        assert source == back, path


def findWrong(value: Any, kind: Any, path: str = "") -> Iterator[str]:
    """Return the parts of a model that aren't of the types of its annotations; `kind` is that of `value`."""
    origin, kinds = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        found = [list(findWrong(value, each, path)) for each in kinds]
        yield from [] if [] in found else max(found, key=lambda each: len(each[0]))  # that of the nearest type
    elif origin is list and isinstance(value, list):
        for number, each in enumerate(value):
            yield from findWrong(each, kinds[0], f"{path}[{number}]")
    elif origin is dict and isinstance(value, dict):
        for name, each in value.items():
            yield from findWrong(each, kinds[1], f"{path}.{name}")
    elif not isOf(value, kind):
        yield path
    elif hasattr(value, "to_json"):
        for name, annotation in get_type_hints(type(value)).items():
            yield from findWrong(getattr(value, name), annotation, f"{path}.{name}")


def isOf(value: Any, kind: Any) -> bool:
    """Return whether a value is of the type `kind`, or one of its values; what it contains isn't looked at."""
    origin = get_origin(kind)
    if origin is Literal or (isinstance(kind, type) and issubclass(kind, Enum)):
        return value in (get_args(kind) or [each.value for each in kind])
    return isinstance(value, (int, float) if kind is float else origin or kind)
