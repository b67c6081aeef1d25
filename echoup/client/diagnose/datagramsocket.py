"""A UDP socket for experiments: with a TOS, with or without fragments, and with what arrives as it arrived."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from struct import unpack
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from echoup.clock import RunningTime

LARGEST = 2**16
"""More than the largest datagram."""

MOST_HELD = 2**25
"""Bytes of datagrams that are kept; what comes after them is dropped, so that no service can fill the memory."""

TURN = 100
"""Datagrams that are taken in one turn of the reactor, so that a flood leaves time for everything else."""

# Linux has these, and Python 3.11 doesn't: linux/in.h, linux/in6.h, asm-generic/socket.h.
IP_MTU_DISCOVER, IP_MTU, IPV6_MTU_DISCOVER, IPV6_MTU, SO_MEMINFO = 10, 14, 23, 24, 55
IP_PMTUDISC_PROBE = 3
"""Set DF, and ignore the path MTU that the kernel knows: ip(7)."""

_OPTIONS = {
    socket.AF_INET: (socket.IPPROTO_IP, socket.IP_RECVTOS, socket.IP_TOS, IP_MTU_DISCOVER, IP_MTU),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, socket.IPV6_TCLASS, IPV6_MTU_DISCOVER, IPV6_MTU),
}
"""The level of the options of each family, and those to receive the TOS, to set it, to set DF, and of the path MTU."""


@dataclass(frozen=True)
class ArrivedDatagram:
    """A datagram that came."""

    data: bytes
    tos: int
    """The TOS byte, or traffic class, that it had when it arrived: DSCP and ECN (RFC 2474, RFC 3168)."""
    at: float
    """When it came, in seconds of the clock."""


@implementer(IReadDescriptor)
class DatagramSocket:
    """A UDP socket that is connected to one address, from a port that the kernel chooses."""

    def __init__(
        self,
        reactor: Any,
        clock: RunningTime,
        host: str,
        port: int,
        *,
        tos: int = 0,
        isWhole: bool = False,
        source: str | None = None,
        sourcePort: int = 0,
    ) -> None:
        """Open it to the IP address `host`; raise OSError if that fails.

        `tos` is what its datagrams carry. With `isWhole` they are sent with DF, and never in fragments: the kernel
        refuses one that its interface can't take. `source` is the address to send from, and `sourcePort` the port; by
        default the kernel chooses.
        """
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )[0]
        self.arrivals: list[ArrivedDatagram] = []
        """What came, in the order in which it came."""
        self.errors: list[OSError] = []
        """What the kernel reported, such as refusals."""
        isV6 = family == socket.AF_INET6
        self.headers = 48 if isV6 else 28
        """Bytes of the headers of IP and UDP (RFC 8200, RFC 791, RFC 768)."""
        self.largest = 65_527 if isV6 else 65_507
        """Bytes of the largest datagram that there can be: 65 535 in all, or after the header of IPv6."""
        self._reactor, self._clock = reactor, clock
        self._change: Deferred[None] | None = None
        self._held = 0
        self._level, receiveTOS, self._setTOS, discover, self._getMTU = _OPTIONS[socket.AddressFamily(family)]
        self.socket = socket.socket(family, kind | socket.SOCK_NONBLOCK)
        try:
            self.socket.setsockopt(self._level, receiveTOS, 1)
            if isWhole:
                self.socket.setsockopt(self._level, discover, IP_PMTUDISC_PROBE)
            self.mark(tos)
            if source or sourcePort:
                self.socket.bind((source or "", sourcePort))
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        reactor.addReader(self)

    @property
    def local(self) -> tuple[str, int]:
        """Our own address and port."""
        host, port = self.socket.getsockname()[:2]
        return host, port

    @property
    def mtu(self) -> int:
        """The largest packet that the path takes, as far as this machine knows: ip(7), IP_MTU."""
        return self.socket.getsockopt(self._level, self._getMTU)

    @property
    def overflowed(self) -> int:
        """The datagrams that came and found no room: the last of the values of SO_MEMINFO (linux/sock_diag.h)."""
        return unpack("=9I", self.socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))[8]  # type: ignore[no-any-return]

    def mark(self, tos: int) -> None:
        """Send with `tos` from now on."""
        self.socket.setsockopt(self._level, self._setTOS, tos)

    def fileno(self) -> int:
        """See `IFileDescriptor`."""
        return self.socket.fileno()

    def logPrefix(self) -> str:
        """See `ILoggingContext`."""
        return "datagrams"

    def send(self, data: bytes) -> None:
        """Send `data`; raise OSError if the kernel refuses it, or reports an error of an earlier one."""
        self.socket.send(data)

    def doRead(self) -> None:
        """Take what came."""
        for _ in range(TURN):
            try:
                data, ancillary, _, _ = self.socket.recvmsg(LARGEST, socket.CMSG_SPACE(4))
            except BlockingIOError:
                break
            except OSError as error:
                self.errors.append(error)
                break
            self._held += len(data)
            if self._held <= MOST_HELD:
                tos = ancillary[0][2][0] if ancillary else 0
                self.arrivals.append(ArrivedDatagram(data, tos, self._clock.seconds()))
        if self._change:
            change, self._change = self._change, None
            change.callback(None)

    def connectionLost(self, reason: Failure) -> None:
        """Note the error that the reactor has seen on the socket, and go on.

        The poll and epoll reactors take an ICMP error for the end of a connection, and don't read the socket any more.
        """
        self.doRead()
        if self.socket.fileno() >= 0:
            self._reactor.addReader(self)

    async def wait(self, isOver: Callable[[], bool], seconds: float) -> bool:
        """Wait until `isOver`, which is asked when something came, for `seconds` at most; return whether it is."""
        deadline = self._clock.seconds() + seconds
        while not isOver():
            self._change = Deferred()
            try:
                await self._change.addTimeout(max(deadline - self._clock.seconds(), 0), self._clock)
            except DeferredTimeout:
                self._change = None
                return isOver()
        return True

    def close(self) -> None:
        """Close it."""
        self._reactor.removeReader(self)
        self.socket.close()
