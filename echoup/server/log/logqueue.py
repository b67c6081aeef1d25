"""The log of the running daemon, which a thread of its own writes, so that the service never waits for the log.

Theory of operation. A log line is formatted when it is logged, and put into a queue. One thread writes what the queue
has; whatever takes the lines (a pipe that nothing reads, a disk that hangs, syslog) blocks that thread only. It also
rotates a log file when a signal asks for that. No descriptor is made non-blocking, because O_NONBLOCK would hold for
every process that shares it. When the queue is full, lines are dropped and counted until all that waits is written;
then one line says how many. The same is said of lines whose writing failed, with the next line that can be written.
When the reactor has ended, `put` waits for the thread, a second in all, so that the last lines appear. The thread is a
daemon thread and takes no lock of a file of Python's, because the interpreter would wait for it at its end, or abort.
"""

import os
import syslog
from bisect import bisect
from collections import deque
from collections.abc import Callable
from functools import partial
from io import TextIOWrapper
from itertools import accumulate
from select import POLLOUT, poll
from threading import Condition, Thread
from time import monotonic
from typing import Any, Generic, TypeVar, cast

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    Logger,
    LogPublisher,
    formatEvent,
)
from twisted.python.logfile import DailyLogFile, LogFile
from twisted.python.syslog import DEFAULT_FACILITY, SyslogObserver

from echoup.plurals import plural
from echoup.server.platform.twistedports import fileOf, observersOf, setFile, streamOf

L = TypeVar("L")

BOUND = 1 << 20
"""The most characters that wait, unless a single line has more; a line of --log-connections has about a hundred."""

GATHERING = 0.01
"""Seconds for which lines gather, to be written together; a turn of the thread costs the service 30 to 60 us."""

END = 1.0
"""Seconds that the end of the process waits for the log."""


class LogQueue(Generic[L]):
    """Writes lines in a thread, in their order, and drops those for which there is no room."""

    def __init__(self, write: Callable[[list[L]], object], formatNotice: Callable[[LogEvent], L]) -> None:
        """`write` writes a list of lines, and may block; where it raises, it has removed from the list what is written.

        `formatNotice` makes a line of the event about dropped ones.
        """
        self.dropped = 0
        """The lines that were dropped, or whose writing failed."""
        self._write = write
        self._formatNotice = formatNotice
        self._lines: deque[tuple[L, int]] = deque()
        self._size = 0
        self._isFull = False
        self._hasFailed = False
        self._said = 0
        self._endsAt = 0.0
        self._changed = Condition()  # its lock is reentrant: a signal's function may log in the middle of `put`
        Thread(target=self._run, name="log", daemon=True).start()

    def put(self, line: L, size: int) -> None:
        """Have a line of `size` characters written, or drop it; after `finish`, wait until it is written."""
        with self._changed:
            if self._isFull or (self._lines and self._size + size > BOUND):
                self._isFull = True
                self.dropped += 1
                return
            isFirst = not self._lines  # to later ones the thread comes by itself
            self._lines.append((line, size))
            self._size += size
            if isFirst:
                self._changed.notify_all()
            if self._endsAt:
                self._wait()

    def finish(self) -> None:
        """Wait until all is written, for END seconds at most; the reactor has ended."""
        with self._changed:
            self._endsAt = monotonic() + END
            self._wait()

    def _wait(self) -> None:
        self._changed.wait_for(lambda: not self._hasWork(), max(self._endsAt - monotonic(), 0))

    def _hasWork(self) -> bool:
        return bool(self._lines) or (self.dropped > self._said and not self._hasFailed)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._hasWork)
                self._changed.wait_for(lambda: self._endsAt, GATHERING)
                count = len(self._lines)
                lines = [line for line, _ in self._lines]
                # While the queue is full its lines come first: those that were dropped are later ones.
                unsaid = 0 if self._isFull else self.dropped - self._said
            missing = 0
            try:
                if unsaid:
                    lines.insert(0, self._formatNotice(_notice(unsaid)))
                self._write(lines)
            except Exception:  # of any kind, as from `LogPublisher`: the log has no other place to say it
                missing = len(lines)
            with self._changed:
                self._hasFailed = missing > 0
                self.dropped += min(missing, count)
                if missing <= count:
                    self._said += unsaid
                for _ in range(count):
                    self._size -= self._lines.popleft()[1]
                if not self._lines:
                    self._isFull = False
                self._changed.notify_all()


