"""Standard input and output, by calls that wait; nothing here changes a flag of their descriptors.

O_NONBLOCK belongs to the open file description (fcntl(2), F_SETFL): to every process that shares the terminal or the
pipe, and it stays when this one is killed. Twisted's StandardIO sets it. Here a read or a write that may block is for a
thread, as it has to be with regular files. A stream that another process made non-blocking is waited for with poll(2).
"""

import os
import stat
import sys
from errno import EIO
from io import FileIO, TextIOWrapper
from select import POLLIN, POLLOUT, poll
from typing import Any

from echoup.client.exitcodes import ExitCode, PathError

PIECE = 2**16
"""Bytes that are read at once: what a pipe holds (pipe(7))."""


def descriptor(stream: Any) -> int:
    """Return the descriptor of a standard stream; one of /dev/null if the stream was closed before we started."""
    number: int = stream.fileno() if stream else os.open(os.devnull, os.O_RDWR)
    return number


def read(source: int) -> bytes:
    """Wait for input and return what there is of it, PIECE bytes at most; none at its end. Raise PathError otherwise.

    A terminal that is gone is at its end.
    """
    while True:
        try:
            return os.read(source, PIECE)
        except BlockingIOError:
            _wait(source, POLLIN)
        except OSError as error:
            if error.errno == EIO and stat.S_ISCHR(os.fstat(source).st_mode):
                return b""
            raise PathError(ExitCode.USAGE, f"the input can't be read: {error.strerror}") from None


def write(sink: int, data: bytes | memoryview) -> None:
    """Write `data`, and wait until that is done; raise PathError if it can't be."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(sink, rest) :]
        except BlockingIOError:
            _wait(sink, POLLOUT)
        except OSError:
            raise _broken() from None


def watch(sink: int) -> None:
    """Wait until the reader of `sink` is gone, and raise PathError; return if it isn't a pipe, which alone has one."""
    if isPipe(sink):
        _wait(sink, 0)
        raise _broken()


def isPipe(descriptor: int) -> bool:
    """Return whether it is a pipe or a socket, whose reader may exit without that being an error."""
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def useWaitingStreams() -> None:
    """Let whatever is printed be written as `write` does, in standard output's encoding, with escapes for the rest."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, TextIOWrapper):
            # With write_through nothing is left that Python would write at the exit, once more, after an error.
            waiting = TextIOWrapper(
                _Output(stream.fileno(), "w", closefd=False),
                stream.encoding,
                "backslashreplace",
                write_through=True,
            )
            setattr(sys, name, waiting)


class _Output(FileIO):
    """A descriptor to which everything is written, or PathError is raised."""

    def write(self, data: Any) -> int:
        """Write `data`, and return its size in bytes."""
        view = memoryview(data).cast("B")
        write(self.fileno(), view)
        return len(view)


def _broken() -> PathError:
    return PathError(ExitCode.BROKEN_PIPE, "the output can't be written")


def _wait(descriptor: int, events: int) -> None:
    """Wait for one of `events` of poll(2), or an error."""
    polling = poll()
    polling.register(descriptor, events)
    polling.poll()
