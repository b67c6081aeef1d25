"""The file of a Unix socket: where a killed process left one, and whose it is.

The kernel keeps the file when the process ends, and refuses to bind another socket there. So a file is a leftover if no
process has its socket open. Nothing else tells: a process number in a lock next to it may be another process's by now,
and in a container it is the same at each start.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from errno import EADDRINUSE, ECONNREFUSED
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path


def bindFile(listening: socket.socket, path: str, replacesLeftover: bool) -> Callable[[], None]:
    """Bind a Unix socket to `path`, and return a function that removes the file, unless it is another socket's by then.

    With `replacesLeftover` a leftover is removed first. Raise OSError where binding is impossible.
    """
    with _onlyOne(path) if replacesLeftover else nullcontext():
        if replacesLeftover and Path(path).is_socket() and not _isOpen(path):
            Path(path).unlink()
            # The lock of Twisted's Unix ports would let the next of them remove this socket, when its process is gone.
            if (lock := Path(f"{path}.lock")).is_symlink():
                lock.unlink()
        listening.bind(path)
        made = os.lstat(path)

    def remove() -> None:
        with suppress(OSError):
            if os.path.samestat(made, os.lstat(path)):
                Path(path).unlink()

    return remove


@contextmanager
def _onlyOne(path: str) -> Iterator[None]:
    """Raise OSError if another process does the same for `path` at the same time.

    Otherwise two could find the same leftover, and the second remove the first's socket. Also, while the kernel binds a
    socket, its file is there already and looks like a leftover. The lock ends with the process (flock(2)).
    """
    name = Path(f"{path}.starting")
    with ExitStack() as opened:
        try:
            lock = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if os.path.lexists(name):  # as where another user's start was killed
                raise OSError(error.errno, f"{name}: {error.strerror}") from None
            raise
        opened.callback(os.close, lock)
        if not _take(lock):
            raise OSError(EADDRINUSE, os.strerror(EADDRINUSE))
        opened.callback(name.unlink, missing_ok=True)
        yield


def _take(lock: int) -> bool:
    """Lock the file `lock`; return whether that is possible, and the file is still the one at its path."""
    try:
        flock(lock, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(lock).st_nlink > 0  # the process that had the lock before has removed its file


def _isOpen(path: str) -> bool:
    """Return whether a process has the Unix socket at `path` open, or, for lack of permission, may have it open.

    A stream socket may be bound and not yet listen, and then it refuses connections as a leftover does. To a datagram
    socket it answers that it is of another type (EPROTOTYPE). In gVisor it refuses that one, and is asked by both.
    """
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_UNIX, kind) as probe:
            probe.setblocking(False)  # its queue may be full
            if probe.connect_ex(path) != ECONNREFUSED:
                return True
    return False
