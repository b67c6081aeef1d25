"""The file descriptors of processes, mainly of the one that runs the tests."""

import fcntl
import gc
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from struct import pack, unpack
from termios import FIONREAD
from typing import IO, Any


def openDescriptors(process: int | str = "self") -> dict[str, str]:
    """Return the open descriptors of a process, with what each refers to; raise OSError if the process is gone."""
    found = {}
    for path in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed in the meantime, such as the descriptor of the folder that was read
            found[path.name] = str(path.readlink())
    return found


@contextmanager
def uncollected() -> Iterator[None]:
    """Turn the garbage collector off."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def keepsDescriptors() -> Iterator[dict[str, str]]:
    """Yield the open descriptors; fail if others are open at the end.

    The garbage collector is off in between, because it would close what earlier tests have left.
    """
    gc.collect()
    with uncollected():
        before = openDescriptors()
        yield before
        after = openDescriptors()
    opened, closed = after.items() - before.items(), before.items() - after.items()
    assert after == before, f"opened {opened}, closed {closed}"


@contextmanager
def fewDescriptors(spare: int = 0) -> Iterator[None]:
    """Limit this process to `spare` more descriptors.

    The limit is a number that no descriptor reaches. So the numbers below the highest open one are used up, or one that
    is closed, such as the one that Twisted reserves for EMFILE, could not be opened again. The garbage collector is
    off, because it would close what earlier tests have left.
    """
    gc.collect()
    soft, hard = getrlimit(RLIMIT_NOFILE)
    highest = max(map(int, openDescriptors()))
    with uncollected(), ExitStack() as opened:
        while (free := os.dup(0)) < highest:
            opened.callback(os.close, free)
        os.close(free)
        opened.callback(setrlimit, RLIMIT_NOFILE, (soft, hard))
        setrlimit(RLIMIT_NOFILE, (free + spare, hard))
        yield


def unread(pipe: IO[Any]) -> int:
    """Return how many bytes are in a pipe."""
    (size,) = unpack("i", fcntl.ioctl(pipe, FIONREAD, pack("i", 0)))
    return int(size)
