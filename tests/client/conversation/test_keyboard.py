"""The terminal between two prompts, and while the process is stopped."""

import os
import signal
import termios
from io import FileIO
from types import SimpleNamespace
from typing import Any, cast

from prompt_toolkit.application import AppSession
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.conversation.keyboard import Keyboard

EDITING = termios.ICANON | termios.ECHO


class KeyboardTests(SynchronousTestCase):
    """`Keyboard` sets a terminal, and restores it."""

    def setUp(self) -> None:
        """Make a terminal, whose SIGTSTP has a handler."""
        master, slave = os.openpty()
        self.master = self.enterContext(FileIO(master, "r+"))
        self.slave = self.enterContext(FileIO(slave, "r+"))
        self.addCleanup(signal.signal, signal.SIGTSTP, signal.getsignal(signal.SIGTSTP))
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)

    def keyboard(self, descriptor: FileIO | None = None) -> Keyboard:
        """Return the keyboard of a terminal, at which there is no prompt."""
        return Keyboard(cast("AppSession", SimpleNamespace(input=descriptor or self.slave, app=None)))

    def settings(self) -> list[Any]:
        """Return the settings of the terminal."""
        return termios.tcgetattr(self.slave.fileno())

    def test_keysAreKeptBetweenPrompts(self) -> None:
        """Ctrl-D is a key like others, and nothing is echoed; Ctrl-C and Ctrl-Z are signals; then all is restored."""
        before = self.settings()
        keyboard = self.keyboard()
        keyboard.open()
        flags = self.settings()[3]
        assert (flags & EDITING, flags & termios.ISIG) == (0, termios.ISIG)
        self.master.write(b"a\x04\x1c")
        assert os.read(self.slave.fileno(), 100) == b"a\x04\x1c"
        keyboard.close()
        assert self.settings() == before
        assert signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL

    def test_terminalIsRestoredWhileStopped(self) -> None:
        """While it is stopped the terminal is as it was before; it stops by the default of the signal, and goes on."""
        before = self.settings()
        stopped: list[tuple[object, ...]] = []

        def kill(process: int, number: int) -> None:
            stopped.append((process, number, signal.getsignal(number), self.settings() == before))

        keyboard = self.keyboard()
        keyboard.open()
        handler = signal.getsignal(signal.SIGTSTP)
        opened = self.settings()
        self.patch(os, "kill", kill)
        signal.raise_signal(signal.SIGTSTP)
        assert stopped == [(os.getpid(), signal.SIGTSTP, signal.SIG_DFL, True)]
        assert self.settings() == opened
        assert signal.getsignal(signal.SIGTSTP) == handler
        keyboard.close()
        assert self.settings() == before

    def test_ignoredSignalStaysIgnored(self) -> None:
        """Where SIGTSTP is ignored, by a shell that doesn't control jobs, it stays so."""
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)
        keyboard = self.keyboard()
        keyboard.open()
        assert signal.getsignal(signal.SIGTSTP) is signal.SIG_IGN
        keyboard.close()
        assert signal.getsignal(signal.SIGTSTP) is signal.SIG_IGN

    def test_otherInputIsLeftAlone(self) -> None:
        """An input that is no terminal is no error, and neither is a terminal that is gone."""
        source, sink = os.pipe()
        os.close(sink)
        keyboard = self.keyboard(self.enterContext(FileIO(source, "r")))
        keyboard.open()
        keyboard.close()
        keyboard = self.keyboard()
        keyboard.open()
        self.master.close()
        keyboard.close()
