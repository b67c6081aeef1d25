"""A pseudo-terminal, its keys, and its screen."""

import os
import termios
from pathlib import Path
from select import select
from tempfile import TemporaryDirectory
from typing import Self

import pyte
from ptyprocess import PtyProcess

from tests.support.waiting import eventually

UP, LEFT, BACKSPACE = "\x1b[A", "\x1b[D", "\x7f"
CTRL_C, CTRL_D, CTRL_Z = "\x03", "\x04", "\x1a"


def paste(text: str) -> str:
    """Return what a terminal sends when `text` is pasted, to a program that has asked to be told so (XTerm's 2004)."""
    return f"\x1b[200~{text}\x1b[201~"


class Terminal:
    """A program on a terminal of its own, and its screen.

    Unless `state` is given, its state folder (XDG) is its own, and deleted at the end.
    """

    def __init__(self, *command: str, state: Path | None = None) -> None:
        self._folder = TemporaryDirectory()
        environment = {**os.environ, "XDG_STATE_HOME": str(state or self._folder.name)}
        self._process = PtyProcess.spawn(list(command), dimensions=(24, 100), env=environment)
        self.written = b""
        """What the program has written."""
        self._screen = pyte.Screen(100, 24)
        # Programs ask a terminal for its cursor position, and wait for the answer.
        self._screen.write_process_input = self._answer  # type: ignore[method-assign]  # as its documentation says
        self._stream = pyte.ByteStream(self._screen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.close(force=True)
        self._folder.cleanup()

    def _answer(self, data: str) -> None:
        self._process.write(data.encode())

    @property
    def text(self) -> str:
        """The screen's text, without trailing blanks in the lines and without empty lines at the end."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    @property
    def isCooked(self) -> bool:
        """Whether the terminal edits and echoes lines itself, as a shell expects it."""
        flags: int = termios.tcgetattr(self._process.fd)[3]
        return flags & (termios.ICANON | termios.ECHO | termios.ISIG) == termios.ICANON | termios.ECHO | termios.ISIG

    @property
    def isSignalling(self) -> bool:
        """Whether Ctrl-C and Ctrl-Z are signals."""
        return bool(termios.tcgetattr(self._process.fd)[3] & termios.ISIG)

    def isCatching(self, number: int) -> bool:
        """Whether the program catches a signal yet."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> (number - 1) & 1)

    def type(self, keys: str) -> None:
        """Press keys."""
        self._process.write(keys.encode())

    def signal(self, number: int) -> None:
        """Send the program a signal."""
        self._process.kill(number)

    def hangUp(self) -> int:
        """Take the terminal away, and return the exit code of the program."""
        self._process.fileobj.close()
        return int(self._process.wait())

    def shows(self, text: str) -> None:
        """Wait until the screen ends with `text`."""
        eventually(lambda: self.text.endswith(text) or not self._read() or self.text.endswith(text))
        assert self.text.endswith(text), self.text

    def exits(self) -> int:
        """Wait for the end of the program, and return its exit code."""
        eventually(lambda: not self._read())
        return int(self._process.wait())

    def _read(self) -> bool:
        """Read what the program writes in the next moment; return False at the end of its output."""
        if select([self._process.fd], [], [], 0.05)[0]:
            try:
                data = self._process.read(65536)
                self.written += data
                self._stream.feed(data)
            except EOFError:
                return False
        return True
