"""The file descriptors of the process that runs the tests."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from struct import pack, unpack
from termios import FIONREAD
from typing import IO, Any


def openDescriptors() -> set[str]:
    """Return the open descriptors of this process."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}


@contextmanager
def fewDescriptors(spare: int = 0) -> Iterator[None]:
    """Limit this process to `spare` more descriptors meanwhile."""
    soft, hard = getrlimit(RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    setrlimit(RLIMIT_NOFILE, (free + spare, hard))
    try:
        yield
    finally:
        setrlimit(RLIMIT_NOFILE, (soft, hard))


def unread(pipe: IO[Any]) -> int:
    """Return how many bytes are in a pipe."""
    (size,) = unpack("i", fcntl.ioctl(pipe, FIONREAD, pack("i", 0)))
    return int(size)
