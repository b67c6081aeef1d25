"""What prompt_toolkit draws, and where."""

import os
import sys
from typing import TextIO, cast

from prompt_toolkit.layout.controls import UIContent
from prompt_toolkit.output.flush_stdout import flush_stdout
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.conversation.screen import Content, Screen
from echoup.client.exitcodes import ExitCode
from echoup.client.standardio import useWaitingStreams


class ScreenTests(SynchronousTestCase):
    """What prompt_toolkit draws on."""

    def draw(self, terminal: int) -> Screen:
        """Draw on `terminal`, as on standard output, and return the screen."""
        stream = self.enterContext(open(terminal, "w", encoding="ascii"))  # of a descriptor
        self.patch(sys, "stdout", stream)
        useWaitingStreams()
        screen = Screen(lambda: None)
        flush_stdout(cast("TextIO", screen), "é\x1b[K")
        return screen

    def test_flagsStay(self) -> None:
        """A non-blocking terminal, which other processes share, isn't made blocking even for a moment."""
        changed: list[object] = []
        master, slave = os.openpty()
        self.addCleanup(os.close, master)
        os.set_blocking(slave, False)
        self.patch(os, "set_blocking", lambda *arguments: changed.append(arguments))
        assert self.draw(slave).error is None
        assert os.read(master, 100) == b"\\xe9\x1b[K"
        assert changed == []

    def test_goneTerminalIsRecorded(self) -> None:
        """A terminal that is gone is no error for prompt_toolkit, which would print a traceback."""
        master, slave = os.openpty()
        os.close(master)
        error = self.draw(slave).error
        assert error
        assert error.code is ExitCode.BROKEN_PIPE


class ContentTests(SynchronousTestCase):
    """The rows of a line are counted as they are drawn."""

    def test_rowsAreCounted(self) -> None:
        """Control characters take the columns that they are drawn in; a wide one that doesn't fit leaves one empty."""
        for line, width, rows in (
            ("", 10, 1),
            ("0123456789", 10, 2),
            ("012345", 10, 1),
            ("0123456", 10, 2),
            ("\t\t\t", 10, 1),
            ("\t\t\t\t", 10, 2),
            ("\x80", 7, 2),
            ("你好", 7, 2),
            ("你好世", 7, 2),
            ("你好世界", 7, 2),
            ("你好世界啊", 7, 3),
            ("e\u0301" * 6, 10, 1),
        ):
            assert contentOf(line).get_height_for_line(0, width, lambda *_: ">>: ") == rows, line
        assert contentOf("0123456").get_height_for_line(0, 3, None, slice_stop=6) == 2


def contentOf(line: str) -> Content:
    """Return the content of a prompt with `line`."""
    return Content(UIContent(lambda _: [("", line)], 1))
