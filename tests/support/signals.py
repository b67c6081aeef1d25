"""Default signal handling for the processes that tests start."""

import signal

_ignored: list[int] = []


def restoreSignals() -> list[int]:
    """Give child processes the default of each signal that this process ignores, and return those signals.

    A shell's background job ignores SIGINT and SIGQUIT, and `nohup` ignores SIGHUP. A child inherits an ignored
    signal, but gets the default of a signal that is caught (execve(2)). This process continues to ignore them.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            disregard(number)
            _ignored.append(int(number))
    return _ignored


def disregard(number: int) -> None:
    """Ignore a signal in this process, but not in its children."""
    signal.signal(number, lambda *_: None)
