"""How many connections a diagnosis holds at the same time."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.internet.defer import Deferred

MOST = 4
"""Connections at the same time, since many servers and firewalls limit those of one address."""


class ConnectionPlaces:
    """Places for connections; who finds none waits for one."""

    def __init__(self) -> None:
        self._most, self._taken = MOST, 0
        self._waiting: deque[Deferred[None]] = deque()

    def narrow(self) -> None:
        """Leave one place, because more connections at the same time seem to be too many."""
        self._most = 1

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Take a place, as soon as there is one, and give it back at the end."""
        while self._taken >= self._most:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            try:
                await waiting
            finally:
                if waiting in self._waiting:
                    self._waiting.remove(waiting)
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
            for _ in range(min(len(self._waiting), self._most - self._taken)):
                self._waiting.popleft().callback(None)
