"""Run other programs next to echoup: load balancers, TLS wrappers, netcats."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from socket import AF_UNIX, inet_aton

import pytest

from tests.support.addresses import Address
from tests.support.waiting import eventually

_CI = Path(__file__).parents[2] / ".ci"
PACKAGES = [package for name in ("packages", "packages-image") for package in (_CI / name).read_text().split()]
"""The Debian packages whose programs the tests run."""


def need(program: str, package: str = "") -> str:
    """Return the path of `program`, or skip the test; `package` is the member of PACKAGES that has it."""
    package = package or program
    assert package in PACKAGES, f"{package} is neither in .ci/packages nor in .ci/packages-image"
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if not path:
        pytest.skip(f"{program} is missing: apt-get install {package}")
    return path


def isListening(address: Address) -> bool:
    """Return whether a socket listens on `address`, without connecting, because some programs serve only one client."""
    if address.family == AF_UNIX:
        entries = Path("/proc/net/unix").read_text().splitlines()
        name = address.target.removeprefix("unix:")
        return any(" 00010000 " in entry and entry.endswith(f" {name}") for entry in entries)
    host, port = address.address
    entry = f"{int.from_bytes(inet_aton(host), 'little'):08X}:{port:04X} 00000000:0000 0A"
    return entry in Path("/proc/net/tcp").read_text()


@contextmanager
def running(command: Sequence[str], listening: Address, log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """Run `command`, with its output in `log`; yield it once it listens."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: isListening(listening) or process.poll() is not None)
        assert process.poll() is None, log.read_text(errors="backslashreplace")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        finally:
            process.kill()
            process.wait()
