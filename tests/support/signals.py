"""Signals as every test expects them, whoever has started the run."""

import signal


def restoreSignals() -> None:
    """Let child processes begin with the default of each signal that this process ignores, and go on ignoring it.

    A shell's background job ignores SIGINT and SIGQUIT, and `nohup` SIGHUP. What is ignored stays so in a child, what
    is caught is back at its default there (execve(2)).
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
