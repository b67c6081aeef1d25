"""The log of the running daemon, which a thread of its own writes, so that the service never waits for the log.

Theory of operation. A log line is formatted when it is logged, and put into a queue. One thread writes what the queue
has; whatever takes the lines (a pipe that nothing reads, a disk that hangs, syslog) blocks that thread only. No
descriptor is made non-blocking, because O_NONBLOCK would hold for every process that shares it. When the queue is full,
lines are dropped and counted until all that waits is written; then one line says how many. The same is said of lines
whose writing failed, with the next line that can be written. When the reactor has ended, `put` waits for the thread,
a second in all, so that the last lines appear. The thread is a daemon thread and takes no lock of a file of Python's,
because the interpreter would wait for it at its end, or abort.
"""

import os
import syslog
from collections import deque
from collections.abc import Callable
from functools import partial
from io import TextIOWrapper
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
from twisted.python.logfile import BaseLogFile
from twisted.python.syslog import DEFAULT_FACILITY, SyslogObserver

from echoup.server.twistedports import fileOf, observersOf, setFile

L = TypeVar("L")

BOUND = 1 << 20
"""Characters that wait at most, unless a single line has more; a line of --log-connections has about a hundred."""

GATHERING = 0.01
"""Seconds for which lines gather, to be written together; a turn of the thread costs the service 30 to 60 us."""

END = 1.0
"""Seconds that the end of the process waits for the log."""


class LogQueue(Generic[L]):
    """Writes lines in a thread, in their order, and drops those for which there is no room."""

    def __init__(self, write: Callable[[list[L]], object], formatNotice: Callable[[LogEvent], L]) -> None:
        """`write` writes lines, and may block or raise; `formatNotice` makes a line of the event about dropped ones."""
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
                lines = [line for line, _ in self._lines]
                # While the queue is full its lines come first: those that were dropped are later ones.
                unsaid = 0 if self._isFull else self.dropped - self._said
            try:
                self._write([*([self._formatNotice(_notice(unsaid))] if unsaid else []), *lines])
            except Exception:  # of any kind, as from `LogPublisher`: the log has no other place to say it
                hasFailed = True
            else:
                hasFailed = False
            with self._changed:
                self._hasFailed = hasFailed
                if hasFailed:
                    self.dropped += len(lines)
                else:
                    self._said += unsaid
                for _ in lines:
                    self._size -= self._lines.popleft()[1]
                if not self._lines:
                    self._isFull = False
                self._changed.notify_all()


def _notice(count: int) -> LogEvent:
    """Return the event which says that `count` lines are missing."""
    events: list[LogEvent] = []
    source = Logger(observer=cast("ILogObserver", events.append))
    source.warn("dropped {lines} lines of the log here: it was blocked, or could not be written", lines=count)
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
        write = partial(_writeToStream, file)
    elif isinstance(file, BaseLogFile):
        write = partial(_writeToLogFile, file)
    else:
        return None
    queue: LogQueue[str] = LogQueue(write, lambda event: observer.formatEvent(event) or "")
    setFile(observer, _QueueFile(queue))
    return queue


def _writeToStream(stream: TextIOWrapper, lines: list[str]) -> None:
    """Write to the descriptor of `stream`, without its locks; where the descriptor is non-blocking, wait."""
    descriptor = stream.fileno()
    data = memoryview("".join(lines).encode(stream.encoding, "backslashreplace"))
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            writable = poll()
            writable.register(descriptor, POLLOUT)
            writable.poll()


def _writeToLogFile(file: BaseLogFile, lines: list[str]) -> None:
    file.write("".join(lines))


def _queueSyslog(observer: SyslogObserver) -> LogQueue[Any]:
    send = observer.syslog

    def write(lines: list[tuple[int, str]]) -> None:
        for priority, text in lines:
            send(priority, text)

    queue = LogQueue(write, lambda event: (syslog.LOG_WARNING | DEFAULT_FACILITY, f"[-] {formatEvent(event)}"))
    observer.syslog = lambda priority, text: queue.put((priority, text), len(text))
    return queue
