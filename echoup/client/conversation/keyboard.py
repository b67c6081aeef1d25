"""The keyboard between two prompts, and Ctrl-Z.

prompt_toolkit sets the terminal for the time of a prompt, and sets it back. Between two prompts the terminal's own line
editing would swallow a Ctrl-D, and its echo would mix what is typed ahead with the reply; so both are off. Ctrl-C and
Ctrl-Z remain signals there. A shell expects its own settings when a program stops or ends: they are restored then.
"""

import os
import signal
import termios
from contextlib import suppress
from typing import Any

from prompt_toolkit.application import AppSession, run_in_terminal

DISABLED = b"\0"
"""A control character that no key has (_POSIX_VDISABLE on Linux)."""


class Keyboard:
    """The terminal from which keys are read, in the foreground or stopped."""

    def __init__(self, session: AppSession) -> None:
        """`session` has the input from which keys are read, and an application while there is a prompt."""
        self._session = session
        self._descriptor = session.input.fileno()
        self._settings: list[Any] | None = None
        self._formerStop: Any = signal.SIG_IGN

    def open(self) -> None:
        """Set the terminal; stop in an orderly way at SIGTSTP, unless that is ignored."""
        with suppress(termios.error):  # it is not a terminal
            self._settings = termios.tcgetattr(self._descriptor)
        self._set()
        if (former := signal.getsignal(signal.SIGTSTP)) is not signal.SIG_IGN:
            self._formerStop = former
            signal.signal(signal.SIGTSTP, self._stop)

    def close(self) -> None:
        """Restore the terminal and the signal."""
        self._restore()
        if self._formerStop is not signal.SIG_IGN:
            signal.signal(signal.SIGTSTP, self._formerStop)

    def suspend(self) -> None:
        """Do what the terminal does at Ctrl-Z while keys are signals: stop every process of this job."""
        os.kill(0, signal.SIGTSTP)

    def _stop(self, *_: object) -> None:
        """Stop, without the prompt if there is one; it is drawn again when this process continues."""
        app = self._session.app
        if app and app.loop and app.is_running and not app.is_done:
            app.loop.call_soon_threadsafe(run_in_terminal, self._stopNow)
        else:
            self._stopNow()

    def _stopNow(self) -> None:
        self._restore()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._stop)
        self._set()

    def _set(self) -> None:
        if self._settings:
            changed = [*self._settings[:6], list(self._settings[6])]
            changed[3] &= ~(termios.ICANON | termios.ECHO)
            changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
            changed[6][termios.VQUIT] = DISABLED
            self._apply(changed)

    def _restore(self) -> None:
        if self._settings:
            self._apply(self._settings)

    def _apply(self, settings: list[Any]) -> None:
        """Change the terminal; after `bg` that stops this process again, until `fg` (SIGTTOU)."""
        with suppress(termios.error):  # it is gone, or belongs to another session
            termios.tcsetattr(self._descriptor, termios.TCSANOW, settings)
