"""What prompt_toolkit draws, and where."""

import os
import sys
from typing import TextIO, cast

from prompt_toolkit.document import Document
from prompt_toolkit.layout.controls import BufferControl
from prompt_toolkit.layout.processors import TransformationInput
from prompt_toolkit.output.flush_stdout import flush_stdout
from twisted.trial.unittest import SynchronousTestCase

from echoup.client.conversation.screen import ControlCharacters, Screen
from echoup.client.exitcodes import ExitCode
from echoup.client.standardio import useWaitingStreams


class ScreenTests(SynchronousTestCase):
    """What prompt_toolkit draws on."""

    def draw(self, terminal: int) -> Screen:
        """Draw on `terminal`, as on standard output, and return the screen."""
        stream = self.enterContext(open(terminal, "w", encoding="ascii"))  # of a descriptor
        self.patch(sys, "stdout", stream)
        useWaitingStreams()
        screen = Screen()
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


class ControlCharactersTests(SynchronousTestCase):
    """Control characters take the columns that they are drawn in."""

    def test_positionsAreMapped(self) -> None:
        """Each position of the line has its column, and each column its position."""
        line = "a\tb\x80c"
        given = TransformationInput(BufferControl(), Document(line), 0, lambda i: i, [("bold", line)], 80, 24)
        done = ControlCharacters().apply_transformation(given)
        drawn = "".join(fragment[1] for fragment in done.fragments)
        assert drawn == "a^Ib<80>c"
        assert {fragment[0] for fragment in done.fragments if len(fragment[1]) > 1} == {"bold class:control-character"}
        assert [done.source_to_display(i) for i in range(8)] == [0, 1, 3, 4, 8, 9, 10, 11]
        assert [done.display_to_source(i) for i in range(10)] == [0, 1, 1, 2, 3, 3, 3, 3, 4, 5]

    def test_otherLinesStay(self) -> None:
        """A line without control characters stays as it is."""
        given = TransformationInput(BufferControl(), Document("é"), 0, lambda i: i, [("", "é")], 80, 24)
        done = ControlCharacters().apply_transformation(given)
        assert (done.fragments, done.source_to_display(3), done.display_to_source(3)) == ([("", "é")], 3, 3)
