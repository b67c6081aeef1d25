"""uvloop's loop, with readers and writers that last.

libuv stops watching a descriptor at an error event (uv__poll_io), and uvloop closes the watcher, so the descriptor's
reader is never called again. libuv also makes the descriptor non-blocking (uv_poll_init), for every process that shares
it. So this loop keeps all descriptors in an epoll instance of its own, which changes none of them. libuv watches only
that instance, which is readable while one of its descriptors is ready (epoll(7)).
"""

from asyncio import Handle
from collections.abc import Callable
from contextlib import suppress
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, epoll
from typing import Any, TypeVarTuple

import uvloop

Ts = TypeVarTuple("Ts")

_ERRORS = EPOLLERR | EPOLLHUP  # epoll always reports them


class EpollLoop(uvloop.Loop):
    """A loop whose readers and writers, asyncio's as well as Twisted's, are called until they are removed."""

    def __init__(self) -> None:
        super().__init__()
        self._epoll = epoll()
        self._handles: dict[int, dict[int, Handle]] = {}  # by descriptor, and by EPOLLIN or EPOLLOUT
        self._edged: set[int] = set()  # descriptors whose last event was only an error or a hangup
        super().add_reader(self._epoll.fileno(), self._callReady)

    def close(self) -> None:
        """Close the loop, and drop its readers and writers."""
        super().close()
        self._handles.clear()
        self._epoll.close()

    def add_reader(self, fd: Any, callback: Callable[[*Ts], Any], *args: *Ts) -> None:
        """Call `callback` whenever `fd`, a descriptor or an object with one, is readable or has an error."""
        super().remove_reader(fd)  # uvloop has none; the call refuses the descriptors of its transports
        self._add(fd, EPOLLIN, Handle(callback, args, self))

    def add_writer(self, fd: Any, callback: Callable[[*Ts], Any], *args: *Ts) -> None:
        """Call `callback` whenever `fd`, a descriptor or an object with one, is writable or has an error."""
        super().remove_writer(fd)  # not the reader: uvloop may have one, for sock_recv
        self._add(fd, EPOLLOUT, Handle(callback, args, self))

    def remove_reader(self, fd: Any) -> Any:
        """Remove the reader of `fd`; return whether there was one."""
        return self._remove(fd, EPOLLIN)

    def remove_writer(self, fd: Any) -> Any:
        """Remove the writer of `fd`; return whether there was one."""
        return self._remove(fd, EPOLLOUT)

    def _add(self, file: Any, event: int, handle: Handle) -> None:
        number = _numberOf(file)
        handles = self._handles.get(number, {})
        events = sum({event, *handles})
        try:
            self._epoll.register(number, events)  # raises PermissionError for a file on a disk, as uvloop does
        except FileExistsError:
            self._epoll.modify(number, events)
        if event in handles:
            handles[event].cancel()
        self._handles[number] = handles | {event: handle}
        self._edged.discard(number)

    def _remove(self, file: Any, event: int) -> bool:
        number = _numberOf(file)
        handles = self._handles.get(number, {})
        if event not in handles:
            return False
        handles.pop(event).cancel()
        self._edged.discard(number)
        with suppress(OSError):  # closing the descriptor has removed it from the instance
            if handles:
                self._epoll.modify(number, sum(handles))
            else:
                del self._handles[number]
                self._epoll.unregister(number)
        return True

    def _callReady(self) -> None:
        due: list[Handle] = []
        for number, events in self._epoll.poll(0):
            handles = self._handles.get(number, {})
            due += [handles[event] for event in (EPOLLIN, EPOLLOUT) if event in handles and events & (event | _ERRORS)]
            isError = not events & (EPOLLIN | EPOLLOUT)
            if isError != (number in self._edged):
                self._pace(number, isError)
        for handle in due:
            if not handle.cancelled():  # by an earlier one
                handle._run()  # private; fails first: test_readerHearsAfterAnError

    def _pace(self, number: int, isError: bool) -> None:
        """Watch `number` edge-triggered while it has only an error, and level-triggered otherwise.

        An error that its owner leaves pending is reported once more, because of this change, and not in every turn.
        """
        self._edged ^= {number}
        with suppress(OSError):
            self._epoll.modify(number, sum(self._handles.get(number, {})) | (EPOLLET if isError else 0))


def _numberOf(file: Any) -> int:
    return file if isinstance(file, int) else file.fileno()
