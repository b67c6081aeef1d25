"""How a command of the client ends, and the words for it."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every `echoup` command."""

    OK = 0
    """Everything came back in upper case."""
    WRONG = 1
    """The reply was wrong: unchanged or corrupted; or a `--require` isn't met."""
    USAGE = 2
    """The command is wrong; or the input, or the terminal of the prompt, can't be used."""
    UNRESOLVED = 3
    """The name has no address."""
    UNREACHABLE = 4
    """The connection was refused, or the server or its network can't be reached."""
    TIMED_OUT = 5
    TLS_FAILED = 6
    """The TLS handshake failed, or one side refused the other's certificate."""
    SHORT = 7
    """The connection was closed or reset before everything had come back."""
    LOCAL = 8
    """Nothing was sent, because of this machine: no descriptor, port or route, for example."""
    INTERRUPTED = 130
    """Ctrl-C, as shells count it: 128 + SIGINT."""
    BROKEN_PIPE = 141
    """The output can't be written, usually because its reader has exited; as shells count it: 128 + SIGPIPE."""


class PathError(Exception):
    """The path doesn't work. Its text is one line that says which step failed, on what address, and why."""

    def __init__(
        self, code: ExitCode, reason: str, server: object = "", address: str | None = None, action: str = ""
    ) -> None:
        """The text is `ACTION SERVER (ADDRESS): REASON`, where ACTION says what failed: `cannot connect to`."""
        where = f"{action} {describeServer(server, address)}".strip()
        super().__init__(f"{where}: {reason}" if where else reason)
        self.code = code
        self.reason = reason
        """Why it failed, without the server."""
        self.address = address
        """The address that was reached, or those that were tried; None where there was none."""


def describeServer(server: object, remote: str | None) -> str:
    """Return what messages call `server`: its name, and the address that was reached unless the name is that."""
    return f"{server} ({remote})" if remote and not str(server).endswith(remote) else str(server)
