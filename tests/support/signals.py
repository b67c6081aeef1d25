"""Signals as every test expects them, whatever has started the run."""

import signal

_ignored: list[int] = []


def restoreSignals() -> list[int]:
    """Let child processes begin with the default of each signal that this process ignores, and go on ignoring it.

    A shell's background job ignores SIGINT and SIGQUIT, and `nohup` SIGHUP. What is ignored stays so in a child, what
    is caught is back at its default there (execve(2)). Returns the signals that were ignored at first.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            disregard(number)
            _ignored.append(int(number))
    return _ignored


def disregard(number: int) -> None:
    """Ignore a signal in this process, but not in its children."""
    signal.signal(number, lambda *_: None)
