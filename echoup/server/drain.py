"""The graceful shutdown: one sequence, in the order of its table in docs/promises.md.

Theory of operation. A client whose connection the kernel has accepted believes that it is connected, so a listening
socket is closed only when its queue is empty, or at half of the timeout. The queue becomes empty because no new
handshake begins. From the beginning of the shutdown, the sweep of the open connections ends those that are quiet. Each
wait ends when its condition holds, at its share of the timeout, or when the shutdown is aborted, so it always ends.
"""

from collections.abc import Awaitable, Callable, Sequence
from select import POLLIN

from twisted.internet.task import deferLater
from twisted.internet.tcp import Port

from echoup.clock import RunningTime
from echoup.server.connections import Connections
from echoup.server.reasons import EndReason
from echoup.server.stream.progress import isReady

LAST_CALL = 0.1
"""Seconds for which a shutdown at least goes on accepting, for handshakes under way; at most half the timeout."""

FINISH_ALL = 0.8
"""The share of the timeout after which a shutdown ends busy connections as well."""

TICK = 0.05
"""Seconds between two checks of what a shutdown waits for."""


class Drain:
    """Ends all connections of a service, once."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._isAborted = False

    def abort(self) -> None:
        """End the current wait of `run`, and skip the later ones."""
        self._isAborted = True

    async def run(self, ports: Sequence[Port], close: Callable[[], Awaitable[object]], timeout: float) -> None:
        """Stop accepting at `ports`, which `close` closes, and end all connections within `timeout` seconds.

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
        await connections.forEach(lambda _, protocol: protocol.finish(EndReason.STOPPING))
        await self._until(lambda: not connections, began + timeout)
        await connections.forEach(lambda _, protocol: protocol.abort(EndReason.STOPPING))
        connections.stopSweeping()
        await deferLater(connections.reactor, 0)  # the aborted connections are lost in the next turn

    async def _until(self, condition: Callable[[], bool], deadline: float) -> None:
        await waitUntil(self._connections.clock, lambda: condition() or self._isAborted, deadline, TICK)


async def waitUntil(clock: RunningTime, condition: Callable[[], bool], deadline: float, tick: float) -> None:
    """Wait until `condition` holds or `clock` reaches the `deadline`, with a check each `tick` seconds."""
    while not condition() and clock.seconds() < deadline:
        await deferLater(clock, tick)
