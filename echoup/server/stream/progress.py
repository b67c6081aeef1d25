"""Whether there is traffic on a connection."""

from select import POLLIN, POLLOUT, poll
from socket import socket
from typing import cast

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IConsumer, IPushProducer, ISystemHandle, ITCPTransport
from zope.interface import Attribute

from echoup.server.platform.kernelqueues import unsentOn
from echoup.tls.transport import TLSTransport


class IStreamTransport(ITCPTransport, IConsumer, IPushProducer, ISystemHandle):
    """What a stream needs of its transport; those of TCP and Unix sockets have it, TLSTransport all but `protocol`."""

    protocol = Attribute("The protocol that gets what comes in; another may take its place.")

    def getHandle() -> socket:
        """Return the connection's socket."""


class SocketProgress:
    """What the kernel reports: the bytes that it holds for the peer, and whether it has room for more."""

    __slots__ = ("_seen", "_transport")

    def __init__(self, transport: IStreamTransport) -> None:
        self._transport = transport
        self._seen = (0, 0, 0)

    def hasMoved(self, received: int) -> bool:
        """Return whether there was traffic since the last call, in either direction.

        `received` is the total number of bytes of the stream that have come in. What the peer takes is traffic, too.
        """
        before = self._seen
        self._seen = self.unsent, received, self._partial()
        return self._seen != before

    def _partial(self) -> int:
        """Return a number that changes when data comes in that isn't yet counted in `received`."""
        return 0

    @property
    def unsent(self) -> int:
        """The number of bytes that the kernel holds and the peer hasn't taken."""
        return unsentOn(self._transport.getHandle())

    @property
    def isBlocked(self) -> bool:
        """Whether bytes wait for the peer and it has no room for more.

        What a Unix socket holds is already in the peer's buffer, and no sign of a stall until that is full.
        """
        if not self._seen[0]:
            return False
        return not (isinstance(self._transport.getPeer(), UNIXAddress) and self._isReady(POLLOUT))

    @property
    def hasInput(self) -> bool:
        """Whether there is input that the reactor hasn't read yet."""
        return self._isReady(POLLIN)

    def _isReady(self, event: int) -> bool:
        return isReady(self._transport.getHandle().fileno(), event)


class TLSProgress(SocketProgress):
    """What the kernel and TLS report: part of a record is traffic, although it can't be echoed before the rest."""

    __slots__ = ()

    def _partial(self) -> int:
        return cast("TLSTransport", self._transport).receivedBelow


def isReady(descriptor: int, event: int) -> bool:
    """Return whether the kernel would let us read or accept (POLLIN), or write (POLLOUT), at this moment."""
    interest = poll()
    interest.register(descriptor, event)
    return bool(interest.poll(0))
