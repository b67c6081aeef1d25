"""Describe the machine that the figures come from."""

import os
import platform
import re
import ssl
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import which

from echoup.upper import IMPLEMENTATION

VECTORS = {
    "sse2": "SSE2",
    "avx2": "AVX2",
    "avx512bw": "AVX-512BW",
    "avx512vbmi": "AVX-512VBMI",
    "aes": "AES",
    "vaes": "VAES",
    "asimd": "NEON",
}
"""The extensions that upper-casing and TLS profit from: their flags in /proc/cpuinfo, and their names."""

PROGRAMS = {"cc": "--version", "go": "version", "socat": "-V", "ncat": "--version"}


def describeMachine() -> dict[str, str | int]:
    """Return the processor, the kernel, and the versions of the installed packages and programs."""
    found: dict[str, str | int] = {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processorIn(Path("/proc/cpuinfo").read_text()),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl": versionIn(ssl.OPENSSL_VERSION),
    }
    for package in "echoup", "twisted", "uvloop", "cryptography":
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    found["echoup"] = f"{found['echoup']} ({IMPLEMENTATION})"
    for program, option in PROGRAMS.items():
        if which(program):
            said = subprocess.run([program, option], capture_output=True, text=True, timeout=20, check=False)
            found[program] = versionIn(said.stdout + said.stderr)
    return found


def processorIn(text: str) -> str:
    """Return the model of the first processor in /proc/cpuinfo, with its vector extensions."""
    fields: dict[str, str] = dict(re.findall(r"^(.+?)\s*: (.+)$", text.partition("\n\n")[0], re.MULTILINE))
    flags = fields.get("flags", fields.get("Features", "")).split()
    extensions = ", ".join(name for flag, name in VECTORS.items() if flag in flags)
    return f"{fields.get('model name', platform.machine())} ({extensions or 'no vector extensions'})"


def versionIn(text: str) -> str:
    """Return the first number that contains a dot, or `unknown`."""
    number = re.search(r"\d+(\.\d+)+", text)
    return number[0] if number else "unknown"


def cores() -> tuple[set[int], set[int]]:
    """Return the cores for the server and for the load: one each, or the same one if there is only one."""
    available = sorted(os.sched_getaffinity(0))
    return {available[0]}, {available[1 % len(available)]}


def inWords(machine: dict[str, str | int]) -> str:
    """Return a machine's description as a sentence."""
    versions = ", ".join(f"{name} {value}" for name, value in list(machine.items())[4:])
    return (
        f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}, {machine['date']}; {versions}."
    )
