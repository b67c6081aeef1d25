"""The fixture of the image tests: images that are built once, and a network of their own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.containers import Podman, locked, missing
from tests.support.namespaces import inMemory, ownMounts, ownNetwork


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """A podman with the images built, in a network namespace of its own, which this process enters too.

    The images are kept for the next run in the folder that IMAGE_WORK names; otherwise they are in memory (500 MB).
    """
    if lack := missing():
        pytest.skip(lack)
    # Here podman records its name servers and their networks: this run must not share them with another podman.
    names = Path("/run/containers")
    names.mkdir(exist_ok=True)
    with ownMounts(), inMemory(names), workFolder(tmp_path_factory) as folder:
        podman = Podman(folder)
        podman.build()
        with ownNetwork(), podman.ending():
            yield podman


@contextmanager
def workFolder(factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield the folder for images and containers."""
    if kept := os.environ.get("IMAGE_WORK"):
        with locked(folder := Path(kept).absolute()):
            yield folder
    else:
        folder = factory.mktemp("image")
        try:
            with inMemory(folder):
                yield folder
        finally:
            folder.rmdir()
