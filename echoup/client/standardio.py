"""Standard input and output by blocking calls, which change no flag of the descriptors.

O_NONBLOCK belongs to the open file description (fcntl(2), F_SETFL): every process that shares the terminal or the pipe
has it, and it stays when this process is killed. Twisted's StandardIO sets it. Here, reads and writes may block, so
they belong in a thread, as those of regular files do anyway. If another process has made a stream non-blocking, poll(2)
waits for it.
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
"""Bytes of one read: the capacity of a pipe (pipe(7))."""


def descriptor(stream: Any) -> int:
    """Return the descriptor of a standard stream; one of /dev/null if it was closed before this process started."""
    number: int = stream.fileno() if stream else os.open(os.devnull, os.O_RDWR)
    return number


def read(source: int) -> bytes:
    """Wait for input and return it, PIECE bytes at most; return no bytes at its end.

    Raise PathError if it can't be read. A terminal that is gone counts as the end.
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
    """Write all of `data`; raise PathError if that fails."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(sink, rest) :]
        except BlockingIOError:
            _wait(sink, POLLOUT)
        except OSError:
            raise _broken() from None


def show(text: str) -> None:
    """Write `text` to standard output; Python has none where it was closed before the start."""
    if sys.stdout:
        sys.stdout.write(text)


def isTerminal() -> bool:
    """Return whether standard output is a terminal that understands more than text."""
    return sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def watch(sink: int) -> None:
    """Wait until the reader of `sink` exits, and raise PathError; return at once if it isn't a pipe."""
    if isPipe(sink):
        _wait(sink, 0)
        raise _broken()


def isPipe(descriptor: int) -> bool:
    """Return whether it is a pipe or a socket, whose reader may exit without an error."""
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def useWaitingStreams() -> None:
    """Have everything printed written by `write`, with escapes for what the encoding of the stream lacks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, TextIOWrapper):
            # With write_through nothing is left that Python would write again at the exit, after an error.
            waiting = TextIOWrapper(
                _Output(stream.fileno(), "w", closefd=False),
                stream.encoding,
                "backslashreplace",
                write_through=True,
            )
            setattr(sys, name, waiting)


class _Output(FileIO):
    """A descriptor whose `write` writes everything, or raises PathError."""

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
