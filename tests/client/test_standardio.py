"""Standard input and output by calls that wait: nothing is lost, and every error is told or is an end."""

import os
import sys
from collections.abc import Callable
from io import FileIO, StringIO, TextIOWrapper
from pathlib import Path
from socket import AF_UNIX
from tempfile import TemporaryFile
from threading import Thread
from typing import Any
from unittest import TestCase
from unittest.mock import patch

from echoup.client.exitcodes import ExitCode, PathError
from echoup.client.standardio import PIECE, descriptor, read, useWaitingStreams, watch, write
from tests.support.chance import randomBytes
from tests.support.doubles import raised
from tests.support.sizes import MIB
from tests.support.sockets import connectedPair
from tests.support.waiting import eventually

PATIENCE = 60


class StreamTestCase(TestCase):
    """A test with pipes and terminals of its own."""

    def pipe(self) -> tuple[FileIO, FileIO]:
        """Return both ends of a pipe, non-blocking."""
        source, sink = os.pipe()
        os.set_blocking(source, False)
        os.set_blocking(sink, False)
        return self.enterContext(FileIO(source, "r")), self.enterContext(FileIO(sink, "w"))

    def goneTerminal(self) -> FileIO:
        """Return a terminal whose other end is closed."""
        master, slave = os.openpty()
        os.close(master)
        return self.enterContext(FileIO(slave, "r+"))

    def begin(self, call: Callable[..., object], *arguments: object) -> Thread:
        """Begin a call that waits."""
        thread = Thread(target=call, args=arguments, daemon=True)
        thread.start()
        return thread

    def assertFails(self, code: ExitCode, why: str, call: Callable[..., object], *arguments: object) -> None:
        """Check that a call raises PathError."""
        error = raised(PathError, call, *arguments)
        assert error
        assert (error.code, str(error)) == (code, why)

    def assertBroken(self, call: Callable[..., object], *arguments: object) -> None:
        """Check that a call finds that the output can't be written."""
        self.assertFails(ExitCode.BROKEN_PIPE, "the output can't be written", call, *arguments)


class ReadTests(StreamTestCase):
    """`read` waits for input, until its end."""

    def test_emptyPipeIsAwaited(self) -> None:
        """A read from a pipe that is non-blocking waits for what comes, and returns that at once."""
        source, sink = self.pipe()
        came: list[bytes] = []
        reading = self.begin(lambda: came.append(read(source.fileno())))
        reading.join(0.05)
        assert reading.is_alive()
        sink.write(b"hello")
        reading.join(PATIENCE)
        assert came == [b"hello"]
        sink.close()
        assert read(source.fileno()) == b""

    def test_goneTerminalIsAtItsEnd(self) -> None:
        """A terminal that is gone has no more input."""
        assert read(self.goneTerminal().fileno()) == b""

    def test_otherErrorIsTold(self) -> None:
        """Any other error is told: it isn't the end of the input."""
        folder = os.open("/", os.O_RDONLY)
        self.addCleanup(os.close, folder)
        self.assertFails(ExitCode.USAGE, "the input can't be read: Is a directory", read, folder)

    def test_closedStreamIsEmpty(self) -> None:
        """A stream that was closed before the start is at its end, and takes everything."""
        null = descriptor(None)
        self.addCleanup(os.close, null)
        assert read(null) == b""
        write(null, b"hello")


class WriteTests(StreamTestCase):
    """`write` waits until all is written."""

    def test_fullPipeIsAwaited(self) -> None:
        """A write to a pipe that is non-blocking waits for its reader; not a byte is lost."""
        source, sink = self.pipe()
        data, came = randomBytes(MIB), bytearray()
        writing = self.begin(write, sink.fileno(), data)

        def isWritten() -> bool:
            came.extend(source.read(PIECE) or b"")
            return not writing.is_alive()

        eventually(isWritten)
        while more := source.read(PIECE):
            came.extend(more)
        assert came == data
        assert not os.get_blocking(sink.fileno())

    def test_errorIsBrokenPipe(self) -> None:
        """Where the reader has exited, the disk is full or the terminal is gone the output can't be written."""
        source, sink = self.pipe()
        source.close()
        full = self.enterContext(FileIO("/dev/full", "w"))
        for stream in (sink, full, self.goneTerminal()):
            self.assertBroken(write, stream.fileno(), b"hello")

    def test_readerIsWatched(self) -> None:
        """`watch` returns when the reader of a pipe or a socket has exited; at once where there is none."""
        for near, far in (reversed(self.pipe()), connectedPair(AF_UNIX)):
            with near, far:
                watching = self.begin(self.assertBroken, watch, near.fileno())
                watching.join(0.05)
                assert watching.is_alive()
                far.close()
                watching.join(PATIENCE)
                assert not watching.is_alive()
        with TemporaryFile() as file:
            watch(file.fileno())


class PrintTests(StreamTestCase):
    """`useWaitingStreams` lets everything that is printed wait, and escapes what can't be expressed."""

    def printTo(self, stream: Any, text: str) -> None:
        """Print `text` on standard output and error, which are both `stream`, and flush them."""
        with patch.object(sys, "stdout", stream), patch.object(sys, "stderr", stream):
            useWaitingStreams()
            try:
                print(text)
                print(text, file=sys.stderr)
            finally:
                assert sys.stdout.isatty() == stream.isatty()
                sys.stdout.flush()
                sys.stderr.flush()

    def test_textIsEscaped(self) -> None:
        """What the encoding hasn't is escaped, surrogates too."""
        for encoding, expected in (("ascii", b"\\xe9 \\udcff\n"), ("latin-1", b"\xe9 \\udcff\n")):
            with TemporaryFile("w+", encoding=encoding) as file:
                self.printTo(file, "é \udcff")
                file.seek(0)
                assert file.buffer.read() == 2 * expected

    def test_slowReaderIsAwaited(self) -> None:
        """What is printed on a non-blocking pipe waits for the reader, however Python would buffer it."""
        text = "x" * MIB
        for writeThrough in (False, True):
            source, sink = self.pipe()
            stream = self.enterContext(TextIOWrapper(sink, "utf-8", write_through=writeThrough))
            printing = self.begin(self.printTo, stream, text)
            size = 0

            def isPrinted() -> bool:
                nonlocal size
                size += len(source.read(PIECE) or b"")  # noqa: B023
                return not printing.is_alive()  # noqa: B023

            eventually(isPrinted)
            while more := source.read(PIECE):
                size += len(more)
            assert size == 2 * (MIB + 1)

    def test_errorLeavesNothing(self) -> None:
        """After an error nothing is left for Python to write at the exit, which would be another error."""
        with Path("/dev/full").open("w") as full:
            self.assertBroken(self.printTo, full, "hello")

    def test_otherStreamsAreKept(self) -> None:
        """A closed stream, and one that isn't a file's, stay as they are."""
        for stream in (None, StringIO()):
            with patch.object(sys, "stdout", stream), patch.object(sys, "stderr", stream):
                useWaitingStreams()
                assert sys.stdout is sys.stderr is stream
