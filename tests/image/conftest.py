"""The images, built once for all tests, and the network in which they run."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.containers import Podman, locked, missing
from tests.support.namespaces import ownMounts, ownNetwork


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """podman, which has built the images, in a network of its own, as this process is from here on.

    The images are kept in the folder that IMAGE_WORK names, for the next run; otherwise they are deleted.
    """
    if lack := missing():
        pytest.skip(lack)
    with workFolder(tmp_path_factory) as folder, locked(folder), ownMounts():
        podman = Podman(folder)
        podman.build()
        with ownNetwork(), podman.ending():
            yield podman


@contextmanager
def workFolder(factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Have a folder for images and containers."""
    if kept := os.environ.get("IMAGE_WORK"):
        yield Path(kept).absolute()
        return
    folder = factory.mktemp("image")
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
