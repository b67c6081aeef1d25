"""The images, built once for all tests, and the network in which they run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.containers import Podman, locked, missing
from tests.support.namespaces import inMemory, ownMounts, ownNetwork


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """podman, which has built the images, in a network of its own, as this process is from here on.

    The images are kept in the folder that IMAGE_WORK names, for the next run; otherwise they are in memory (500 MB).
    """
    if lack := missing():
        pytest.skip(lack)
    # Here podman notes who serves names, and in which network: another podman must not serve ours.
    names = Path("/run/containers")
    names.mkdir(exist_ok=True)
    with ownMounts(), inMemory(names), workFolder(tmp_path_factory) as folder:
        podman = Podman(folder)
        podman.build()
        with ownNetwork(), podman.ending():
            yield podman


@contextmanager
def workFolder(factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Have a folder for images and containers."""
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
