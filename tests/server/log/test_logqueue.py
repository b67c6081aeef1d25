"""The thread that writes the log: order, bounds, and what is said of lines that are dropped."""

import os
import syslog
from collections import deque
from errno import ENOSPC
from io import StringIO, TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from time import monotonic
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    Logger,
    LogLevelFilterPredicate,
    LogPublisher,
    eventAsText,
    formatEvent,
    jsonFileLogObserver,
    textFileLogObserver,
)
from twisted.python.logfile import LogFile
from twisted.python.syslog import SyslogObserver
from twisted.trial.unittest import SynchronousTestCase

from echoup.plurals import counted
from echoup.server.log import logqueue
from echoup.server.log.logqueue import LogQueue, queueLog
from tests.support.waiting import eventually


def notice(count: int) -> str:
    """Return the line about missing ones."""
    return f"dropped {counted(count, 'line')} of the log here: it was blocked, or could not be written"


class Sink:
    """What takes the lines of a queue: it blocks while it is `blocked`, and raises `error`."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.open = Event()
        self.open.set()
        self.error: Exception | None = None
        self.calls = 0
        self.queue = LogQueue(self.write, formatEvent)

    def write(self, lines: list[str]) -> None:
        """Take the lines."""
        self.calls += 1
        self.open.wait(60)
        if self.error:
            raise self.error
        self.written += lines

    def put(self, *lines: str) -> None:
        """Log lines."""
        for line in lines:
            self.queue.put(line, len(line))

    def block(self) -> None:
        """Begin to block, and wait until a first line hangs."""
        self.open.clear()
        calls = self.calls
        self.put("hangs")
        eventually(lambda: self.calls > calls)

    def fail(self, *lines: str, error: Exception) -> None:
        """Log each of the lines, and have its writing fail."""
        self.error = error
        for line in lines:
            calls, dropped = self.calls, self.queue.dropped
            self.put(line)
            eventually(lambda: self.calls > calls and self.queue.dropped > dropped)  # noqa: B023  # called at once
        self.error = None


class LogQueueTests(SynchronousTestCase):
    """Lines go through the queue in their order, and the one who logs never waits."""

    def setUp(self) -> None:
        """Make a queue with room for a hundred characters, and an end of a fifth of a second."""
        super().setUp()
        self.patch(logqueue, "BOUND", 100)
        self.patch(logqueue, "END", 0.2)
        self.sink = Sink()
        self.addCleanup(self.sink.open.set)

    def assertWritten(self, *lines: str) -> None:
        """Check that in the end exactly these lines are written."""
        eventually(lambda: len(self.sink.written) >= len(lines))
        assert self.sink.written == [*lines]

    def test_linesComeInTheirOrder(self) -> None:
        """All lines are written, in the order in which they were logged."""
        lines = [str(i) for i in range(50)]
        self.sink.put(*lines)
        self.assertWritten(*lines)
        assert self.sink.queue.dropped == 0

    def test_linesAreGathered(self) -> None:
        """Lines that follow one another closely are written together."""
        self.patch(logqueue, "GATHERING", 60.0)
        self.sink.put(*"abcdef")
        self.sink.queue.finish()
        assert (self.sink.calls, self.sink.written) == (1, [*"abcdef"])

    def test_fullQueueDropsLines(self) -> None:
        """While nothing takes the lines, those beyond the bound are dropped; one line says how many, in their place."""
        self.sink.block()
        self.sink.put(*(["x" * 10] * 9), "y" * 10, "z")
        assert self.sink.queue.dropped == 2
        self.sink.open.set()
        self.assertWritten("hangs", *(["x" * 10] * 9), notice(2))
        self.sink.put("later")
        self.assertWritten("hangs", *(["x" * 10] * 9), notice(2), "later")

    def test_eachGapIsSaid(self) -> None:
        """A second gap has a line of its own, with its own number."""
        expected = []
        for count in (1, 2):
            self.sink.block()
            self.sink.put("x" * 95, *(["y"] * count))
            self.sink.open.set()
            expected += ["hangs", "x" * 95, notice(count)]
            self.assertWritten(*expected)
        assert self.sink.queue.dropped == 3

    def test_longLineIsWritten(self) -> None:
        """A line that is longer than the bound is written when no other waits."""
        self.sink.put("x" * 101)
        self.assertWritten("x" * 101)

    def test_failedLinesAreSaidWithTheNextOne(self) -> None:
        """Lines whose writing failed, as on a full disk, are counted; the next that can be written comes after that."""
        self.sink.fail("a", "b", error=OSError("no space"))
        assert self.sink.written == []
        self.sink.put("c")
        self.assertWritten(notice(2), "c")

    def test_failureIsNotRepeated(self) -> None:
        """While no line is logged, a queue that can't be written costs nothing."""
        self.sink.fail("a", error=OSError("no reader"))
        calls = self.sink.calls
        self.sink.queue.finish()
        assert self.sink.calls == calls

    def test_anyErrorIsSurvived(self) -> None:
        """Whatever error comes, later lines are written."""
        self.sink.fail("a", error=ValueError("closed"))
        self.sink.put("b")
        self.assertWritten(notice(1), "b")

    def test_endWaitsForTheLines(self) -> None:
        """At the end all lines are written, and each that is logged later is written at once."""
        self.sink.put("a", "b")
        self.sink.queue.finish()
        assert self.sink.written == ["a", "b"]
        self.sink.put("c")
        assert self.sink.written == ["a", "b", "c"]

    def test_endDoesNotWaitForABlockedLog(self) -> None:
        """At the end a blocked log is waited for once, for its time, however many lines follow."""
        self.sink.block()
        before = monotonic()
        self.sink.queue.finish()
        assert monotonic() - before >= 0.2
        self.patch(logqueue, "END", 600)
        self.sink.put(*"abcdef")  # would hang

    def test_signalInTheMiddleMayLog(self) -> None:
        """The function of a signal may log while a line is being logged; both are written."""
        put = self.sink.put

        class Interrupted(deque[tuple[str, int]]):
            def append(self, item: tuple[str, int]) -> None:
                super().append(item)
                if len(self) == 1:
                    put("signal")

        self.sink.queue._lines = Interrupted()
        put("a")
        self.assertWritten("a", "signal")


