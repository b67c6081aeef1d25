"""Build a stand-in for the base image from Debian's packages, so that the tests need no image registry."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.containers import Podman

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PACKAGES = ["ca-certificates", "haproxy", "netbase", "tzdata"]
_LIBRARIES = [
    *("libbz2-1.0", "libexpat1", "libffi8", "liblzma5", "libncursesw6", "libreadline8"),
    *("libsqlite3-0", "libssl3", "libuuid1", "zlib1g"),
]
"""The libraries that a CPython built on Debian needs."""
_UNUSED = ["*.a", "__pycache__", "_tkinter*", "idlelib", "test", "turtledemo"]


def makeBase(podman: "Podman", name: str, folder: Path) -> None:
    """Make the image `name`, whose tag, such as `3.13-slim`, begins with the version of Python.

    With a CPython of that version under pyenv, the image is a minimal copy of this machine's Debian release, with that
    CPython in /usr/local, as in the official image. Otherwise it is Debian trixie, whose own Python is 3.13. It
    includes haproxy, because haproxy's image is made from it too.
    """
    version = re.findall(r":(\d+\.\d+)", name)[0]
    installed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    built = sorted(installed.glob(f"{version}.*"), key=lambda path: [int(part) for part in path.name.split(".")])
    if built:
        suite = platform.freedesktop_os_release()["VERSION_CODENAME"]  # the release that this CPython was built on
        packages = [*_PACKAGES, *_LIBRARIES]
    else:
        assert version == "3.13", f"there is no CPython {version} under pyenv, and Debian has only 3.13"
        suite = "trixie"
        packages = [*_PACKAGES, "python3-dev", "python3-venv"]
    root = folder / "root"
    shutil.rmtree(root, ignore_errors=True)  # left by an interrupted build
    _bootstrap(suite, packages, root)
    if built:
        _install(built[-1], root)
    else:
        # pip can't change Debian's own packages.
        _within(root, "python3", "-m", "venv", "/usr/local")
    changes = [f"--change=ENV {each}" for each in (f"PATH={PATH}", "LANG=C.UTF-8")]
    with subprocess.Popen(["tar", "-C", root, "--exclude=./dev/*", "-c", "."], stdout=subprocess.PIPE) as tar:
        podman("import", "-q", *changes, "--change=CMD python3", "-", name, stdin=tar.stdout)
    assert tar.returncode == 0
    shutil.rmtree(root)


def _bootstrap(suite: str, packages: list[str], root: Path) -> None:
    """Install Debian in the folder `root` from apt's first mirror, without fsync and without documentation."""
    targets = subprocess.run(
        [
            "apt-get",
            "indextargets",
            "--format=$(REPO_URI)",
            "Created-By: Packages",
            "Origin: Debian",
            "Component: main",
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    mirror = targets.stdout.split()[0]
    documentation = [f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in ("doc", "locale", "man")]
    ended = subprocess.run(
        [
            *("mmdebstrap", "--mode=root", "--variant=apt", "--dpkgopt=force-unsafe-io", *documentation),
            *(f"--include={','.join(packages)}", suite, root, mirror),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PATH": PATH},
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-3000:]


def _install(python: Path, root: Path) -> None:
    """Install a CPython in /usr/local."""
    local = root / "usr/local"
    shutil.copytree(python, local, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_UNUSED))
    for path in local.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            if b"\0" not in data and bytes(python) in data:
                path.write_bytes(data.replace(bytes(python), b"/usr/local"))
    _within(root, "ldconfig")


def _within(root: Path, *command: str) -> None:
    """Run a command of the Debian in the folder `root`."""
    subprocess.run(["chroot", root, *command], check=True, env={**os.environ, "PATH": PATH})
