"""Give this thread, and the processes and threads that it starts, a network and mounts of their own.

A namespace lasts as long as a process or a descriptor refers to it; its addresses and mounts end with it. `os.unshare`
does the same from Python 3.12 on.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LINK_LOCAL = "fe80::1234"
"""The address of `linkedNetwork`, on the interface v0."""

_CLONE_FS, _CLONE_NEWNS, _CLONE_NEWNET = 0x200, 0x20000, 0x40000000  # <linux/sched.h>
_MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x1000, 0x4000, 0x40000, 2  # <linux/mount.h>
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def ownMounts() -> Iterator[None]:
    """Enter a mount namespace, so other processes don't see new mounts."""
    before = Path.cwd()
    try:
        with _namespace(_CLONE_NEWNS, "mnt"):
            _call("mount", b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
            yield
    finally:
        os.chdir(before)  # setns(2) has changed it to the root


@contextmanager
def inMemory(folder: Path) -> Iterator[None]:
    """Mount an empty folder in memory at `folder`, which ends with the mount namespace at the latest."""
    _call("mount", b"tmpfs", bytes(folder), b"tmpfs", ctypes.c_ulong(0), None)
    try:
        yield
    finally:
        _call("umount2", bytes(folder), _MNT_DETACH)


@contextmanager
def replaced(file: Path, other: Path) -> Iterator[None]:
    """Show `other` in place of `file`, which ends with the mount namespace at the latest; see `ownMounts`."""
    _call("mount", bytes(other), bytes(file), None, ctypes.c_ulong(_MS_BIND), None)
    try:
        yield
    finally:
        _call("umount2", bytes(file), _MNT_DETACH)


@contextmanager
def ownNetwork() -> Iterator[None]:
    """Enter a network namespace with nothing but 127.0.0.1 and ::1."""
    with _namespace(_CLONE_NEWNET, "net"):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield


def whyNoNetwork() -> str:
    """Return why this process can't have a network of its own; empty if it can."""
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        return "a network of its own takes CAP_SYS_ADMIN"
    return "" if shutil.which("ip") else "ip is missing: apt-get install iproute2"


@contextmanager
def linkedNetwork() -> Iterator[None]:
    """Enter a network namespace with 127.0.0.1, ::1, and two linked interfaces, the first with LINK_LOCAL."""
    with ownNetwork():
        for command in (
            "link add v0 type veth peer name v1",
            "link set v0 addrgenmode none up",  # no other address, which the kernel would probe for a second
            "link set v1 addrgenmode none up",
            f"address add {LINK_LOCAL}/64 dev v0 nodad",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        yield


@contextmanager
def _namespace(kind: int, name: str) -> Iterator[None]:
    with Path(f"/proc/thread-self/ns/{name}").open("rb") as before:
        _call("unshare", kind)
        try:
            yield
        finally:
            _call("unshare", _CLONE_FS)  # setns(2) refuses while another thread shares the root
            _call("setns", before.fileno(), kind)


def setNetwork(descriptor: int) -> None:
    """Put this thread into the network namespace that `descriptor` refers to; see setns(2)."""
    _call("setns", descriptor, _CLONE_NEWNET)


def _call(name: str, *arguments: object) -> None:
    if _libc[name](*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
