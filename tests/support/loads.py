"""What weighs on a daemon: a peer that sends and doesn't read, and clients that come again and again."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import ioctl
from socket import socket
from termios import FIONREAD


class Growth:
    """When it was that what waits at our end to be read grew for the last time, as far as one can tell by looking."""

    before = 0.0
    """The last time that it was seen to be less than it is now."""

    def __init__(self, connection: socket) -> None:
        self._connection = connection
        self._size = -1
        self._looked = 0.0

    def look(self) -> None:
        """Look how much waits."""
        now = time.monotonic()
        size = int.from_bytes(ioctl(self._connection, FIONREAD, bytes(4)), sys.byteorder)
        if size != self._size:
            self._size, self.before = size, self._looked
        self._looked = now


def offer(connection: socket, size: int, patience: float, look: Callable[[], None] = lambda: None) -> int:
    """Send up to `size` bytes, and return how many could be sent before none could for `patience` seconds.

    Call `look` each time before something is sent.
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
    """Has the server dropped the connection, before all it owed was read?"""
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
    """Let `clients` do `work` again and again; yield what came of it, session by session: an error, or nothing."""
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
