"""Every private name of Twisted's ports and transports that the server leans on, each with its reason and its test."""

from collections.abc import Callable

from twisted.internet.tcp import Port
from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import implementer

ACCEPTS_IN_A_ROW = 100
"""Connections that one port accepts before the reactor turns to others; Twisted's own first choice."""


def limitAccepts(port: Port, free: Callable[[], int], pause: Callable[[], None]) -> None:
    """Let `port` accept no more connections in a row than there are `free` places, and `pause` it where there are none.

    `Port.doRead` accepts `numberAccepts` connections before it looks at anything else, and sets that number anew after
    each row; nothing public changes it, and Twisted's own limits fail (twisted#5232, twisted#12183). On the uvloop
    reactor `doRead` is never called. Pinned by `test_portsServeExactlyTheLimit`.
    """
    accept = port.doRead

    def acceptWithinLimit() -> None:
        port.numberAccepts = min(free(), ACCEPTS_IN_A_ROW)
        if port.numberAccepts:
            accept()
        else:
            pause()

    port.doRead = acceptWithinLimit  # type: ignore[method-assign]


@implementer(ILogObserver)
class _Exhaustion:
    def __init__(self, refused: Callable[[], None]) -> None:
        self._refused = refused

    def __call__(self, event: LogEvent) -> None:
        if "address" in event or "acceptError" in event:
            self._refused()


def reportExhaustion(port: Port, refused: Callable[[], None]) -> None:
    """Call `refused` for each client that `port` can't accept for want of descriptors, instead of logging it.

    `Port._logger` gets several lines for each such client, without a limit. Pinned by
    `test_clientsWithoutDescriptorCostOneLineAMinute`.
    """
    port._logger = Logger(observer=_Exhaustion(refused))


def acceptingPort(transport: object) -> Port | None:
    """Return the port that accepted the connection of `transport`; None if it wasn't accepted by one.

    No interface has it; Twisted's transports, and those of the uvloop reactor, keep it as `server`. Pinned by
    `test_factoryAlonePausesItsPort`.
    """
    return getattr(transport, "server", None)


def leaveOpen(port: Port) -> None:
    """Let `port` close its own descriptor only, because other processes may accept at the same socket.

    Twisted does so for a TCP socket that it adopted and shuts a Unix socket down, for every process that has it
    (`_shouldShutdown` in `twisted.internet.tcp.Port.startListening`, missing in `twisted.internet.unix.Port`).
    Test: tests/server/listening/test_inherited.py, test_closedPortLeavesTheQueue.
    """
    port._shouldShutdown = False
