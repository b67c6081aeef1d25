"""The build hook: compiles `echoup/_upper.c`, or builds a wheel without it where that is impossible."""

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

MODULE = "echoup/_upper.abi3.so"


class CompilingHook(BuildHookInterface[Any]):
    """Compiles the C accelerator into a wheel or, for an editable installation, into the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, before the files are collected."""
        self._folder = TemporaryDirectory()
        built = Path(self.root if version == "editable" else self._folder.name, MODULE)
        built.parent.mkdir(exist_ok=True)
        if why := compileModule(Path(self.root, "echoup/_upper.c"), built):
            self.app.display_warning(f"echoup: built without the C accelerator ({why}); bytes.upper is used")
        elif version == "standard":
            # Unlike sysconfig.get_platform(), it knows a Python of 32 bits on a kernel of 64.
            *_, platform = (tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))
            build_data["pure_python"] = False
            build_data["tag"] = f"cp311-abi3-{platform}"
            build_data["force_include"][str(built)] = MODULE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled for the wheel."""
        self._folder.cleanup()


def compileModule(source: Path, built: Path) -> str:
    """Compile `source` to `built`; return why it is impossible, or an empty string.

    The environment variables CC, CFLAGS and LDFLAGS have their usual meaning.
    """
    if sys.implementation.name != "cpython":
        return "this is not CPython"
    compiler = _flags("CC") or shlex.split(sysconfig.get_config_var("CC") or "cc")
    # With -O2, which packagers have in CFLAGS, GCC makes no vector instructions of the loop.
    flags = [*_flags("CFLAGS"), "-O3", "-fPIC", "-shared", *_flags("LDFLAGS"), f"-I{sysconfig.get_path('include')}"]
    try:
        built.unlink(missing_ok=True)  # if compiling fails, no older one may remain
        subprocess.run(
            [*compiler, *flags, str(source), "-o", str(built)], check=True, stderr=subprocess.PIPE, text=True
        )
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    except subprocess.CalledProcessError as error:
        return next((line for line in error.stderr.splitlines() if "error" in line), f"{compiler[0]} failed")
    return ""


def _flags(name: str) -> list[str]:
    return shlex.split(os.environ.get(name, ""))
