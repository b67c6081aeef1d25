"""The graceful stop, one sequence that reads like its table in docs/promises.md.

Theory of operation. A client whose connection the kernel has accepted believes that it is connected, so a listening
socket is closed only when its queue is empty, or at half of the timeout. The queue becomes empty because no handshake
begins any more. From the beginning of the stop on, the sweep of the open connections ends those that are quiet. Each
wait ends when its condition holds, at its part of the timeout, or when the stop is aborted, so the stop always ends.
"""

from collections.abc import Awaitable, Callable, Sequence
from select import POLLIN

from twisted.internet.task import deferLater
from twisted.internet.tcp import Port

from echoup.clock import RunningTime
from echoup.server.connection import EndReason
from echoup.server.connections import Connections
from echoup.server.stream.progress import isReady

LAST_CALL = 0.1
"""Seconds for which a stop goes on accepting at least, for handshakes under way; half of the timeout at most."""

FINISH_ALL = 0.8
"""The part of the timeout after which a stop ends the busy connections, too."""

TICK = 0.05
"""Seconds between two looks at what a stop waits for."""


class Drain:
    """Ends all connections of a service, once."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._isAborted = False

    def abort(self) -> None:
        """End the waits of `run`, this one and those to come."""
        self._isAborted = True

    async def run(self, ports: Sequence[Port], close: Callable[[], Awaitable[object]], timeout: float) -> None:
        """Stop accepting at `ports`, which `close` closes, and end the connections; in `timeout` seconds none is left.

        The caller has called `stopHandshakes` for the listening sockets that no other process holds.
        """
        connections, clock = self._connections, self._connections.clock
        began = clock.seconds()

        def areQueuesEmpty() -> bool:
            isOver = connections.gate.isQueueEmpty and clock.seconds() >= began + LAST_CALL
            return isOver and not any(isReady(port.fileno(), POLLIN) for port in ports)

        await connections.beginStop()
        await self._until(areQueuesEmpty, began + timeout / 2)
        connections.gate.close()
        await close()
        await self._until(lambda: not connections, began + timeout * FINISH_ALL)
        await connections.forEach(lambda protocol: protocol.finish(EndReason.STOPPING))
        await self._until(lambda: not connections, began + timeout)
        await connections.forEach(lambda protocol: protocol.abort(EndReason.STOPPING))
        connections.stopSweeping()
        await deferLater(connections.reactor, 0)  # the aborted connections are lost in the next turn

    async def _until(self, condition: Callable[[], bool], deadline: float) -> None:
        await waitUntil(self._connections.clock, lambda: condition() or self._isAborted, deadline, TICK)


async def waitUntil(clock: RunningTime, condition: Callable[[], bool], deadline: float, tick: float) -> None:
    """Wait until `condition` holds or the `deadline` of `clock` is over, with a look each `tick` seconds."""
    while not condition() and clock.seconds() < deadline:
        await deferLater(clock, tick)
