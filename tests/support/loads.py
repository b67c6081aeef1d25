"""Loads for a daemon: a peer that sends and doesn't read, and clients that connect again and again."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import ioctl
from socket import socket
from termios import FIONREAD


class Growth:
    """The time at which a socket's receive queue last grew; the more often `look` is called, the more precise."""

    before = 0.0
    """When it was last seen smaller than it is now, in seconds of the monotonic clock."""

    def __init__(self, connection: socket) -> None:
        self._connection = connection
        self._size = -1
        self._looked = 0.0

    def look(self) -> None:
        """Compare the size of the queue with the last one."""
        now = time.monotonic()
        size = int.from_bytes(ioctl(self._connection, FIONREAD, bytes(4)), sys.byteorder)
        if size != self._size:
            self._size, self.before = size, self._looked
        self._looked = now


def offer(connection: socket, size: int, patience: float, look: Callable[[], None] = lambda: None) -> int:
    """Send up to `size` bytes, until none can be sent for `patience` seconds, and return the number sent.

    `look` is called before each send.
    """
    connection.settimeout(patience)
    chunk = b"x" * 65536
    sent = 0
    while sent < size:
        look()
        try:
            sent += connection.send(chunk)
        except TimeoutError:
            break
    return sent


def isCut(connection: socket) -> bool:
    """Return whether the server has aborted the connection, without reading its echo."""
    connection.setblocking(False)
    try:
        connection.send(b"x")
    except BlockingIOError:
        return False
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


@contextmanager
def load(work: Callable[[], None], clients: int) -> Iterator[list[str]]:
    """Repeat `work` in `clients` threads; yield the outcome of each session: an error, or an empty string."""
    outcomes: list[str] = []
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            try:
                work()
                outcomes.append("")
            except (AssertionError, OSError) as error:
                outcomes.append(repr(error))

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        done.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
