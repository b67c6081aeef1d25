"""A network and mounts of this thread's own, and of all processes and threads that it starts from then on.

A namespace lasts as long as a process or a descriptor is in it; with its last process go its addresses and its mounts.
`os.unshare` does the same from Python 3.12 on.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_FS, _CLONE_NEWNS, _CLONE_NEWNET = 0x200, 0x20000, 0x40000000  # <linux/sched.h>
_MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x4000, 0x40000, 2  # <linux/mount.h>
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def ownMounts() -> Iterator[None]:
    """Have mounts of one's own: nobody else sees new ones."""
    before = Path.cwd()
    try:
        with _namespace(_CLONE_NEWNS, "mnt"):
            _call("mount", b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
            yield
    finally:
        os.chdir(before)  # setns(2) has changed to the root


@contextmanager
def inMemory(folder: Path) -> Iterator[None]:
    """Have an empty folder in memory in place of `folder`, within mounts of one's own; it's gone with them."""
    _call("mount", b"tmpfs", bytes(folder), b"tmpfs", ctypes.c_ulong(0), None)
    try:
        yield
    finally:
        _call("umount2", bytes(folder), _MNT_DETACH)


@contextmanager
def ownNetwork() -> Iterator[None]:
    """Have a network of one's own: 127.0.0.1 and ::1, with all ports free, and no way out."""
    with _namespace(_CLONE_NEWNET, "net"):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield


@contextmanager
def _namespace(kind: int, name: str) -> Iterator[None]:
    with Path(f"/proc/thread-self/ns/{name}").open("rb") as before:
        _call("unshare", kind)
        try:
            yield
        finally:
            _call("unshare", _CLONE_FS)  # setns(2) changes no root that another thread has, too
            _call("setns", before.fileno(), kind)


def _call(name: str, *arguments: object) -> None:
    if _libc[name](*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