def _notice(count: int) -> LogEvent:
    """Return the event which says that `count` lines are missing."""
    events: list[LogEvent] = []
    source = Logger(observer=cast("ILogObserver", events.append))
    source.warn(
        f"dropped {{lines}} {plural(count, 'line')} of the log here: it was blocked, or could not be written",
        lines=count,
    )
    return events[0]


class _QueueFile:
    """A file, as far as `FileLogObserver` needs one, whose text goes into a queue."""

    def __init__(self, queue: LogQueue[str]) -> None:
        self._queue = queue

    def write(self, text: str) -> None:
        """Put it into the queue."""
        self._queue.put(text, len(text))

    def flush(self) -> None:
        """Do nothing."""


def queueLog(publisher: LogPublisher) -> list[LogQueue[Any]]:
    """Have queues in front of the files and the syslog that `publisher` writes to now, and return them.

    These are all that twistd and twist write to; an observer of another kind, from `twistd --logger`, stays as it is.
    """
    return [queue for observer in observersOf(publisher) if (queue := _queueObserver(observer))]


def _queueObserver(observer: ILogObserver) -> LogQueue[Any] | None:
    if isinstance(observer, FileLogObserver):
        return _queueFile(observer)
    if isinstance(observer, LegacyLogObserverWrapper):
        legacy = getattr(observer.legacyObserver, "__self__", None)
        if isinstance(legacy, SyslogObserver):
            return _queueSyslog(legacy)
    return None


def _queueFile(observer: FileLogObserver) -> LogQueue[Any] | None:
    file = fileOf(observer)
    if isinstance(file, TextIOWrapper):
        return _queueLines(observer, partial(_LineWriter(file.encoding).write, file.fileno))
    if isinstance(file, LogFile | DailyLogFile):
        writer = _LogFileWriter(file)
        queue = _queueLines(observer, writer.write)

        def rotate() -> None:
            writer.isAsked = True
            queue.put("", 0)

        file.rotate = rotate  # type: ignore[method-assign]
        return queue
    return None


def _queueLines(observer: FileLogObserver, write: Callable[[list[str]], object]) -> LogQueue[str]:
    queue = LogQueue(write, lambda event: observer.formatEvent(event) or "")
    setFile(observer, _QueueFile(queue))
    return queue


class _LineWriter:
    """Writes lines to a descriptor, without the locks of Python's files; where it is non-blocking, wait."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._isCut = False  # whether only part of the last line is written

    def write(self, fileno: Callable[[], int], lines: list[str]) -> None:
        """Write `lines`; or raise OSError, as on a full disk, and remove from the list those that are written."""
        descriptor = fileno()
        parts = [line.encode(self._encoding, "backslashreplace") for line in lines]
        if self._isCut:
            parts[0] = b"\n" + parts[0]
        data, written = memoryview(b"".join(parts)), 0
        try:
            while written < len(data):
                try:
                    written += os.write(descriptor, data[written:])
                except BlockingIOError:
                    writable = poll()
                    writable.register(descriptor, POLLOUT)
                    writable.poll()
        except OSError:
            ends = [*accumulate(map(len, parts))]
            whole = bisect(ends, written)
            del lines[:whole]
            if written:
                self._isCut = written not in ends
            raise
        self._isCut = False


class _LogFileWriter:
    """Writes lines to a log file of Twisted's, whose own `write` ignores a full disk."""

    def __init__(self, file: LogFile | DailyLogFile) -> None:
        self.isAsked = False
        """Whether the file is to be rotated before the next lines, whatever its size."""
        self._file = file
        self._rotate = file.rotate
        self._lines = _LineWriter("utf-8")

    def write(self, lines: list[str]) -> None:
        """Rotate the file, if it is time for that, and write `lines`, as `_LineWriter` does."""
        if self.isAsked or self._file.shouldRotate():
            self.isAsked = False
            self._rotate()
        stream = streamOf(self._file)
        try:
            self._lines.write(stream.fileno, lines)
        finally:
            if isinstance(self._file, LogFile):
                self._file.size = stream.tell()


def _queueSyslog(observer: SyslogObserver) -> LogQueue[Any]:
    send = observer.syslog

    def write(lines: list[tuple[int, str]]) -> None:
        for priority, text in lines:
            send(priority, text)

    queue = LogQueue(write, lambda event: (syslog.LOG_WARNING | DEFAULT_FACILITY, f"[-] {formatEvent(event)}"))
    observer.syslog = lambda priority, text: queue.put((priority, text), len(text))
    return queue
