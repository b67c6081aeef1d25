"""Programs that aren't ours: the balancers, wrappers and cats that people put around an echo service."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from socket import AF_UNIX, inet_aton

from tests.support.addresses import Address
from tests.support.waiting import eventually


def need(program: str, package: str = "") -> str:
    """Return the path of `program`, of a Debian package that may have another name.

    If it's missing, root installs it, and anybody else is told how to.
    """
    package = package or program
    folders = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    if not shutil.which(program, path=folders) and os.geteuid() == 0 and shutil.which("apt-get"):
        with (Path(tempfile.gettempdir()) / "echoup-tests-apt.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the tests run in several processes
            if not shutil.which(program, path=folders):
                _install(package)
    path = shutil.which(program, path=folders)
    assert path, f"{program} is missing: apt-get install {package}"
    return path


def _install(package: str) -> None:
    apt = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in ([*apt, "update"], [*apt, "install", "--no-install-recommends", package]):
        subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False, timeout=150)


def isListening(address: Address) -> bool:
    """Does anybody listen there? To connect would be an answer, too, but some programs serve only one client."""
    if address.family == AF_UNIX:
        entries = Path("/proc/net/unix").read_text().splitlines()
        return any(" 00010000 " in entry and entry.endswith(f" {address.address}") for entry in entries)
    host, port = address.address
    entry = f"{int.from_bytes(inet_aton(host), 'little'):08X}:{port:04X} 00000000:0000 0A"
    return entry in Path("/proc/net/tcp").read_text()


@contextmanager
def running(command: Sequence[str], listening: Address, log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """Run `command` once it listens; what it prints is in `log`."""
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
