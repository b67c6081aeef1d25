"""How a command of the client ends."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every `echoup` command."""

    OK = 0
    """All of it came back, in upper case."""
    WRONG = 1
    """The reply was wrong: unchanged or corrupted."""
    USAGE = 2
    UNRESOLVED = 3
    """The name stands for no address."""
    UNREACHABLE = 4
    """The connection was refused, or there is no way there."""
    TIMED_OUT = 5
    TLS_FAILED = 6
    """There was no TLS handshake, or the server's certificate was refused, or ours."""
    SHORT = 7
    """The connection was closed or reset before all had come back."""
    INTERRUPTED = 130
    """Ctrl-C, as shells count it: 128 + SIGINT."""
    BROKEN_PIPE = 141
    """The output can't be written, mostly because nobody reads it any more; as shells count it: 128 + SIGPIPE."""


class PathError(Exception):
    """The path doesn't work; the message is one line that says which step failed, on what address, and why."""

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code