class Kinds(SynchronousTestCase):
    """Whatever twistd and twist log to gets a queue, and has the same lines as without one."""

    def setUp(self) -> None:
        """Make a folder for log files."""
        super().setUp()
        self.folder = Path(self.enterContext(TemporaryDirectory()))

    def stream(self, name: str, encoding: str = "utf-8") -> TextIOWrapper:
        """Return a file as twist and Python open it."""
        return self.enterContext((self.folder / name).open("a", encoding=encoding))

    def log(self, observer: ILogObserver, count: int = 1) -> None:
        """Log the same to an observer without a queue and, after that, with one."""
        publisher = LogPublisher(observer)
        events: list[LogEvent] = []
        Logger("test", observer=events.append).info("{what} {ratio:.3f} é", what="hello", ratio=0.5)  # type: ignore[arg-type]  # it may be any callable
        publisher(events[0].copy())
        queues = queueLog(publisher)
        assert len(queues) == count
        publisher(events[0].copy())
        for queue in queues:
            queue.finish()

    def assertTwice(self, text: str) -> str:
        """Check that `text` has the same line twice, and return it."""
        first, second = text.splitlines()
        assert first == second
        return first

    def test_text(self) -> None:
        """A text file, as stdout is, has the same lines."""
        self.log(textFileLogObserver(self.stream("log")))
        assert "[test#info] hello 0.500 é" in self.assertTwice((self.folder / "log").read_text())

    def test_filteredJSON(self) -> None:
        """So has one behind a filter, and in JSON."""
        observer = jsonFileLogObserver(self.stream("log"), recordSeparator="")
        self.log(FilteringLogObserver(observer, [LogLevelFilterPredicate()]))
        assert '"what": "hello"' in self.assertTwice((self.folder / "log").read_text())

    def test_narrowEncoding(self) -> None:
        """A character that the file's encoding lacks is escaped; without a queue its line would be lost."""
        stream = self.stream("log", "ascii")
        (queue,) = queueLog(LogPublisher(observer := textFileLogObserver(stream)))
        Logger("test", observer=observer).info("é")
        queue.finish()
        assert (self.folder / "log").read_text().endswith("[test#info] \\xe9\n")

    def test_logFile(self) -> None:
        """So has a file that twistd rotates."""
        self.log(textFileLogObserver(file := LogFile("log", str(self.folder))))  # type: ignore[arg-type]  # as twistd does
        self.addCleanup(file.close)
        self.assertTwice((self.folder / "log").read_text())

    def test_logFileIsRotated(self) -> None:
        """Such a file still is rotated."""
        observer = textFileLogObserver(file := LogFile("log", str(self.folder)))  # type: ignore[arg-type]  # as twistd does
        self.addCleanup(file.close)
        (queue,) = queueLog(LogPublisher(observer))
        for text in "ab":
            Logger("test", observer=observer).info(text)
            queue.finish()
            file.rotate()
        written = [(self.folder / f"log.{i}").read_text()[-2:] for i in (2, 1)]
        assert written == ["a\n", "b\n"]

    def test_signalWaitsForNoLogFile(self) -> None:
        """The rotation that a signal asks for is the thread's, too: while the disk hangs, nothing waits for it."""
        observer = textFileLogObserver(file := LogFile("log", str(self.folder)))  # type: ignore[arg-type]  # as twistd does
        self.addCleanup(file.close)
        goesOn, write, isHanging = Event(), os.write, Event()

        def hang(descriptor: int, data: bytes) -> int:
            isHanging.set()
            goesOn.wait(60)
            return write(descriptor, data)

        self.patch(logqueue, "os", SimpleNamespace(write=hang))
        (queue,) = queueLog(LogPublisher(observer))
        Logger("test", observer=observer).info("a")
        isHanging.wait(60)
        file.rotate()
        assert not (self.folder / "log.1").exists()
        goesOn.set()
        queue.finish()
        assert (self.folder / "log.1").read_text().endswith("a\n")

    def test_logFileIsRotatedWhenItIsLarge(self) -> None:
        """Such a file is rotated, once, when it is as large as it may become."""
        observer = textFileLogObserver(file := LogFile("log", str(self.folder), rotateLength=100))  # type: ignore[arg-type]  # as twistd does
        self.addCleanup(file.close)
        (queue,) = queueLog(LogPublisher(observer))
        for text in ("x" * 99, "b", "c"):
            Logger("test", observer=observer).info(text)
            queue.finish()
        assert len((self.folder / "log").read_text().splitlines()) == 2
        assert len((self.folder / "log.1").read_text().splitlines()) == 1
        assert not (self.folder / "log.2").exists()

    def test_fullDiskInTheMiddleOfLines(self) -> None:
        """Of lines for which the disk has no room those that are written count as such; the notice has its own line."""
        for name, file in (("stream", self.stream("stream")), ("log", LogFile("log", str(self.folder)))):
            self.addCleanup(file.close)
            room, write = [10], os.write

            def fill(descriptor: int, data: bytes) -> int:
                count = min(room[0], len(data))  # noqa: B023  # called at once
                if not count:
                    raise OSError(ENOSPC, "")
                room[0] -= count  # noqa: B023
                return write(descriptor, data[:count])  # noqa: B023

            with patch.object(logqueue, "os", SimpleNamespace(write=fill)):
                (queue,) = queueLog(LogPublisher(observer := FileLogObserver(file, formatEvent)))  # type: ignore[arg-type]  # as twistd does
                queue.put("abc\n", 4)
                queue.put("def\n", 4)
                queue.put("ghi\n", 4)
                queue.put("jkl\n", 4)
                eventually(lambda: not queue._lines)  # noqa: B023
                assert queue.dropped == 2
                room[0] = 1000
                Logger("test", observer=observer).info("mno\n")
                queue.finish()
            assert (self.folder / name).read_text() == f"abc\ndef\ngh\n{notice(2)}mno\n"

    def syslog(self) -> tuple[ILogObserver, list[tuple[int, str]]]:
        """Return an observer that twistd logs with to syslog, and what it sends there."""
        sent: list[tuple[int, str]] = []
        self.patch(SyslogObserver, "openlog", lambda *_: None)
        self.patch(SyslogObserver, "syslog", lambda _, *arguments: sent.append(arguments))
        return LegacyLogObserverWrapper(SyslogObserver("echoup").emit), sent  # type: ignore[arg-type]  # as twistd does

    def test_syslog(self) -> None:
        """Syslog has the same lines."""
        observer, sent = self.syslog()
        self.log(observer)
        assert sent == [(syslog.LOG_INFO, "[-] hello 0.500 é")] * 2

    def test_syslogNotice(self) -> None:
        """The line about dropped ones is a warning there."""
        observer, sent = self.syslog()
        (queue,) = queueLog(LogPublisher(observer))
        self.patch(logqueue, "BOUND", 0)
        self.patch(logqueue, "GATHERING", 60.0)
        for text in "ab":
            Logger("test", observer=observer).info(text)
        queue.finish()
        assert sent == [
            (syslog.LOG_INFO, "[-] a"),
            (syslog.LOG_WARNING | syslog.LOG_USER, f"[-] {notice(1).replace('lines', 'line')}"),
        ]

    def test_othersStayAsTheyAre(self) -> None:
        """An observer of another kind, and a file that is none, are left alone."""
        events: list[Any] = []
        self.log(events.append, count=0)  # type: ignore[arg-type]  # it may be any callable
        assert len(events) == 2
        self.log(FileLogObserver(text := StringIO(), eventAsText), count=0)
        assert text.getvalue().count("hello") == 2

    def test_nonBlockingDescriptorIsWaitedFor(self) -> None:
        """Where the descriptor is non-blocking, because another process made it so, nothing is lost."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        with os.fdopen(writing, "w") as stream, os.fdopen(reading, "rb") as reader:
            (queue,) = queueLog(LogPublisher(observer := FileLogObserver(stream, lambda _: "x" * 99 + "\n")))
            for _ in range(5000):
                Logger("test", observer=observer).info("")
            received = b""
            while len(received) < 500_000:
                received += reader.read1()
            queue.finish()
        assert received == (b"x" * 99 + b"\n") * 5000
        assert queue.dropped == 0
